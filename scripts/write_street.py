#!/usr/bin/env python3
"""Write a drive down the synthetic street as folders of pictures and labels, which ``lowlat-seg evaluate`` takes.

    scripts/write_street.py OUT --seed 1
    .venv/bin/lowlat-seg evaluate --frames OUT/frames --labels OUT/labels

``--stop-and-go``: the street passes at up to twice its speed, stands still, and goes on, so that there is something to
adapt to. A sensor's noise goes on while it stands.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import cv2
import numpy as np

from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

RATE_HZ = 15.0
FINER = 16  # pictures of the street for one of the camera's, from which it takes what its speed makes of it
CYCLE = 6.0  # seconds from stop to stop
STANDING = 0.4  # of a cycle
TOP_SPEED = 2.0  # of the street's own
NOISE = 2.0  # grey levels, standard deviation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--stop-and-go", action="store_true")
    options = parser.parse_args()
    for kind in ("frames", "labels"):
        (options.out / kind).mkdir(parents=True, exist_ok=True)
    times = [driven(frame / RATE_HZ) if options.stop_and_go else frame / RATE_HZ for frame in range(options.frames)]
    indices = [round(time * RATE_HZ * FINER) for time in times]
    street = SyntheticStreet(seed=options.seed, frame_count=indices[-1] + 1, rate_hz=RATE_HZ * FINER)
    random = np.random.default_rng(options.seed)
    for frame, index in enumerate(indices):
        _, image, labels, _ = street[index]
        noise = NOISE * random.standard_normal(image.shape, np.float32)
        noisy = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
        cv2.imwrite(str(options.out / "frames" / f"{frame:05d}.png"), cv2.cvtColor(noisy, cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(options.out / "labels" / f"{frame:05d}.png"), labels)


def driven(time: float) -> float:
    """How long an even drive would have taken so far, in seconds."""
    cycles, within = divmod(time / CYCLE, 1.0)
    moving = min(within / (1 - STANDING), 1.0)  # speeds up and slows down again as a sine does, then stands
    way_of_cycle = TOP_SPEED * CYCLE * (1 - STANDING) / 2
    return way_of_cycle * (cycles + moving - math.sin(2 * math.pi * moving) / (2 * math.pi))


if __name__ == "__main__":
    main()

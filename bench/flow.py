"""The search for the optical flow in C++ beside OpenCV's: `python -m bench.flow`.

CPU milliseconds of one search, and what the two tracks' labels are worth with either, on streets that nothing is
reported on: a key frame every few frames, Sh two frames late.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

from lowlat_seg_ros import Segmenter
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.fast.motion import flow_by_opencv
from lowlat_seg_ros.kernels import cpp
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

SEEDS = (100, 103, 105)
FRAMES = 45
PERIOD = 66_666_667  # nanoseconds
SEARCHES = {"in C++": cpp.find_flow, "by OpenCV": flow_by_opencv}


@contextmanager
def searching(find: Callable[..., Any], milliseconds: list[float]) -> Iterator[None]:
    """Meanwhile flows are found that way, each search's CPU time noted."""

    def timed(*arguments: Any) -> Any:
        began = time.thread_time()
        flow = find(*arguments)
        milliseconds.append((time.thread_time() - began) * 1000)
        return flow

    with mock.patch.object(cpp, "find_flow", timed):
        yield


def mean_iou(street: SyntheticStreet, interval: int) -> float:
    """Of the two tracks, against exact labels."""
    with Segmenter("default", policy=FixedInterval(interval), fast_track_threads=1, slow_track_threads=1) as segmenter:
        matrix = ConfusionMatrix(len(segmenter.classes))
        stamped = ((street[index].image, index * PERIOD) for index in range(FRAMES))
        for index, (_, result) in enumerate(segmenter.frames(stamped)):
            matrix.add(result.labels, street[index].labels)
    return matrix.mean_iou()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intervals", type=int, nargs="+", default=[4, 6, 12], help="frames between key frames")
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in SEARCHES}
    scores: dict[tuple[str, int], list[float]] = {(name, every): [] for name in SEARCHES for every in options.intervals}
    for seed in SEEDS:
        street = SyntheticStreet(frame_count=FRAMES, seed=seed)
        for (name, interval), found in scores.items():
            with searching(SEARCHES[name], times[name]):
                found.append(mean_iou(street, interval))
    print("| search | CPU ms | " + " | ".join(f"mIoU, a key frame every {every}" for every in options.intervals) + " |")
    print("|---" * (2 + len(options.intervals)) + "|")
    for name in SEARCHES:
        means = " | ".join(f"{np.mean(scores[name, every]):.4f}" for every in options.intervals)
        print(f"| {name} | {np.median(times[name]):.2f} | {means} |")


if __name__ == "__main__":
    main()

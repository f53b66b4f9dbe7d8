"""OpenCV's threads at the two ends of the fast track, one and as many as cores, beside a busy slow track.

    .venv/bin/python -m bench.opencv_threads

What the node does with OpenCV in a frame's own thread on one 1280x720 image: bgr8 to RGB, the resize to the network's
input, and the labels' enlarging. Wall-clock milliseconds, the two in turn.
"""

from __future__ import annotations

import time

import cv2
import numpy as np

from bench.environment import environment
from bench.markdown import SPREAD_HEADINGS, environment_sentence, spread_cells, table
from bench.slow_work import WatchedSlowNetwork
from bench.spread import spread_mapping
from bench.tracks import see_frame
from bench.turns import in_turn
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.runtime.machine import usable_cores
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

SIZE = (1280, 720)
ROUNDS = 5
FRAMES_A_TURN = 100
PERIOD_SECONDS = 0.01  # between two images, so that OpenCV's threads have gone to sleep


def main() -> None:
    network = load_checkpoint("default")
    input_size = network.config.input_size
    image = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    labels = np.zeros((input_size[1], input_size[0]), np.uint8)

    def turn(threads: int) -> list[float]:
        cv2.setNumThreads(threads)
        milliseconds = []
        for _ in range(FRAMES_A_TURN):
            time.sleep(PERIOD_SECONDS)
            began = time.perf_counter()
            frame = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            cv2.resize(frame, input_size, interpolation=cv2.INTER_LINEAR)
            cv2.resize(labels, SIZE, interpolation=cv2.INTER_NEAREST_EXACT)
            milliseconds.append(1000 * (time.perf_counter() - began))
        return milliseconds

    watched = WatchedSlowNetwork(network)
    seen = see_frame(network, SyntheticStreet(frame_count=1)[0].image)
    rows = []
    with ThreadedSlowTrack(watched) as slow_track, watched.busy(slow_track, seen):
        cases = {threads: lambda number, threads=threads: turn(threads) for threads in (1, usable_cores())}
        for threads, turns in in_turn(cases, ROUNDS).items():
            rows.append((str(threads), *spread_cells(spread_mapping(turns))))
    print(environment_sentence(environment(network.config.name)))
    print(table(("OpenCV's threads", *SPREAD_HEADINGS), rows))


if __name__ == "__main__":
    main()

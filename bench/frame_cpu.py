"""What an ordinary frame takes of the cores, whoever else is on them: `python -m bench.frame_cpu`.

CPU milliseconds of the thread that calls, and of the whole process, with the networks in torch and where ``auto``
brings them: the same frames in turn, and no key frame after the first.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack

import numpy as np

from lowlat_seg_ros import Segmenter
from lowlat_seg_ros.runtime.steady_memory import prepare_for_timing
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

SEED = 100
FRAMES = 8  # after the key frame, there and there again
NEVER = FixedInterval(1_000_000)
PAUSE = 0.015  # seconds, in which the thread that searches for the flow ends, too
IN_TORCH = {"fast_runtime": "torch", "slow_runtime": "torch", "fast_precision": "fp32", "slow_precision": "fp32"}
Times = dict[str, list[float]]


def measure(segmenters: dict[str, Segmenter], rounds: int) -> tuple[Times, Times]:
    """CPU milliseconds of the calling thread, and of all."""
    street = SyntheticStreet(frame_count=FRAMES + 1, seed=SEED)
    stamp = 0
    for segmenter in segmenters.values():
        while not segmenter.segment(street[0].image, stamp).key_is_accurate:
            time.sleep(PAUSE)
            stamp += 1
    of_thread: Times = {name: [] for name in segmenters}
    of_process: Times = {name: [] for name in segmenters}
    for _ in range(rounds):
        for index in range(1, FRAMES + 1):
            stamp += 1
            frame = street[index].image
            for name, segmenter in segmenters.items():
                thread, process = time.thread_time(), time.process_time()
                segmenter.segment(frame, stamp)
                of_thread[name].append((time.thread_time() - thread) * 1000)
                time.sleep(PAUSE)
                of_process[name].append((time.process_time() - process) * 1000)
    return of_thread, of_process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help=f"of {FRAMES} frames each; default: 20")
    options = parser.parse_args()
    prepare_for_timing()
    with ExitStack() as stack:
        segmenters = {
            name: stack.enter_context(
                Segmenter("default", policy=NEVER, fast_track_threads=1, slow_track_threads=1, **where)
            )
            for name, where in (("torch fp32", IN_TORCH), ("auto", {}))
        }
        runs = segmenters["auto"].runtimes[0]
        of_thread, of_process = measure(segmenters, options.rounds)
    print(
        f"auto: {runs}\n\n| | calling thread: median | 10 % | all threads: median | 10 % |\n|---|---:|---:|---:|---:|"
    )
    for name in of_thread:
        found = (np.percentile(times[name], share) for times in (of_thread, of_process) for share in (50, 10))
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in found)} |")


if __name__ == "__main__":
    main()

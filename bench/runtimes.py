"""Sl and Sh in every runtime and precision that serves here, in turn: `python -m bench.runtimes`.

Sl with the one-frame parts of both predictors. Each alone on one thread and on two, and each beside the other's load in
the same runtime, as in the node: Sl at 15 Hz on one thread, Sh over and over in a nice thread. CPU milliseconds are the
process's, whoever else is on its cores.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.placing import Placer
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.machine import cpu_model, instruction_sets
from lowlat_seg_ros.runtime.steady_memory import prepare_for_timing

PERIOD = 1 / 15  # seconds between Sl's runs beside Sh's
NICENESS = 10
COLUMNS = ("Sl", "on two threads", "beside Sh", "Sh", "on two threads", "beside Sl")

Run = Callable[[Tensor], object]


class Timed:
    """Runs of one network in one way: wall-clock and CPU milliseconds of each."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def run(self, run: Run, image: Tensor) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            run(image)
        self.wall.append((time.perf_counter() - wall) * 1000)
        self.cpu.append((time.process_time() - cpu) * 1000)

    def alone(self) -> str:
        return f"{np.median(self.wall):.1f} | {min(self.wall):.1f} | {np.median(self.cpu):.1f}"

    def beside(self) -> str:
        """CPU time would be the other network's, too."""
        return f"{np.median(self.wall):.1f} | {np.percentile(self.wall, 99):.1f}"


@contextmanager
def beside(run: Run, image: Tensor, pause: float, niceness: int) -> Iterator[None]:
    """Meanwhile another thread runs that network, with a pause after each run."""
    is_over, has_begun = threading.Event(), threading.Event()

    def work() -> None:
        torch.set_num_threads(1)
        # A nice thread cannot be made less so; this one ends with its work.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + niceness)
        while True:
            with torch.inference_mode():
                run(image)  # the first in a thread makes a session for it
            has_begun.set()
            if is_over.wait(pause):
                return

    thread = threading.Thread(target=work)
    thread.start()
    has_begun.wait()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def measure(network: SegmentationNetwork, image: Tensor, found: list[Timed]) -> None:
    """One round of one runtime, into a Timed for each of ``COLUMNS``."""
    low, high = network.low_features, partial(network.high_features, low=torch.empty(0))  # Sh needs no F_l
    for run, times, (one, two) in ((low, 5, found[:2]), (high, 1, found[3:5])):
        for threads, timed in ((1, one), (2, two)):
            torch.set_num_threads(threads)
            with torch.inference_mode():
                run(image)  # the first on so many threads makes a session for them
            for _ in range(times):
                timed.run(run, image)
    torch.set_num_threads(1)
    with beside(high, image, 0, NICENESS):
        for _ in range(10):
            found[2].run(low, image)
            time.sleep(PERIOD)
    with beside(low, image, PERIOD, 0):
        for _ in range(3):
            found[5].run(high, image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="of every runtime in turn; default: 8")
    options = parser.parse_args()
    prepare_for_timing()
    network = load_checkpoint("default")
    width, height = network.config.input_size
    image = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)
    torch.set_num_threads(1)
    placed = Placer(network, torch.device("cpu")).everywhere()
    found = {place: [Timed() for _ in COLUMNS] for place in placed}
    for _ in range(options.rounds):
        for place, other in placed.items():
            measure(other, image, found[place])
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "openvino", "onnxruntime"))
    load = f"{options.rounds} rounds, load {os.getloadavg()[0]:.1f}"
    print(f"{cpu_model()} ({instruction_sets()}); {versions}; {load}; milliseconds\n")
    for kinds in ((0, 1, 2), (3, 4, 5)):
        one, two, with_other = (COLUMNS[kind] for kind in kinds)
        print(f"| {one} | p50 | minimum | CPU | {two}: p50 | minimum | CPU | {with_other}: p50 | p99 |")
        print("|---" + "|---:" * 8 + "|")
        for place, timed in found.items():
            cells = (timed[kinds[0]].alone(), timed[kinds[1]].alone(), timed[kinds[2]].beside())
            print(f"| {' '.join(place)} | {' | '.join(cells)} |")
        print()


if __name__ == "__main__":
    main()

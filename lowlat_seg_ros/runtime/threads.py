"""On how many CPU threads each track runs, and how they wait for each other."""

from __future__ import annotations

import os
from typing import NamedTuple

from lowlat_seg_ros.runtime.machine import usable_cores


class ThreadCounts(NamedTuple):
    """CPU threads within one operator of each track."""

    fast: int
    slow: int


def thread_counts(fast: int = 0, slow: int = 0, cores: int | None = None) -> ThreadCounts:
    """Threads of the fast and the slow track; 0 stands for a choice by the number of cores.

    A quarter of the cores goes to the slow track, one is left to the camera and the rest of the system. Threads of one
    operator wait for each other, so that a core which is taken away from one of them stops all: with another program on
    both cores of a 2-core machine, Sl of the default model took 47 ms on one thread and 980 ms on two.
    """
    cores = cores or usable_cores()
    slow = slow or max(1, cores // 4)
    fast = fast or max(1, cores - slow - 1)
    return ThreadCounts(fast, slow)


def let_threads_sleep() -> None:
    """Let OpenMP's threads sleep where they wait for each other at the end of an operator, unless the user chose.

    OpenMP reads this when torch is loaded: afterwards it is too late.

    By default they spin, which takes the core from the very thread that is waited for when there are fewer free cores
    than threads. Sl and Sh of the default model on two threads and two cores beside other programs: 590 ms spinning,
    70 ms sleeping.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

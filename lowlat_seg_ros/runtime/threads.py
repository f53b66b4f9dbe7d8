"""On how many CPU threads each track runs, and how they wait for each other."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final, NamedTuple

from lowlat_seg_ros.runtime.machine import usable_cores

logger = logging.getLogger(__name__)

MOST: Final = 8  # threads of an operator: a feature has some dozens of rows to share out
MAXIMUM_NICENESS: Final = 19


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
    slow = slow or min(MOST, max(1, cores // 4))
    fast = fast or min(MOST, max(1, cores - slow - 1))
    return ThreadCounts(fast, slow)


def make_own_thread_nice(by: int, than_process: bool = False) -> None:
    """Let the calling thread give way to others, from now on. Linux only: elsewhere a thread has no niceness.

    Where a sandbox forbids it, a warning says so.

    Args:
        by: added to the niceness, up to 19.
        than_process: it is added to the process's niceness, not to the thread's own, which never falls: only root may
            lower it.
    """
    if sys.platform != "linux":
        return
    own = os.getpriority(os.PRIO_PROCESS, 0)
    base = os.getpriority(os.PRIO_PROCESS, os.getpid()) if than_process else own
    try:
        if os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR):  # to which niceness means nothing
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        # 0, not the thread's id: some sandboxes let a thread change itself alone.
        os.setpriority(os.PRIO_PROCESS, 0, max(own, min(base + by, MAXIMUM_NICENESS)))
    except OSError as error:
        logger.warning("the slow track is no nicer than the fast one: %s", error)


def let_threads_sleep() -> None:
    """Let OpenMP's threads sleep where they wait for each other at the end of an operator, unless the user chose.

    OpenMP reads this when torch is loaded: afterwards it is too late.

    By default they spin, which takes the core from the very thread that is waited for when there are fewer free cores
    than threads. Sl and Sh of the default model on two threads and two cores beside other programs: 590 ms spinning,
    70 ms sleeping.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

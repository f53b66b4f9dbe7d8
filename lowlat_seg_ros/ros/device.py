"""Where the network runs, and on how many threads."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import torch

from lowlat_seg_ros.ros.parameters import ParameterError


def choose_device(requested: str) -> torch.device:
    """The device that the parameter `device` asks for: auto, cpu, cuda or cuda:N.

    Raises:
        ParameterError: the value is none of these, or asks for a CUDA device that is not there. Only auto falls back.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", requested):
        raise ParameterError(f"device is {requested!r}; expected auto, cpu, cuda or cuda:N")
    if requested == "cpu" or (requested == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    device = torch.device("cuda:0" if requested in ("auto", "cuda") else requested)
    if not torch.cuda.is_available():
        raise ParameterError(f"device is {requested!r} but torch {torch.__version__} finds no CUDA device")
    if device.index >= torch.cuda.device_count():
        raise ParameterError(f"device is {requested!r} but there are {torch.cuda.device_count()} CUDA devices")
    return device


def in_words(device: torch.device) -> str:
    """The device with its product name, as for a log: `cuda:0 (NVIDIA H200)`."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def usable_cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0))


class ThreadCounts(NamedTuple):
    """CPU threads within one operator of each track."""

    fast: int
    slow: int


def thread_counts(fast: int, slow: int, cores: int | None = None) -> ThreadCounts:
    """Threads of the fast and the slow track; 0 stands for a choice by the number of cores.

    A quarter of the cores goes to the slow track, one is left to the camera and the rest of the system. Threads of one
    operator wait for each other, so that a core which is taken away from one of them stops all: with another program on
    both cores of a 2-core machine, Sl of the default model took 47 ms on one thread and 980 ms on two.
    """
    cores = cores or usable_cores()
    slow = slow or max(1, cores // 4)
    fast = fast or max(1, cores - slow - 1)
    return ThreadCounts(fast, slow)

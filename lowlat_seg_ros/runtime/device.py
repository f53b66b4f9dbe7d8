"""Where the network runs."""

from __future__ import annotations

import re

import torch

from lowlat_seg_ros.errors import ParameterError, shown


def choose_device(requested: str) -> torch.device:
    """The device that ``device`` asks for: auto, cpu, cuda or cuda:N.

    Raises:
        ParameterError: the value is none of these, or asks for a CUDA device that is not there. Only auto falls back.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", requested):
        raise ParameterError(f"device is {shown(requested)}; expected auto, cpu, cuda or cuda:N, N below 1000")
    if requested == "cpu" or (requested == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    device = torch.device("cuda:0" if requested in ("auto", "cuda") else requested)
    if not torch.cuda.is_available():
        raise ParameterError(f"device is {shown(requested)} but torch {torch.__version__} finds no CUDA device")
    if device.index >= torch.cuda.device_count():
        raise ParameterError(f"device is {shown(requested)} but there are {torch.cuda.device_count()} CUDA devices")
    return device


def in_words(device: torch.device) -> str:
    """The device with its product name, as for a log: `cuda:0 (NVIDIA H200)`."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def cuda_context_is_lost(device: torch.device) -> bool:
    """Whether every further call to that device will fail, as after an illegal memory access; asked after a failure."""
    if device.type != "cuda":
        return False
    try:
        torch.zeros(1, device=device).item()
    except torch.OutOfMemoryError:
        return False
    except RuntimeError:
        return True
    return False

"""Files that would run code of their own when they are loaded, pickles above all: named, never opened."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import torch

from lowlat_seg_ros.errors import Error

SUFFIXES = frozenset({".bin", ".ckpt", ".jit", ".pickle", ".pkl", ".pt", ".pt2", ".pth", ".ptl", ".torchscript", ".ts"})


class RefusedError(Error):
    """A kind of file that is not loaded, wherever it comes from."""


def recognises(model: str) -> bool:
    return Path(model).suffix.lower() in SUFFIXES and not Path(model).is_dir()


def load(model: str, device: torch.device | str) -> NoReturn:
    """Say what to do instead."""
    raise RefusedError(
        f"{model!r} is not loaded: files of torch ({Path(model).suffix}) may hold pickles, which run any code; "
        "expected an ONNX file (torch.onnx.export writes one, `lowlat-seg export` of our own models) or a Hugging Face "
        "directory"
    )

"""Curves and pictures of a training run for TensorBoard, where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

STEPS_A_POINT = 20  # of the curve of the loss
FOLDER = "tensorboard"


class Curves:
    """Writes to TensorBoard, or nowhere."""

    def __init__(self, writer: Any | None) -> None:
        self._writer = writer

    @property
    def are_kept(self) -> bool:
        return self._writer is not None

    def scalar(self, name: str, value: float, step: int) -> None:
        if self._writer is not None:
            self._writer.add_scalar(name, value, step)

    def picture(self, name: str, picture: NDArray[np.uint8], step: int) -> None:
        """(H, W, 3) uint8 RGB."""
        if self._writer is not None:
            self._writer.add_image(name, picture, step, dataformats="HWC")


@contextmanager
def kept_curves(folder: Path, first_step: int, is_kept: bool) -> Iterator[Curves]:
    """Curves that go on in ``folder`` after ``first_step``; what a killed run wrote beyond it is hidden."""
    writer = _writer(folder / FOLDER, first_step) if is_kept else None
    try:
        yield Curves(writer)
    finally:
        if writer is not None:
            writer.close()


_said: set[str] = set()


def _writer(folder: Path, first_step: int) -> Any | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        sentence = "TensorBoard is not installed, so no curves are kept: pip install -r requirements/training.txt"
        if sentence not in _said:
            tqdm.write(sentence)
            _said.add(sentence)
        return None
    return SummaryWriter(str(folder), purge_step=first_step)

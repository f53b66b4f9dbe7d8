"""What a training run shows while it is at work: a bar with the time left and the memory taken."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import torch
from tqdm import tqdm

BYTES_IN_GIB = 2**30
SHOWN_STEPS = 20  # of the mean loss in the bar


class Bar:
    """One bar over all steps of a stage, so that the time left is the stage's."""

    def __init__(self, bar: tqdm[NoReturn], stage: str, epochs: int, device: torch.device) -> None:
        self._bar, self._stage, self._epochs, self._device = bar, stage, epochs, device

    def begin_epoch(self, epoch: int) -> None:
        self._bar.set_description(f"{self._stage}, epoch {epoch + 1}/{self._epochs}")

    def step(self, losses: list[float]) -> None:
        shown = losses[-SHOWN_STEPS:]
        self._bar.set_postfix(
            loss=f"{sum(shown) / len(shown):.3f}", memory=f"{memory_gib(self._device):.1f} GiB", refresh=False
        )
        self._bar.update()


@contextmanager
def shown_progress(
    stage: str, finished_epochs: int, epochs: int, steps_per_epoch: int, device: torch.device, is_shown: bool
) -> Iterator[Bar]:
    """The bar of a stage, already at the epochs that are done; hidden in all processes but one."""
    total, done = epochs * steps_per_epoch, finished_epochs * steps_per_epoch
    with tqdm(total=total, initial=done, desc=stage, unit="step", mininterval=5, disable=not is_shown) as bar:
        yield Bar(bar, stage, epochs, device)


def memory_gib(device: torch.device) -> float:
    """The most memory taken so far: of the GPU where there is one, of this process otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / BYTES_IN_GIB
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / BYTES_IN_GIB

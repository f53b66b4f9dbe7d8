"""Training in float64, where rounding cannot be mistaken for a fault.

In float32 it can: Adam divides a gradient by its own size, so that one that is nothing but rounding, which no two CPUs
share, moves its weight as far as any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from lowlat_seg_ros.training.samples import Samples

ROUNDING = 1e-6  # of what is learnt in float64, with a wide margin: what is divided wrongly shows at 0.01 and more


class DoubleSamples(Samples):
    """Samples whose pictures are float64."""

    def __getitem__(self, address: tuple[int, int]) -> tuple[Any, ...]:
        return tuple(
            tensor.double() if tensor.is_floating_point() else tensor for tensor in super().__getitem__(address)
        )


@contextmanager
def float_is_double() -> Iterator[None]:
    """What the stages compute in full precision where half precision is on stays float64."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        yield

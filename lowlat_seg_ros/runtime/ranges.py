"""The ranges of what convolutions see, from which int8 takes its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

LEFT_OUT: Final = 1e-4  # of a picture's values at either end: a few far ones would make the steps of all others coarse
SAMPLES: Final = 100_000  # of an input's values
DIGITS: Final = 5
SMALLEST: Final = 1e-6  # from which on a range is one


class Range(NamedTuple):
    """Of a convolution's input."""

    low: float
    high: float


Ranges = tuple[Range, ...]
"""Of all convolutions, in the order in which they run."""


class RangesSeen:
    """The mean over pictures of each convolution's range, its furthest values left out."""

    def __init__(self) -> None:
        self._ends: list[list[tuple[float, float]]] = []  # of each convolution, one a picture

    def look(self, layers: Callable[[Tensor], object], layers_input: Tensor) -> None:
        """Run the layers once, in torch."""
        seen = _Seen()
        with torch.inference_mode(False), torch.no_grad(), seen:  # as ``onnx_program`` writes them
            layers(layers_input.clone())
        self._ends = self._ends or [[] for _ in seen.ends]
        for ends, found in zip(self._ends, seen.ends, strict=True):
            ends.append(found)

    def ranges(self) -> Ranges:
        means = [np.mean(ends, axis=0).tolist() for ends in self._ends]
        return tuple(
            Range(float(f"{low:.{DIGITS}g}"), float(f"{max(high, low + SMALLEST):.{DIGITS}g}")) for low, high in means
        )


class _Seen(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ends: list[tuple[float, float]] = []
        self._random = np.random.default_rng(0)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # see onnx_program

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Sequence[Any] = (), keywords: Any = None) -> Any:
        if operator.overloadpacket is torch.ops.aten.convolution:
            self.ends.append(self._ends_of(arguments[0].detach().flatten().numpy()))
        return operator(*arguments, **(keywords or {}))

    def _ends_of(self, values: NDArray[np.float32]) -> tuple[float, float]:
        if len(values) > SAMPLES:
            values = values[self._random.integers(len(values), size=SAMPLES)]
        left_out = round(LEFT_OUT * len(values))
        ordered = np.partition(values, (left_out, -1 - left_out))
        return float(ordered[left_out]), float(ordered[-1 - left_out])

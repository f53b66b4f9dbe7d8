"""How milliseconds spread: within all frames, and from one turn of a measurement to the next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

DECIMALS = 3


@dataclass(frozen=True)
class Spread:
    """Percentiles of all samples in milliseconds, and the medians of the slowest and the fastest turn.

    The turns of what is compared follow each other A B A B. Where their medians differ by more than two rows do, the
    machine was not quiet enough to tell these rows apart.
    """

    count: int
    p50: float
    p95: float
    p99: float
    max: float
    lowest_turn: float
    highest_turn: float

    @staticmethod
    def of(turns: Iterable[Sequence[float]]) -> Spread | None:
        """Of the samples of each turn; None where there are none at all."""
        measured = [list(turn) for turn in turns if len(turn)]
        if not measured:
            return None
        together = [sample for turn in measured for sample in turn]
        p50, p95, p99, maximum = (float(value) for value in np.percentile(together, (50, 95, 99, 100)))
        medians = [float(np.median(turn)) for turn in measured]
        return Spread(len(together), p50, p95, p99, maximum, min(medians), max(medians))

    def to_mapping(self) -> dict[str, Any]:
        return rounded(asdict(self))


def spread_mapping(turns: Iterable[Sequence[float]]) -> dict[str, Any] | None:
    """A spread as it stands in the results file; None where nothing was measured."""
    spread = Spread.of(turns)
    return None if spread is None else spread.to_mapping()


def rounded(value: Any) -> Any:
    """The same mapping, list or number with microseconds as the last digit, and None for what is no finite number."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return round(value, DECIMALS) if math.isfinite(value) else None
    return value

"""The confusion matrix and the classes' scores as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

HEAT_STEPS: Final = 10  # as many as style.css has colours for, besides none


@dataclass(frozen=True)
class ConfusionCell:
    text: str
    percent: str  # precisely
    heat: int  # 0..HEAT_STEPS
    is_right: bool


@dataclass(frozen=True)
class ConfusionRow:
    true_class: str
    pixels: int
    cells: tuple[ConfusionCell, ...]  # one a class, and one for pixels that were given none


def confusion_rows(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> list[ConfusionRow]:
    """Each true class's pixels by the class they were given, in per cent of that row; classes that never occur are out.

    counts: [true class][given class], pixels; the last column those that were given no class.
    """
    return [_row(number, name, row) for number, (name, row) in enumerate(zip(classes, counts, strict=True)) if sum(row)]


def _row(number: int, name: str, pixels: Sequence[int]) -> ConfusionRow:
    total = sum(pixels)
    cells = (_cell(given / total, is_right=place == number) for place, given in enumerate(pixels))
    return ConfusionRow(name, total, tuple(cells))


def _cell(share: float, is_right: bool) -> ConfusionCell:
    # The root sets small confusions apart, which matter and would all look white.
    heat = round(HEAT_STEPS * share**0.5) if share >= 0.005 else 0
    return ConfusionCell(f"{100 * share:.0f}" if share >= 0.005 else "", f"{100 * share:.2f}", heat, is_right)


def class_shares(counts: Sequence[Sequence[int]]) -> list[float]:
    """How much of all true pixels each class is."""
    total = sum(map(sum, counts))
    return [sum(row) / total if total else 0.0 for row in counts]


def systems_with_scores(camera: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [system for system in camera["systems"] if system["scores"]]

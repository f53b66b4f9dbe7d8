"""What got better and what worse between two replays, for use in continuous integration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lowlat_seg_ros.data.documents import is_number
from lowlat_seg_ros.errors import Error, shown, turning_all_into
from lowlat_seg_ros.evaluation.report_text import table
from lowlat_seg_ros.replay.fleet import FLEET_FORMAT
from lowlat_seg_ros.replay.report import FIGURES, FigureKind, figures_of


class ComparisonError(Error):
    """A document that cannot be compared with; the message says why."""


Place = tuple[str, ...]  # bag, camera, system; a single report has no bag, so that its name may differ


class RegressionError(Error):
    """A replay that is worse than the one before by more than is tolerated; the message says in how many figures."""


@dataclass(frozen=True)
class Change:
    """One figure of one system, before and now; None where it is gone or new."""

    place: Place
    kind: FigureKind
    before: float | None
    now: float | None

    @property
    def worsening(self) -> float:
        """How much worse it is: a difference for fractions, a share of the old value for milliseconds; below 0: better.

        Infinite for a figure that was there and is gone.
        """
        if self.before is None or self.kind.better == "neither":
            return 0.0
        if self.now is None:
            return float("inf")
        increase = self.now - self.before
        if self.kind.unit == "ms":
            increase = increase / self.before if self.before > 0 else increase
        return increase if self.kind.better == "lower" else -increase


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Every figure of the older document (a report's or a fleet's JSON): what is new has nothing to be compared to."""
    with turning_all_into(ComparisonError, "the older document lacks what is compared, or part of it is no figure"):
        old = dict(_placed(before))
    new = dict(_placed(now))
    places = [*new, *(place for place in old if place not in new)]
    return [
        Change(place, kind, old.get(place, {}).get(kind.name), new.get(place, {}).get(kind.name))
        for place in places
        for kind in FIGURES
        if place in old
    ]


def comparison_text(changes: list[Change], tolerance: float) -> str:
    """A table of what changed, and whether for better or worse."""
    rows = [
        [*(" ".join(change.place), change.kind.title), *_values(change), _verdict(change, tolerance)]
        for change in changes
        if change.before != change.now
    ]
    if not rows:
        return "Nothing changed."
    return "\n".join(table(["", "figure", "before", "now", ""], rows))


def require_no_worse(changes: list[Change], tolerance: float) -> None:
    """Raise RegressionError if a figure worsened by more than ``tolerance``."""
    worse = [change for change in changes if change.worsening > tolerance]
    if worse:
        worst = max(worse, key=lambda change: change.worsening)
        raise RegressionError(
            f"{len(worse)} of {len(changes)} figures are worse than before by more than {tolerance:g}, "
            f"most of all {worst.kind.title} of {' '.join(worst.place)}"
        )


def _placed(document: Mapping[str, Any]) -> Iterator[tuple[Place, dict[str, float | None]]]:
    for place, figures in _figures(document):
        for name, value in figures.items():
            if value is not None and not is_number(value):
                raise ComparisonError(f"{name} is {shown(value)}; expected a number")
        yield tuple(map(str, place)), {kind.name: figures[kind.name] for kind in FIGURES}


def _figures(document: Mapping[str, Any]) -> Iterator[tuple[Place, dict[str, float | None]]]:
    if document["format"] == FLEET_FORMAT:
        for bag in document["bags"]:
            for camera in bag["cameras"]:
                for system in camera["systems"]:
                    yield (bag["name"], camera["topic"], system["name"]), system["figures"]
        return
    for camera in document["cameras"]:
        for system in camera["systems"]:
            yield (camera["topic"], system["name"]), figures_of(system)


def _values(change: Change) -> list[str]:
    return [change.kind.in_words(change.before), change.kind.in_words(change.now)]


def _verdict(change: Change, tolerance: float) -> str:
    if change.worsening > tolerance:
        return "WORSE"
    return "worse" if change.worsening > 0 else "better" if change.worsening < 0 else ""

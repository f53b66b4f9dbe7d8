"""The summary table: every figure for every system side by side, with what it means in plain words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from lowlat_seg_ros.replay.page_formats import UNKNOWN, count, count_of, milliseconds, percent

System = Mapping[str, Any]  # as report.json has it
Better = Literal["lower", "higher", ""]

QUANTILES: Final = {"p50": "p50", "p95": "p95", "p99": "p99", "max": "Maximum"}


@dataclass(frozen=True)
class RowKind:
    """A row of the table, before it meets a report."""

    name: str
    path: str  # to the figure in a system of report.json
    text: Callable[[Any], str]
    better: Better
    hint: str  # what the figure means, for a reader who does not know the field
    is_share: bool = False  # a count, to be shown with its share of the frames that came in


FRAME_ROWS: Final = (
    RowKind("Frames in", "counts.frames_in", count, "", "What the camera delivered."),
    RowKind("Labelled", "counts.labelled", count, "higher", "Got labels, late ones included.", is_share=True),
    RowKind("Dropped", "counts.dropped", count, "lower", "Never labelled: a newer frame came first.", is_share=True),
    RowKind("Late", "counts.late", count, "lower", "Labelled, but after the next frame was due.", is_share=True),
    RowKind(
        "Deadline misses",
        "counts.deadline_misses",
        count,
        "lower",
        "Late or dropped: no labels within the camera's period.",
        is_share=True,
    ),
    RowKind(
        "Key frames",
        "counts.key_frame_ratio",
        percent,
        "",
        "Key-frame ratio: share of the labelled frames that start the full computation.",
    ),
)
LATENCY_ROWS: Final = tuple(
    RowKind(QUANTILES[quantile], f"latency_ms.all_frames.{quantile}", milliseconds, "lower", hint)
    for quantile, hint in {
        "p50": "Half of the frames took this long at most.",
        "p95": "19 of 20 frames took this long at most.",
        "p99": "99 of 100 frames took this long at most.",
        "max": "The slowest frame of all.",
    }.items()
)
SCORE_ROWS: Final = (
    RowKind(
        "Streaming mIoU",
        "scores.streaming_mean_iou",
        percent,
        "higher",
        "The newest labels at hand when a frame comes, scored against that frame: being late costs accuracy.",
    ),
    RowKind(
        "mIoU",
        "scores.mean_iou",
        percent,
        "higher",
        "Overlap of labels and truth, averaged over classes; dropped frames are left out.",
    ),
    RowKind("PA", "scores.pixel_accuracy", percent, "higher", "Pixel accuracy: share of pixels labelled right."),
    RowKind(
        "CA",
        "scores.class_accuracy",
        percent,
        "higher",
        "Class accuracy: the same for each class, then averaged, so that small classes count as much as large ones.",
    ),
    RowKind("Frames scored", "scores.frames", count, "", "Labelled frames that have a ground truth."),
)
AGREEMENT_ROWS: Final = (
    RowKind(
        "Agreement, mean",
        "agreement.mean",
        percent,
        "higher",
        "Share of pixels with the label that the full network gives the same frame.",
    ),
    RowKind("Agreement, p5", "agreement.p5", percent, "higher", "19 of 20 frames agree at least this much."),
    RowKind("Agreement, lowest", "agreement.min", percent, "higher", "The frame that differs most."),
    RowKind("Agreement, mIoU", "agreement.mean_iou", percent, "higher", "mIoU with its labels as the truth."),
    RowKind(
        "Temporal consistency",
        "temporal_consistency",
        percent,
        "higher",
        "mIoU of labels with the previous ones moved along with the picture; flicker lowers it.",
    ),
)
GROUPS: Final = {
    "Was every frame labelled in time?": FRAME_ROWS,
    "Latency: from a frame's arrival to its labels": LATENCY_ROWS,
    "Accuracy against ground truth": SCORE_ROWS,
    "Agreement with the full network, and steadiness": AGREEMENT_ROWS,
}


@dataclass(frozen=True)
class Cell:
    text: str
    is_best: bool = False


@dataclass(frozen=True)
class Row:
    name: str
    hint: str
    cells: tuple[Cell, ...]  # one a system

    @property
    def says_something(self) -> bool:
        return any(cell.text != UNKNOWN for cell in self.cells)


@dataclass(frozen=True)
class Group:
    title: str
    rows: tuple[Row, ...]


def summary_groups(camera: Mapping[str, Any]) -> list[Group]:
    """The rows that say something: where no system has a figure, there is no row."""
    groups = []
    for title, kinds in GROUPS.items():
        rows = (_row(kind, camera["systems"]) for kind in kinds)
        groups.append(Group(title, tuple(row for row in rows if row.says_something)))
    return [group for group in groups if group.rows]


def figure(system: System, path: str) -> Any:
    """The figure at a dotted path; None where it, or what it would be part of, does not exist."""
    value: Any = system
    for name in path.split("."):
        if value is None:
            return None
        value = value[name]
    return value


def _row(kind: RowKind, systems: Sequence[System]) -> Row:
    values = [figure(system, kind.path) for system in systems]
    if kind.is_share:
        texts = [count_of(value, system["counts"]["frames_in"]) for value, system in zip(values, systems, strict=True)]
    else:
        texts = [kind.text(value) for value in values]
    return Row(kind.name, kind.hint, _cells(values, texts, kind.better))


def _cells(values: Sequence[float | None], texts: Sequence[str], better: Better) -> tuple[Cell, ...]:
    """Mark what reads as the best, unless all figures that are known read the same."""
    known = {text: value for text, value in zip(texts, values, strict=True) if value is not None}
    if not better or len(known) < 2:
        return tuple(map(Cell, texts))
    best = min(known, key=known.__getitem__) if better == "lower" else max(known, key=known.__getitem__)
    return tuple(Cell(text, text == best) for text in texts)

"""What the page says in cards and tables: figures in words, side by side for every system, each with what it means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from lowlat_seg_ros.replay.report import System, figure

UNKNOWN: Final = "\N{EN DASH}"  # as printed tables have it
SPACE: Final = "\N{NARROW NO-BREAK SPACE}"
QUANTILES: Final = {"p50": "p50", "p95": "p95", "p99": "p99", "max": "Maximum"}
KINDS: Final = {
    "key_frames": ("Key frames", "They start the full computation, and are not to stand out."),
    "other_frames": ("Other frames", "Neither key frames nor first ones."),
    "first_frames": (
        "First frames",
        "After a start or a reset, until the slow track has done its first key frame.",
    ),
}
DELAY: Final = ("Slow track's delay", "From handing it a key frame until the accurate answer is there.")
HEAT_STEPS: Final = 10  # as many as style.css has colours for, besides none


def milliseconds(value: float | None) -> str:
    """One decimal below 100, where it can mean something."""
    if value is None:
        return UNKNOWN
    return f"{value:.{0 if value >= 99.95 else 1}f}{SPACE}ms"


def percent(fraction: float | None) -> str:
    """One decimal; none and all without, so that these two are not mistaken for something near them."""
    if fraction is None:
        return UNKNOWN
    return f"{100 * fraction:.{0 if fraction in (0, 1) else 1}f}{SPACE}%"


def seconds(value: float) -> str:
    return f"{value:.2f}{SPACE}s"


def count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}".replace(",", SPACE)


def count_of(part: int, whole: int) -> str:
    """A count, and what share of the whole it is."""
    return f"{count(part)} ({percent(part / whole)})" if whole else count(part)


Better = Literal["lower", "higher", ""]


@dataclass(frozen=True)
class RowKind:
    """A row of the table, before it meets a report."""

    name: str
    path: str  # to the figure in a system of report.json
    text: Callable[[Any], str]
    better: Better
    hint: str  # what the figure means, for a reader who does not know the field
    is_share: bool = False  # a count, to be shown with its share of the frames that came in


GROUPS: Final = {
    "Was every frame labelled in time?": (
        RowKind("Frames in", "counts.frames_in", count, "", "What the camera delivered."),
        RowKind("Labelled", "counts.labelled", count, "higher", "Got labels, late ones included.", is_share=True),
        RowKind(
            "Dropped", "counts.dropped", count, "lower", "Never labelled: a newer frame came first.", is_share=True
        ),
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
    ),
    "Latency: from a frame's arrival to its labels": tuple(
        RowKind(QUANTILES[quantile], f"latency_ms.all_frames.{quantile}", milliseconds, "lower", hint)
        for quantile, hint in {
            "p50": "Half of the frames took this long at most.",
            "p95": "19 of 20 frames took this long at most.",
            "p99": "99 of 100 frames took this long at most.",
            "max": "The slowest frame of all.",
        }.items()
    ),
    "Accuracy against ground truth": (
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
            "Class accuracy: the same for each class, then averaged, so that small classes count as much as large.",
        ),
        RowKind("Frames scored", "scores.frames", count, "", "Labelled frames that have a ground truth."),
    ),
    "Agreement with the full network, and steadiness": (
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
    ),
}


@dataclass(frozen=True)
class Cell:
    text: str
    is_best: bool = False


@dataclass(frozen=True)
class SummaryRow:
    name: str
    hint: str
    cells: tuple[Cell, ...]  # one a system

    @property
    def says_something(self) -> bool:
        return any(cell.text != UNKNOWN for cell in self.cells)


@dataclass(frozen=True)
class Group:
    title: str
    rows: tuple[SummaryRow, ...]


def summary_groups(camera: Mapping[str, Any]) -> list[Group]:
    """The rows that say something: where no system has a figure, there is no row."""
    groups = []
    for title, kinds in GROUPS.items():
        rows = (_row(kind, camera["systems"]) for kind in kinds)
        groups.append(Group(title, tuple(row for row in rows if row.says_something)))
    return [group for group in groups if group.rows]


def _row(kind: RowKind, systems: Sequence[System]) -> SummaryRow:
    values = [figure(system, kind.path) for system in systems]
    if kind.is_share:
        texts = [count_of(value, system["counts"]["frames_in"]) for value, system in zip(values, systems, strict=True)]
    else:
        texts = [kind.text(value) for value in values]
    return SummaryRow(kind.name, kind.hint, _cells(values, texts, kind.better))


def _cells(values: Sequence[float | None], texts: Sequence[str], better: Better) -> tuple[Cell, ...]:
    """Mark what reads as the best, unless all figures that are known read the same."""
    known = {text: value for text, value in zip(texts, values, strict=True) if value is not None}
    if not better or len(known) < 2:
        return tuple(map(Cell, texts))
    best = min(known, key=known.__getitem__) if better == "lower" else max(known, key=known.__getitem__)
    return tuple(Cell(text, text == best) for text in texts)


@dataclass(frozen=True)
class Card:
    name: str
    figure: str
    beside: str  # what to hold it against


def headline(camera: Mapping[str, Any]) -> list[Card]:
    two_tracks, *others = camera["systems"]
    full_network = next((system for system in others if system["name"] == "full network"), None)

    def card(name: str, path: str, text: Callable[[Any], str], scale: str = "") -> Card:
        beside = [scale] if scale else []
        if full_network and (value := figure(full_network, path)) is not None:
            beside.append(f"full network: {text(value)}")
        return Card(name, text(figure(two_tracks, path)), " · ".join(beside))

    is_known = camera["period_ms"] is not None
    period = f"period by the {camera['clock']}: {milliseconds(camera['period_ms'])}" if is_known else "of no known rate"
    return [
        card("Deadline misses", "counts.deadline_misses", count, f"of {count(camera['frames'])} frames"),
        card("Slowest frame", "latency_ms.all_frames.max", milliseconds, period),
        _accuracy_card(two_tracks, card),
        card("Key frames", "counts.key_frame_ratio", percent, "of the frames start the full computation"),
    ]


def _accuracy_card(two_tracks: System, card: Callable[..., Card]) -> Card:
    if two_tracks["scores"]:
        return card("Streaming mIoU", "scores.streaming_mean_iou", percent)
    return card("Agreement", "agreement.mean", percent, "of the pixels as by the full network")


@dataclass(frozen=True)
class SpreadRow:
    name: str
    hint: str
    count: str
    quantiles: tuple[str, ...]  # milliseconds, in the order of QUANTILES


def spread_rows(system: System) -> Iterator[SpreadRow]:
    """The kinds of frames that there were, and the slow track."""
    for kind, (name, hint) in KINDS.items():
        if system["latency_ms"][kind]["count"]:
            yield _spread_row(name, hint, system["latency_ms"][kind])
    if system["slow_track"]["delay_ms"]["count"]:
        yield _spread_row(*DELAY, system["slow_track"]["delay_ms"])


def systems_with_key_frames(camera: Mapping[str, Any]) -> list[System]:
    return [system for system in camera["systems"] if system["slow_track"]]


def _spread_row(name: str, hint: str, spread: Mapping[str, Any]) -> SpreadRow:
    quantiles = tuple(f"{spread[quantile]:.1f}" for quantile in QUANTILES)
    return SpreadRow(name, hint, count(spread["count"]), quantiles)


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
    return [
        _confusion_row(number, name, row)
        for number, (name, row) in enumerate(zip(classes, counts, strict=True))
        if sum(row)
    ]


def _confusion_row(number: int, name: str, pixels: Sequence[int]) -> ConfusionRow:
    total = sum(pixels)
    cells = (_confusion_cell(given / total, is_right=place == number) for place, given in enumerate(pixels))
    return ConfusionRow(name, total, tuple(cells))


def _confusion_cell(share: float, is_right: bool) -> ConfusionCell:
    # The root sets small confusions apart, which matter and would all look white.
    heat = round(HEAT_STEPS * share**0.5) if share >= 0.005 else 0
    return ConfusionCell(f"{100 * share:.0f}" if share >= 0.005 else "", f"{100 * share:.2f}", heat, is_right)


def class_shares(counts: Sequence[Sequence[int]]) -> list[float]:
    """How much of all true pixels each class is."""
    total = sum(map(sum, counts))
    return [sum(row) / total if total else 0.0 for row in counts]


def systems_with_scores(camera: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [system for system in camera["systems"] if system["scores"]]

"""The paper's tables on one clip, the paper's numbers beside ours. Read ``paper_table`` first.

Rows with weights of their own (``models.comparisons``) are measured where the model's checkpoint has these, and are
otherwise recorded ones (``recorded_tables``), where these are of the same model and clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch

from lowlat_seg_ros.evaluation.controls import Control, controls_of_table_1, controls_of_table_2
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.gated_flow import GatedFlow
from lowlat_seg_ros.evaluation.latency import (
    Candidate,
    Label,
    LatencyReport,
    LatencyRow,
    LatencySettings,
    SingleFrameCandidate,
    TwoTracksCandidate,
    measure_latency,
)
from lowlat_seg_ros.evaluation.module_times import measure, module_calls
from lowlat_seg_ros.evaluation.per_frame_network import PerFrameNetwork
from lowlat_seg_ros.evaluation.published import TABLE_1, TABLE_2, TABLE_3, TABLE_4, Published
from lowlat_seg_ros.evaluation.recorded_tables import measured_on, note_on_missing, note_on_recorded, recorded_row
from lowlat_seg_ros.evaluation.rows import (
    Labeller,
    ScoreRow,
    SettingsError,
    TrackSettings,
    evaluate_rows,
    in_engine,
    score,
)
from lowlat_seg_ros.evaluation.table_ways import FeatureAlone, ways_of_table_2
from lowlat_seg_ros.models.comparisons import GatedUnits
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.threads import ThreadCounts
from lowlat_seg_ros.slow.registry import Tracks
from lowlat_seg_ros.stream.key_frames import NEVER_IDLE

NUMBERS: Final = (1, 2, 3, 4)
INTERVAL: Final = 5  # frames from key to key, of the paper's fixed schedule and all of its table 2
PAPERS_PROPAGATION: Final = "adaptive"  # the propagation, where a row does not name its own
MODULE_ROUNDS: Final = 30
NOT_IN_PAPER: Final = Published()


@dataclass(frozen=True)
class TableRow:
    """One row. Fractions of one and milliseconds; None where it has no such figure."""

    name: str
    paper: Published = NOT_IN_PAPER
    mean_iou: float | None = None
    mean_ms: float | None = None
    max_ms: float | None = None
    pixel_accuracy: float | None = None
    class_accuracy: float | None = None
    key_frame_ratio: float | None = None
    slow_track_ms: float | None = None  # median of Sh: by itself where key frames wait for it, beside the fast track
    share: float | None = None  # of the full network's time
    origin: str = "measured"  # or "recorded", by an earlier run; "quoted", from a paper; "not at hand"
    note: str = ""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper with our figures."""

    number: int
    title: str
    columns: tuple[str, ...]  # the fields of a row that it has, in their order
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]
    measured_on: str = ""  # which weights and which frames, as ``recorded_tables`` names them
    controls: tuple[Control, ...] = ()  # why its rows are in the order that they are in


@dataclass(frozen=True)
class MadeTable:
    """A table, and what it was made from."""

    table: PaperTable
    rows: tuple[ScoreRow, ...] = ()
    latency: LatencyReport | None = None


def paper_table(
    number: int,
    clip: EvaluatedClip,
    settings: TrackSettings,
    timing: LatencySettings,
    threads: ThreadCounts,
    is_video: bool = True,
) -> MadeTable:
    """The table of that number. Of stills only the fourth means something.

    Raises:
        SettingsError: the clip ends before the second key frame of a table that is about what lies between them.
    """
    if number in (1, 2) and len(clip) <= INTERVAL:
        raise SettingsError(
            f"the clip has {len(clip)} frame(s), table {number} a key frame every {INTERVAL}; expected more than those"
        )
    match number:
        case 1:
            made = table_1(clip, settings, timing, threads)
            return _with(made, controls_of_table_1(clip, _paper_policy(settings)))
        case 2:
            return _with(table_2(clip, settings), controls_of_table_2(clip, replace(settings, interval=INTERVAL)))
        case 3:
            return table_3(clip.network)
    return table_4(clip, settings, is_video)


def _with(made: MadeTable, controls: Sequence[Control]) -> MadeTable:
    return replace(made, table=replace(made.table, controls=tuple(controls)))


def table_1(clip: EvaluatedClip, settings: TrackSettings, timing: LatencySettings, threads: ThreadCounts) -> MadeTable:
    """Every method timed in one run on the same frames, at the clip's rate."""
    candidates = candidates_of_table_1(clip.network, settings, threads, timing.rate_hz)
    report = measure_latency(list(candidates.values()), clip.frames, clip.new_matrix, timing)
    timed = dict(zip(candidates, report.rows, strict=True))
    rows = [
        _timed_row(name, timed[name]) if name in timed else _without_weights(clip, 1, name, TABLE_1[name])
        for name in (*TABLE_1, *(name for name in timed if name not in TABLE_1))
    ]
    notes = [
        f"{report.conditions()}; {len(clip)} frames at {timing.rate_hz:g} Hz, {timing.rounds} round(s) of all methods "
        "in turn in one run. The paper's: Cityscapes, ResNet-101 at 2048x1024, another machine.",
        f"Fixed schedules have a key frame every {INTERVAL} frames; AKS: {_paper_policy(settings).in_words()}.",
        *_notes_on_weights(rows),
    ]
    columns = ("mean_iou", "mean_ms", "max_ms", "key_frame_ratio", "slow_track_ms")
    title = "Comparison with the state of the art"
    table = PaperTable(1, title, columns, tuple(rows), tuple(notes), measured_on(clip))
    return MadeTable(table, latency=report)


def candidates_of_table_1(
    network: SegmentationNetwork, settings: TrackSettings, threads: ThreadCounts, rate_hz: float
) -> dict[str, Candidate]:
    """By the rows' names, those whose weights are at hand, in the table's order."""
    fixed, adaptive = replace(settings, interval=INTERVAL).fixed_policy(), _paper_policy(settings).adaptive
    all_threads = threads.fast + threads.slow

    def engine(name: str, policy: Any, propagation: Any, low_latency: bool = False) -> TwoTracksCandidate:
        return TwoTracksCandidate(
            Tracks(network, network),
            policy,
            propagation,
            threads,
            rate_hz,
            name=name,
            low_latency=low_latency,
            slow_track_share=settings.slow_track_share,
        )

    candidates: list[Candidate] = []
    if network.comparisons is not None:
        candidates += [
            engine("Clockwork Net", fixed, "clockwork"),
            GatedFlowCandidate("GRFP(5)", network, network.comparisons.gated_units, all_threads),
        ]
    candidates += [
        engine("Deep Feature Flow", fixed, "optical_flow"),
        SingleFrameCandidate("baseline", PerFrameNetwork(network, network), network.config.input_size, all_threads),
        engine("AFP + fix schedule", fixed, FeatureAlone),
        engine("AFP + AKS", adaptive, FeatureAlone),
        engine("AFP + AKS + LLS", adaptive, FeatureAlone, low_latency=True),
        engine("logits carried, idle key frames", settings.adaptive, "adaptive", low_latency=True),
        engine("as it ships: just in time, idle key frames", settings.adaptive, "just_in_time", low_latency=True),
    ]
    return {candidate.name: candidate for candidate in candidates}


class GatedFlowCandidate:
    """GRFP(5) to be timed; every run through the clip starts afresh."""

    def __init__(self, name: str, network: SegmentationNetwork, units: GatedUnits, threads: int) -> None:
        self.name = self.network = name
        self.threads, self.threads_in_words = threads, str(threads)
        self._network, self._units = network, units

    @contextmanager
    def start(self) -> Iterator[Label]:
        width, height = self._network.config.input_size
        warm = GatedFlow(self._network, self._units)
        for _ in range(2):
            warm(np.zeros((height, width, 3), np.uint8))
        gated = GatedFlow(self._network, self._units)
        yield lambda frame: gated(frame.image)

    def slow_track_ms(self) -> list[float]:
        return []

    def key_frame_ratio(self) -> float | None:
        return None


def _paper_policy(settings: TrackSettings) -> TrackSettings:
    """Without idle key frames, which the paper does not have: all rows of a table run with the same setting."""
    return replace(settings, adaptive=replace(settings.adaptive, idle_threshold=NEVER_IDLE))


def _timed_row(name: str, row: LatencyRow) -> TableRow:
    return TableRow(
        name,
        TABLE_1.get(name, NOT_IN_PAPER),
        row.mean_iou,
        row.mean_ms,
        row.max_ms,
        key_frame_ratio=row.key_frame_ratio,
        slow_track_ms=row.slow_track_ms,
    )


def table_2(clip: EvaluatedClip, settings: TrackSettings) -> MadeTable:
    """Every way with a key frame each five frames that waits for Sh, in the engine, on the same frames."""
    settings = replace(settings, interval=INTERVAL)
    ways = ways_of_table_2(clip.network.comparisons)
    if clip.network.config.carrying == "none":
        ways = {name: way for name, way in ways.items() if way != "adaptive"}
    labellers = [
        Labeller(
            name,
            f"a key frame every {INTERVAL} frames, waits for Sh",
            in_engine(clip, settings, settings.fixed_policy(), low_latency=False, propagation=way),
            way if isinstance(way, str) else name,
        )
        for name, way in ways.items()
        if way is not None
    ]
    measured = {row.name: row for row in score(clip, labellers, is_video=True)}
    rows = [
        TableRow(name, TABLE_2.get(name, NOT_IN_PAPER), measured[name].mean_iou)
        if name in measured
        else _without_weights(clip, 2, name, TABLE_2[name])
        for name in ways
    ]
    notes = [
        f"{len(clip)} frames, a key frame every {INTERVAL} of them, which waits for Sh and is scored too.",
        *_notes_on_weights(rows),
    ]
    title = "Feature propagation modules"
    table = PaperTable(2, title, ("mean_iou",), tuple(rows), tuple(notes), measured_on(clip))
    return MadeTable(table, tuple(measured.values()))


def table_3(network: SegmentationNetwork) -> MadeTable:
    """What each module costs on one frame of random pixels."""
    times = measure(module_calls(network, network.config.input_size), MODULE_ROUNDS)
    rows = [
        TableRow(
            row.module,
            Published(mean_ms=TABLE_3[row.module][0]) if row.module in TABLE_3 else NOT_IN_PAPER,
            mean_ms=row.median_ms,
            share=row.share,
            note=f"the paper's share is {TABLE_3[row.module][1]:.1%}" if row.module in TABLE_3 else "not in the paper",
        )
        for row in times
    ]
    width, height = network.config.input_size
    notes = (f"{width}x{height}, {torch.get_num_threads()} threads, median of {MODULE_ROUNDS} rounds of all in turn.",)
    return MadeTable(PaperTable(3, "Latency of each module", ("mean_ms", "share"), tuple(rows), notes))


def table_4(clip: EvaluatedClip, settings: TrackSettings, is_video: bool) -> MadeTable:
    """Published rows as they are, and ours on the frames at hand."""
    names = ("per-frame", "low-latency") if is_video else ("per-frame",)
    measured = evaluate_rows(clip, names, _paper_policy(settings), is_video=is_video)
    rows = [TableRow(name, paper, origin="quoted") for name, paper in TABLE_4.items()]
    rows += [
        TableRow(
            f"ours, {row.name}",
            mean_iou=row.mean_iou,
            pixel_accuracy=row.pixel_accuracy,
            class_accuracy=row.class_accuracy,
            note=row.description,
        )
        for row in measured
    ]
    if is_video:
        command = "lowlat-seg evaluate --stills --table 4 --frames test --labels testannot"
        rows.append(TableRow("ours, CamVid's test split", origin="not at hand", note=f"to be measured by {command}"))
    notes = (
        f"Ours: {len(clip)} {'consecutive frames' if is_video else 'stills'} at {_size(clip)}. The published rows are "
        "of CamVid's test split at 960x720, by networks with more data; PA and CA of another split do not compare.",
    )
    table = PaperTable(4, "CamVid", ("pixel_accuracy", "class_accuracy", "mean_iou"), tuple(rows), notes)
    return MadeTable(table, tuple(measured))


def _size(clip: EvaluatedClip) -> str:
    height, width = clip.frames[0].image.shape[:2]
    return f"{width}x{height}"


# --- Rows of an earlier run -------------------------------------------------------------------------------------------


def _without_weights(clip: EvaluatedClip, number: int, name: str, paper: Published) -> TableRow:
    figures = recorded_row(clip, number, name)
    if figures is None:
        return TableRow(name, paper, origin="not at hand")
    return TableRow(name, paper, **figures, origin="recorded")


def _notes_on_weights(rows: Sequence[TableRow]) -> list[str]:
    origins = {row.origin for row in rows}
    return [note_on_recorded()] * ("recorded" in origins) + [note_on_missing()] * ("not at hand" in origins)


# --- As text ----------------------------------------------------------------------------------------------------------

Format = Callable[[float], str]
COLUMNS: Final[dict[str, tuple[str, Format]]] = {
    "mean_iou": ("mIoU", "{:.4f}".format),
    "mean_ms": ("average ms", "{:.1f}".format),
    "max_ms": ("latency, ms", "{:.1f}".format),
    "pixel_accuracy": ("PA", "{:.4f}".format),
    "class_accuracy": ("CA", "{:.4f}".format),
    "key_frame_ratio": ("key frames", "{:.2f}".format),
    "slow_track_ms": ("Sh, ms", "{:.0f}".format),
    "share": ("share", "{:.1%}".format),
}


def table_cells(table: PaperTable) -> tuple[list[str], list[list[str]]]:
    """Head and rows: each figure of ours with the paper's beside it."""
    of_paper = [column for column in table.columns if any(_paper_has(row, column) for row in table.rows)]
    head = ["method"]
    for column in table.columns:
        title = COLUMNS[column][0]
        head += [f"{title}, ours", f"{title}, paper"] if column in of_paper else [title]
    return [*head, ""], [_cells(row, table.columns, of_paper) for row in table.rows]


def _paper_has(row: TableRow, column: str) -> bool:
    return getattr(row.paper, column, None) is not None


def _cells(row: TableRow, columns: Sequence[str], of_paper: Sequence[str]) -> list[str]:
    cells = [row.name + (" (recorded)" if row.origin == "recorded" else "")]
    for column in columns:
        cells.append(_figure(getattr(row, column), column))
        if column in of_paper:
            cells.append(_figure(getattr(row.paper, column), column))
    origin = row.origin if row.origin in ("quoted", "not at hand") else ""
    return [*cells, "; ".join(part for part in (origin, row.note) if part)]


def _figure(value: float | None, column: str) -> str:
    return "-" if value is None else COLUMNS[column][1](value)

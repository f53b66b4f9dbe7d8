"""What a replay reports: the data classes behind ``report.json``, which docs/replay_report.schema.json documents.

A figure that does not exist, such as a score without ground truth, is None here and null in the file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from lowlat_seg_ros.evaluation.report_text import NO_VALUE
from lowlat_seg_ros.replay.clocks import Source

FORMAT: Final = "lowlat_seg_ros replay report"
VERSION: Final = 1

Column = list[Any]  # one value a frame


@dataclass(frozen=True)
class Spread:
    """Quantiles of one measured quantity; None where there was nothing to measure."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True)
class FrameCounts:
    """What became of the camera's frames."""

    frames_in: int
    labelled: int
    dropped: int  # a newer frame came before the worker was free
    late: int  # labelled, but later than one camera period after the frame
    deadline_misses: int  # late or dropped
    key_frames: int
    key_frame_ratio: float | None  # of the labelled frames


@dataclass(frozen=True)
class Latency:
    """Milliseconds from a frame's arrival to its labels."""

    all_frames: Spread
    key_frames: Spread  # without the first ones
    other_frames: Spread
    first_frames: Spread  # which had no key frame yet: after a start or a reset


@dataclass(frozen=True)
class SlowTrackReport:
    """What the slow track did for this camera."""

    done: int
    failed: int
    discarded: int  # key frames that a newer one replaced, or that a reset dropped
    delay_ms: Spread  # from a key frame's hand-over to its accurate answer


@dataclass(frozen=True)
class DistanceScore:
    """The score of the frames whose labels came from a key frame that many camera frames away."""

    distance: int
    frames: int
    mean_iou: float | None


@dataclass(frozen=True)
class Scores:
    """Against ground truth; fractions of one, as in evaluation.scores."""

    frames: int  # labelled frames with ground truth
    mean_iou: float | None
    pixel_accuracy: float | None
    class_accuracy: float | None
    class_iou: list[float | None]
    streaming_frames: int  # every frame with ground truth, dropped ones included
    streaming_mean_iou: float | None  # the labels available at a frame's time against that frame's truth
    by_distance: list[DistanceScore]
    confusion: list[list[int]]  # [true class][predicted class]; the last column: pixels that were given no class


@dataclass(frozen=True)
class Agreement:
    """With the full network's labels of the same frames."""

    mean: float | None  # of the fraction of pixels with the same label, over the frames
    p5: float | None
    min: float | None
    mean_iou: float | None


@dataclass(frozen=True)
class SystemReport:
    """One way to label the drive."""

    name: str
    description: str
    counts: FrameCounts
    latency_ms: Latency
    slow_track: SlowTrackReport | None
    scores: Scores | None
    agreement: Agreement | None
    temporal_consistency: float | None  # mIoU of labels against the previous ones moved along the optical flow
    timeline: dict[str, Column]


@dataclass(frozen=True)
class Disagreement:
    """A frame on which the two tracks and the full network differ much; pictures are files beside the report."""

    frame: int  # number in the camera's stream, from 0
    time_s: float
    agreement: float  # fraction of pixels with the same label
    key_age_frames: int
    picture: str
    labels: str
    full_labels: str
    difference: str


@dataclass(frozen=True)
class Video:
    """The drive under the two tracks' labels."""

    file: str  # beside the report
    every: int  # frames of the drive from one to the next


@dataclass(frozen=True)
class CameraReport:
    """One camera of the bag."""

    topic: str
    size: tuple[int, int]  # (width, height) of the first frame
    first_stamp: str  # seconds, as a decimal number with all its nanoseconds
    clock: Source  # by which the frames are timed
    duration_s: float
    period_ms: float | None  # the deadline; None where there is one frame only, or no clock
    frames: int
    frames_with_truth: int
    problems: list[str]
    systems: list[SystemReport]
    disagreements: list[Disagreement]
    video: Video | None  # None of a drive with less than two labelled frames


@dataclass(frozen=True)
class BagReport:
    name: str
    fingerprint: str  # of its files' sizes, times and parts
    problems: list[str]


@dataclass(frozen=True)
class ModelReport:
    name: str
    classes: list[str]
    colours: list[tuple[int, int, int]]
    input_size: tuple[int, int]
    weights_sha256: str


@dataclass(frozen=True)
class Report:
    """A replay of one bag."""

    bag: BagReport
    model: ModelReport
    settings: dict[str, Any]
    profile: dict[str, Any]
    cameras: list[CameraReport]
    timings: dict[str, float]  # of the replay itself: all that differs from run to run

    def to_mapping(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, as ``report.json`` holds them."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}


def known(value: float) -> float | None:
    """A figure for the report: nan, which JSON does not have, becomes None."""
    return None if math.isnan(value) else value


System = Mapping[str, Any]  # a system of a report, as report.json holds it


@dataclass(frozen=True)
class FigureKind:
    """One figure of a system."""

    name: str
    title: str
    unit: Literal["ms", "fraction"]
    better: Literal["higher", "lower", "neither"]
    path: str  # to it in a system of report.json
    is_share: bool = False  # a count there, of the frames that came in

    def of(self, system: System) -> float | None:
        """Its value; None where the system has none."""
        value: float | None = figure(system, self.path)
        return value / system["counts"]["frames_in"] if self.is_share and value is not None else value

    def in_words(self, value: float | None) -> str:
        if value is None:
            return NO_VALUE
        return f"{value:.1f} ms" if self.unit == "ms" else f"{value:.4f}"


FIGURES: Final = (
    FigureKind("latency_p50_ms", "latency p50", "ms", "lower", "latency_ms.all_frames.p50"),
    FigureKind("latency_p99_ms", "latency p99", "ms", "lower", "latency_ms.all_frames.p99"),
    FigureKind("latency_max_ms", "latency max", "ms", "lower", "latency_ms.all_frames.max"),
    FigureKind("deadline_misses", "deadline misses", "fraction", "lower", "counts.deadline_misses", is_share=True),
    FigureKind("dropped", "dropped", "fraction", "lower", "counts.dropped", is_share=True),
    FigureKind("key_frames", "key frames", "fraction", "neither", "counts.key_frame_ratio"),
    FigureKind("mean_iou", "mIoU", "fraction", "higher", "scores.mean_iou"),
    FigureKind("pixel_accuracy", "PA", "fraction", "higher", "scores.pixel_accuracy"),
    FigureKind("class_accuracy", "CA", "fraction", "higher", "scores.class_accuracy"),
    FigureKind("streaming_mean_iou", "streaming mIoU", "fraction", "higher", "scores.streaming_mean_iou"),
    FigureKind("agreement", "agreement", "fraction", "higher", "agreement.mean"),
    FigureKind("consistency", "consistency", "fraction", "higher", "temporal_consistency"),
)


def figure(system: System, path: str) -> Any:
    """The figure at a dotted path; None where it, or what it would be part of, does not exist."""
    value: Any = system
    for name in path.split("."):
        if value is None:
            return None
        value = value[name]
    return value


def figures_of(system: System) -> dict[str, float | None]:
    """All figures of a system by their names; None for those that it does not have."""
    return {kind.name: kind.of(system) for kind in FIGURES}

"""The figures of a report that a decision hangs on: for a fleet's table, and to compare two replays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from lowlat_seg_ros.evaluation.report_text import NO_VALUE

System = Mapping[str, Any]  # a system of a report, as report.json holds it


@dataclass(frozen=True)
class FigureKind:
    """One figure of a system."""

    name: str
    title: str
    unit: Literal["ms", "fraction"]
    better: Literal["higher", "lower", "neither"]
    of: Callable[[System], float | None]

    def in_words(self, value: float | None) -> str:
        if value is None:
            return NO_VALUE
        return f"{value:.1f} ms" if self.unit == "ms" else f"{value:.4f}"


def _latency(quantile: str) -> Callable[[System], float | None]:
    return lambda system: system["latency_ms"]["all_frames"][quantile]


def _share(count: str) -> Callable[[System], float | None]:
    return lambda system: system["counts"][count] / system["counts"]["frames_in"]


def _in(part: str, name: str) -> Callable[[System], float | None]:
    return lambda system: None if system[part] is None else system[part][name]


FIGURES: Final = (
    FigureKind("latency_p50_ms", "latency p50", "ms", "lower", _latency("p50")),
    FigureKind("latency_p99_ms", "latency p99", "ms", "lower", _latency("p99")),
    FigureKind("latency_max_ms", "latency max", "ms", "lower", _latency("max")),
    FigureKind("deadline_misses", "deadline misses", "fraction", "lower", _share("deadline_misses")),
    FigureKind("dropped", "dropped", "fraction", "lower", _share("dropped")),
    FigureKind("key_frames", "key frames", "fraction", "neither", _in("counts", "key_frame_ratio")),
    FigureKind("mean_iou", "mIoU", "fraction", "higher", _in("scores", "mean_iou")),
    FigureKind("pixel_accuracy", "PA", "fraction", "higher", _in("scores", "pixel_accuracy")),
    FigureKind("class_accuracy", "CA", "fraction", "higher", _in("scores", "class_accuracy")),
    FigureKind("streaming_mean_iou", "streaming mIoU", "fraction", "higher", _in("scores", "streaming_mean_iou")),
    FigureKind("agreement", "agreement", "fraction", "higher", _in("agreement", "mean")),
    FigureKind("consistency", "consistency", "fraction", "higher", lambda system: system["temporal_consistency"]),
)


def figures_of(system: System) -> dict[str, float | None]:
    """All figures of a system by their names; None for those that it does not have."""
    return {kind.name: kind.of(system) for kind in FIGURES}

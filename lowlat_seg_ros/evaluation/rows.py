"""The rows of the paper's table 1 on a labelled clip: the full network per frame, and the two tracks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.camvid import LabelledImage
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.network.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.policy import FixedInterval, KeyFramePolicy, PredictedDeviation
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack

FRAME_NANOSECONDS = 66_666_667  # 15 Hz, CamVid's labelled clip


class SettingsError(ValueError):
    """Settings of an evaluation that cannot be used; the message says which and what was expected."""


@dataclass(frozen=True)
class Row:
    """One way to label the clip, and how good its labels are. Fractions of one."""

    name: str
    mean_iou: float
    pixel_accuracy: float
    class_accuracy: float
    class_iou: tuple[float, ...]
    key_frame_ratio: float  # of frames on which Sh runs


@dataclass(frozen=True)
class TrackSettings:
    """What the two-track rows run with."""

    interval: int  # frames from key to key, of the fixed policy
    threshold: float  # of the predicted deviation
    maximum_interval: int  # frames, of the adaptive policy
    delay_frames: int  # until the slow track's result is there

    def __post_init__(self) -> None:
        if self.delay_frames < 1:
            raise SettingsError(f"the slow track is {self.delay_frames} frames late; expected 1 or more")
        try:
            self.fixed_policy(), self.adaptive_policy()
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def fixed_policy(self) -> FixedInterval:
        return FixedInterval(self.interval)

    def adaptive_policy(self) -> PredictedDeviation:
        return PredictedDeviation(self.threshold, maximum_interval=self.maximum_interval)


ROWS = ("per-frame", "fixed", "adaptive", "low-latency")


def evaluate_rows(
    network: SegmentationNetwork, clip: Iterable[LabelledImage], rows: Iterable[str], settings: TrackSettings
) -> list[Row]:
    """Score each named row on the same frames. Deterministic: the slow track runs inline, late by counted frames."""
    frames = list(clip)
    return [score_row(name, network, frames, row_engine(name, network, settings)) for name in rows]


def row_engine(name: str, network: SegmentationNetwork, settings: TrackSettings) -> StreamEngine:
    """The engine of a row: per-frame makes every frame a key frame and waits for Sh."""
    policies: dict[str, KeyFramePolicy] = {
        "per-frame": FixedInterval(1),
        "fixed": settings.fixed_policy(),
        "adaptive": settings.adaptive_policy(),
        "low-latency": settings.adaptive_policy(),
    }
    lane = InlineSlowTrack(network, delay_frames=settings.delay_frames).open_lane()
    return StreamEngine(network, lane, policies[name], low_latency=name == "low-latency")


def score_row(name: str, network: SegmentationNetwork, frames: list[LabelledImage], engine: StreamEngine) -> Row:
    matrix = ConfusionMatrix(network.config.class_count)
    key_frames = 0
    for frame, (labels, is_key_frame) in zip(frames, label_frames(engine, frames), strict=True):
        matrix.add(labels, frame.labels)
        key_frames += is_key_frame
    return Row(
        name=name,
        mean_iou=matrix.mean_iou(),
        pixel_accuracy=matrix.pixel_accuracy(),
        class_accuracy=matrix.class_accuracy(),
        class_iou=tuple(matrix.class_iou().tolist()),
        key_frame_ratio=key_frames / len(frames),
    )


def label_frames(engine: StreamEngine, frames: list[LabelledImage]) -> Iterator[tuple[NDArray[np.uint8], bool]]:
    """Labels of every frame in turn, and whether it was a key frame."""
    for index, frame in enumerate(frames):
        result = engine.segment(frame.image, index * FRAME_NANOSECONDS)
        yield result.labels, result.is_key_frame


def markdown_table(rows: list[Row]) -> str:
    lines = ["| row | mIoU | PA | CA | key frames |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.name} | {row.mean_iou:.4f} | {row.pixel_accuracy:.4f} | {row.class_accuracy:.4f} "
        f"| {row.key_frame_ratio:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def class_table(rows: list[Row], classes: tuple[str, ...]) -> str:
    lines = ["| IoU | " + " | ".join(row.name for row in rows) + " |", "|---" * (len(rows) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(f"{row.class_iou[index]:.4f}" for row in rows) + " |"
        for index, name in enumerate(classes)
    ]
    return "\n".join(lines)

"""The rows of the paper's table 1 on a labelled clip: networks that look at one frame, and the two tracks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.evaluation.evaluated_clip import FULL_ROWS, EvaluatedClip, EvaluatedFrame
from lowlat_seg_ros.evaluation.optical_flow import FlowField, TemporalConsistency
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.fast.just_in_time import JustInTimeAlone
from lowlat_seg_ros.fast.registry import JUST_IN_TIME, PropagationKind, propagation_in_use
from lowlat_seg_ros.runtime.choice import Place
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import NEVER_IDLE, FixedInterval, KeyFramePolicy, PredictedDeviation
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack
from lowlat_seg_ros.stream.time_share import DEFAULT_SHARE, TimeShare

SINGLE_FRAME_ROWS: Final = (*FULL_ROWS, "single-frame")
TWO_TRACK_ROWS: Final = ("fixed", "adaptive", "low-latency", "just-in-time", "just-in-time-alone")
ROWS: Final = (*SINGLE_FRAME_ROWS, *TWO_TRACK_ROWS)


class SettingsError(Error):
    """Settings of an evaluation that cannot be used; the message says which and what was expected."""


@dataclass(frozen=True)
class ScoreRow:
    """One way to label the clip, and how good its labels are. Fractions of one."""

    name: str
    description: str
    mean_iou: float
    pixel_accuracy: float
    class_accuracy: float
    class_iou: tuple[float, ...]  # empty where there are no labels
    key_frame_ratio: float  # of frames on which Sh is asked for
    temporal_consistency: float = math.nan  # mIoU against the previous labels, carried along the optical flow
    share_of_full: float = math.nan  # of two tracks: mIoU by the full network's, given its best
    agreement_iou: float = math.nan  # mIoU against the full network's labels, where there are no others
    agreement_pixels: float = math.nan  # likewise, of pixels
    agreement_class_iou: tuple[float, ...] = ()  # likewise, IoU by class
    propagation: str | None = None  # how labels came from key frames; None where there are none
    fast_runtime: str | None = None  # where Sl ran; None where it did not
    slow_runtime: str | None = None  # likewise of the slow network
    fast_precision: str | None = None
    slow_precision: str | None = None


@dataclass(frozen=True)
class TrackSettings:
    """What the two-track rows run with."""

    interval: int  # frames from key to key, of the fixed policy
    adaptive: PredictedDeviation  # the policy of all the other rows
    delay_frames: tuple[int, ...]  # until the slow track's result is there; a row each
    slow_track_share: float = DEFAULT_SHARE  # of the frames' time, for idle key frames

    def __post_init__(self) -> None:
        for delay in self.delay_frames:
            if delay < 1:
                raise SettingsError(f"the slow track is {delay} frames late; expected 1 or more")
        try:
            self.fixed_policy(), TimeShare(self.slow_track_share)
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def fixed_policy(self) -> FixedInterval:
        return FixedInterval(self.interval)

    def in_words(self) -> str:
        """The adaptive policy."""
        policy = self.adaptive
        earliest = _limits_in_words(policy.minimum_interval, policy.minimum_period)
        latest = _limits_in_words(policy.maximum_interval, policy.maximum_period)
        limits = [f"after {earliest} at the earliest"] if earliest else []
        limits += [f"after {latest} at the latest"] if latest else []
        idle = f"beyond {policy.idle_threshold:g} where Sh is idle, {self.slow_track_share:g} of the time"
        limits += [idle] if policy.idle_threshold < NEVER_IDLE else []
        return ", ".join([f"a key frame beyond a deviation of {policy.threshold:g}", *limits])


def _limits_in_words(frames: int, seconds: float) -> str:
    """Limits of a policy, both where both are set; empty where none is."""
    return " and ".join([f"{frames} frames"] * (frames > 0) + [f"{seconds:g} s"] * (seconds > 0))


class LabelledFrame(NamedTuple):
    """Labels, (H, W) of the frame, and whether Sh was asked for them."""

    labels: NDArray[np.uint8]
    is_key_frame: bool


@dataclass(frozen=True)
class Labeller:
    """A row of the table before it is scored."""

    name: str
    description: str
    label: Callable[[EvaluatedFrame], LabelledFrame]
    propagation: str | None = None  # None where there is none


def evaluate_rows(
    clip: EvaluatedClip, rows: Iterable[str], settings: TrackSettings, *, is_video: bool = True
) -> list[ScoreRow]:
    """Score each named row on the same frames. Deterministic: the slow track runs inline, late by counted frames.

    All rows go through the clip side by side, so that they share each frame's optical flow. Stills have none
    (``is_video`` is False), and nothing to propagate: only SINGLE_FRAME_ROWS mean something on them.
    """
    labellers = [labeller for name in rows for labeller in labellers_of(name, clip, settings)]
    return with_share_of_full(score(clip, labellers, is_video), clip.full_rows)


def labellers_of(name: str, clip: EvaluatedClip, settings: TrackSettings) -> list[Labeller]:
    """The row of that name; low latency is a row for each delay."""
    wait, own = partial(in_engine, clip, settings, low_latency=False), clip.propagation_name
    match name:
        case "per-frame":
            return [Labeller(name, "full network on every frame", partial(_full, clip))]
        case "per-frame-fused":
            description = "full network on every frame, fused with its own F_l (distance 0)"
            return [Labeller(name, description, partial(_fused, clip))]
        case "single-frame":
            return [Labeller(name, "Sl alone with a classifier of its own, on every frame", partial(_single, clip))]
        case "fixed":
            description = f"a key frame every {settings.interval} frames, waits for Sh"
            return [Labeller(name, description, wait(settings.fixed_policy()), own)]
        case "adaptive":
            return [Labeller(name, f"{settings.in_words()}, waits for Sh", wait(settings.adaptive), own)]
        case "low-latency":
            return [_low_latency(clip, settings, delay) for delay in settings.delay_frames]
        case "just-in-time":
            return [_just_in_time(clip, settings, delay) for delay in settings.delay_frames]
        case "just-in-time-alone":
            return [_just_in_time_alone(clip, settings, max(settings.delay_frames))]
    raise SettingsError(f"there is no row {name!r}; expected some of {', '.join(ROWS)}")


def _low_latency(clip: EvaluatedClip, settings: TrackSettings, delay: int) -> Labeller:
    return Labeller(
        f"low-latency-{delay}",
        f"{settings.in_words()}, nobody waits, {late(delay)}",
        in_engine(clip, settings, settings.adaptive, delay_frames=delay),
        clip.propagation_name,
    )


def _just_in_time(clip: EvaluatedClip, settings: TrackSettings, delay: int) -> Labeller:
    return Labeller(
        f"just-in-time-{delay}",
        f"as low-latency-{delay}, propagated just in time: nothing trained for this slow network",
        in_engine(clip, settings, settings.adaptive, delay_frames=delay, propagation=JUST_IN_TIME),
        JUST_IN_TIME,
    )


def _just_in_time_alone(clip: EvaluatedClip, settings: TrackSettings, delay: int) -> Labeller:
    return Labeller(
        "just-in-time-alone",
        f"Sl with the just-in-time classifier alone, {late(delay)}",
        in_engine(clip, settings, settings.adaptive, delay_frames=delay, propagation=JustInTimeAlone),
        JUST_IN_TIME,
    )


def late(delay: int) -> str:
    """When the slow track's answer is there, in words."""
    return f"Sh {delay} frame{'s' if delay > 1 else ''} late"


def usual_rows(propagation: str) -> tuple[str, ...]:
    """All rows; ``just-in-time`` only where ``low-latency`` is propagated otherwise."""
    return tuple(row for row in ROWS if row != "just-in-time" or propagation_in_use(propagation) != JUST_IN_TIME)


def in_engine(
    clip: EvaluatedClip,
    settings: TrackSettings,
    policy: KeyFramePolicy,
    *,
    low_latency: bool = True,
    delay_frames: int = 1,
    propagation: str | PropagationKind | None = None,
) -> Callable[[EvaluatedFrame], LabelledFrame]:
    """What the engine says of each frame in turn."""
    engine = engine_of(
        clip, settings, policy, low_latency=low_latency, delay_frames=delay_frames, propagation=propagation
    )

    def label(frame: EvaluatedFrame) -> LabelledFrame:
        result = engine.segment(frame.image, clip.stamp(frame.index))
        return LabelledFrame(result.labels, result.is_key_frame)

    return label


def engine_of(
    clip: EvaluatedClip,
    settings: TrackSettings,
    policy: KeyFramePolicy,
    *,
    low_latency: bool = True,
    delay_frames: int = 1,
    propagation: str | PropagationKind | None = None,
) -> StreamEngine:
    """The node's engine, with a slow track that is late by counted frames."""
    return StreamEngine(
        clip.remembering,
        InlineSlowTrack(clip.slow, delay_frames, settings.slow_track_share),
        policy,
        propagation=propagation or clip.propagation_name,
        low_latency=low_latency,
    )


def _full(clip: EvaluatedClip, frame: EvaluatedFrame) -> LabelledFrame:
    return LabelledFrame(clip.full_labels(frame.index), True)


def _fused(clip: EvaluatedClip, frame: EvaluatedFrame) -> LabelledFrame:
    low = clip.low(frame.index)
    propagated = clip.network.propagate(clip.high(frame.index), low, low)
    return LabelledFrame(clip.labels_of_feature(propagated.high, frame.index), True)


def _single(clip: EvaluatedClip, frame: EvaluatedFrame) -> LabelledFrame:
    logits = clip.network.classify_low(clip.low(frame.index).low)  # as forward_fast does
    return LabelledFrame(clip.labels_of_logits(logits, frame.index), False)


@torch.inference_mode()
def score(clip: EvaluatedClip, labellers: Sequence[Labeller], is_video: bool) -> list[ScoreRow]:
    """Every labeller's labels of every frame against the ground truth."""
    flow = FlowField()
    matrices = [clip.new_matrix() for _ in labellers]
    consistencies = [TemporalConsistency(len(clip.classes), flow) for _ in labellers]
    key_frames = [0] * len(labellers)
    for frame in tqdm(clip.frames, desc="rows", leave=False, disable=None):
        for number, labeller in enumerate(labellers):
            labels, is_key_frame = labeller.label(frame)
            matrices[number].add(labels, frame.truth)
            key_frames[number] += is_key_frame
            if is_video:
                consistencies[number].add(frame, labels)
    return [
        ScoreRow(
            name=labeller.name,
            description=labeller.description,
            key_frame_ratio=count / len(clip),
            temporal_consistency=consistency.mean_iou(),
            **_scores(matrix, clip.has_labels),
            **_how_it_ran(labeller, clip.places),
        )
        for labeller, matrix, consistency, count in zip(labellers, matrices, consistencies, key_frames, strict=True)
    ]


def scored_against_full(clip: EvaluatedClip, labeller: Labeller, frames: Sequence[EvaluatedFrame]) -> ScoreRow:
    """A labeller's labels of some frames in turn against the full network's own."""
    matrix, key_frames = ConfusionMatrix(len(clip.classes)), 0
    for frame in frames:
        labels, is_key_frame = labeller.label(frame)
        matrix.add(labels, clip.full_labels(frame.index))
        key_frames += is_key_frame
    return ScoreRow(
        name=labeller.name,
        description=labeller.description,
        key_frame_ratio=key_frames / len(frames),
        **_scores(matrix, is_against_truth=False),
        **_how_it_ran(labeller, clip.places),
    )


def _scores(matrix: ConfusionMatrix, is_against_truth: bool) -> dict[str, Any]:
    if is_against_truth:
        return {
            "mean_iou": matrix.mean_iou(),
            "pixel_accuracy": matrix.pixel_accuracy(),
            "class_accuracy": matrix.class_accuracy(),
            "class_iou": tuple(matrix.class_iou().tolist()),
        }
    unknown = dict.fromkeys(("mean_iou", "pixel_accuracy", "class_accuracy"), math.nan)
    agreement = {
        "agreement_iou": matrix.mean_iou(),
        "agreement_pixels": matrix.pixel_accuracy(),
        "agreement_class_iou": tuple(matrix.class_iou().tolist()),
    }
    return {**unknown, "class_iou": (), **agreement}


def _how_it_ran(labeller: Labeller, places: tuple[Place, Place]) -> dict[str, Any]:
    """Of each track that a row uses; ``places`` are those of the fast and the slow network."""
    fast, slow = places
    has_fast, has_slow = labeller.name != "per-frame", labeller.name != "single-frame"
    return {
        "propagation": labeller.propagation,
        "fast_runtime": fast.runtime if has_fast else None,
        "fast_precision": fast.precision if has_fast else None,
        "slow_runtime": slow.runtime if has_slow else None,
        "slow_precision": slow.precision if has_slow else None,
    }


def full_network_at_its_best(rows: Iterable[ScoreRow], full_rows: Sequence[str]) -> ScoreRow | None:
    """The better of the full network without and with fusion: fusion by itself adds accuracy, also at distance 0.

    ``full_rows`` are those that the model has. None where not all of them were scored against the truth.
    """
    full = [row for row in rows if row.name in full_rows and not math.isnan(row.mean_iou)]
    return max(full, key=lambda row: row.mean_iou) if len(full) == len(full_rows) else None


def with_share_of_full(rows: list[ScoreRow], full_rows: Sequence[str]) -> list[ScoreRow]:
    """The rows, those of two tracks with their mIoU by that of the full network given its best."""
    best = full_network_at_its_best(rows, full_rows)
    if best is None or not best.mean_iou > 0:
        return rows
    return [
        row if row.name in SINGLE_FRAME_ROWS else replace(row, share_of_full=row.mean_iou / best.mean_iou)
        for row in rows
    ]

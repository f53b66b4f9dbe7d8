"""The paper's figure 5: accuracy against the number of key frames, for its three policies and one that knows more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Final, NamedTuple, Protocol

import numpy as np
import torch
from tqdm import tqdm

from lowlat_seg_ros.evaluation.deviations import deviation
from lowlat_seg_ros.evaluation.distances import farthest_distance
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.key_pairs import key_frame_count, key_pairs
from lowlat_seg_ros.evaluation.pair_scores import Pair, PairScores
from lowlat_seg_ros.fast.frames import LowFeatures
from lowlat_seg_ros.stream.key_frames import (
    FeatureDifference,
    FixedInterval,
    KeyFramePolicy,
    PredictedDeviation,
    PredictsDeviation,
)

SHORTEST: Final = 2
LONGEST_BY_MEAN: Final = 2
"""A threshold alone may leave a long quiet stretch without any key frame, where propagation was never trained to go.
The shipped policy has a longest interval too; here it is this many times the mean one."""

MOST_PHASES: Final = 5

HALVINGS: Final = 30
"""Of the range in which a threshold is looked for."""


class PolicyAt(Protocol):
    def __call__(self, threshold: float, longest: int) -> KeyFramePolicy:
        """A policy from its threshold and its longest interval in frames."""


FIXED: Final = "fixed interval"
PREDICTED: Final = "predicted deviation"
TRUE: Final = "true deviation"
ADAPTIVE: Final[dict[str, PolicyAt]] = {
    "feature difference": lambda threshold, longest: FeatureDifference(threshold, maximum_interval=longest),
    PREDICTED: lambda threshold, longest: PredictedDeviation(threshold, maximum_interval=longest),
}
POLICIES: Final = (FIXED, *ADAPTIVE, TRUE)


class Gain(NamedTuple):
    """How much more accurate a policy is than the fixed interval, and how far luck can have done it."""

    mean: float  # over the phases, of mIoU
    error: float  # the mean's standard error over the phases


@dataclass(frozen=True)
class PolicyPoint:
    """What one policy reaches with as many key frames as the fixed policy has at an interval."""

    policy: str
    interval: int  # of the fixed policy, frames
    key_frames: int  # where it is begun at the first frame
    mean_iou: float  # over the phases, a fraction of one
    by_phase: tuple[float, ...]  # mIoU if it is begun at one of the interval's frames or another
    thresholds: tuple[tuple[float, ...], ...]  # by phase: none of the fixed policy; two where mIoU is interpolated


@torch.inference_mode()
def policy_curves(clip: EvaluatedClip, pairs: PairScores) -> list[PolicyPoint]:
    """All policies at every interval up to the longest distance. Key frames wait for Sh, as in the paper.

    Thresholds are looked for until a policy makes exactly as many key frames as the fixed one; where the number jumps
    over that, the accuracy is interpolated between both sides of the jump. All of it is done once a phase, at each
    phase's own number.
    """
    points = []
    adaptive = {**ADAPTIVE, TRUE: true_deviation(clip)}
    intervals = range(SHORTEST, farthest_distance(clip) + 1)
    for interval in tqdm(intervals, desc="policies", leave=False, disable=None):
        phases = phases_of(interval)
        fixed = [key_pairs(clip, FixedInterval(interval), phase) for phase in phases]
        counts = [key_frame_count(found) for found in fixed]
        by_phase = tuple(pairs.total(found).mean_iou() for found in fixed)
        points.append(PolicyPoint(FIXED, interval, counts[0], float(np.mean(by_phase)), by_phase, ()))
        for name, policy_at in adaptive.items():
            tried = [
                _at_key_frame_count(clip, partial(policy_at, longest=LONGEST_BY_MEAN * interval), count, phase)
                for phase, count in zip(phases, counts, strict=True)
            ]
            by_phase = tuple(_interpolated(pairs, found, count) for found, count in zip(tried, counts, strict=True))
            thresholds = tuple(tuple(each.threshold for each in found) for found in tried)
            points.append(PolicyPoint(name, interval, counts[0], float(np.mean(by_phase)), by_phase, thresholds))
    return points


def gain(point: PolicyPoint, fixed: PolicyPoint) -> Gain:
    """Of a policy over the fixed one at the same interval, phase by phase."""
    gains = np.subtract(point.by_phase, fixed.by_phase)
    return Gain(float(gains.mean()), float(gains.std(ddof=1) / math.sqrt(len(gains))))


def phases_of(interval: int) -> list[int]:
    """Frames at which every policy is begun anew: where key frames fall is luck, which a mean has less of."""
    return np.unique(np.linspace(0, interval, min(interval, MOST_PHASES), endpoint=False).round().astype(int)).tolist()


def true_deviation(clip: EvaluatedClip) -> PolicyAt:
    """As the predicted deviation, by what it predicts: how many of the full network's own labels differ.

    It tells whether a better prediction would choose better key frames. No policy can know it in time.
    """
    index_of = {id(clip.low(index).low): index for index in range(len(clip))}

    @cache
    def between(key: int, index: int) -> float:
        return deviation(clip.full_labels(key), clip.full_labels(index))

    class TrueDeviation(PredictedDeviation):
        def measure(self, network: PredictsDeviation, key: LowFeatures, current: LowFeatures) -> float:
            return between(index_of[id(key.low)], index_of[id(current.low)])

    return lambda threshold, longest: TrueDeviation(threshold, maximum_interval=longest)


@dataclass(frozen=True)
class _Tried:
    threshold: float
    pairs: list[Pair]

    @property
    def key_frames(self) -> int:
        return key_frame_count(self.pairs)


def _at_key_frame_count(
    clip: EvaluatedClip, policy_at: Callable[[float], KeyFramePolicy], wanted: int, phase: int
) -> list[_Tried]:
    """A threshold that gives ``wanted`` key frames, or the two between which their number jumps over it."""

    def at(threshold: float) -> _Tried:
        return _Tried(threshold, key_pairs(clip, policy_at(threshold), phase))

    many, few = at(0.0), at(1.0)
    while few.key_frames > wanted:
        many, few = few, at(2 * few.threshold)
    for _ in range(HALVINGS):
        for tried in (many, few):
            if tried.key_frames == wanted:
                return [tried]
        middle = at((many.threshold + few.threshold) / 2)
        many, few = (middle, few) if middle.key_frames >= wanted else (many, middle)
    return [many, few] if many.key_frames > wanted else [many]


def _interpolated(pairs: PairScores, found: list[_Tried], wanted: int) -> float:
    scores = [pairs.total(tried.pairs).mean_iou() for tried in found]
    if len(found) == 1:
        return scores[0]
    many, few = (tried.key_frames for tried in found)
    share = (wanted - few) / (many - few)
    return share * scores[0] + (1 - share) * scores[1]

"""The paper's figure 5: accuracy against the number of key frames, for its three policies and one that knows more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import torch
from tqdm import tqdm

from lowlat_seg_ros.evaluation.deviations import deviation
from lowlat_seg_ros.evaluation.distances import farthest_distance
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.pair_scores import Pair, PairScores
from lowlat_seg_ros.fast.frames import LowFeatures
from lowlat_seg_ros.stream.key_frames import (
    FeatureDifference,
    FixedInterval,
    KeyFramePolicy,
    PredictedDeviation,
    PredictsDeviation,
    SinceKey,
)

SHORTEST: Final = 2
LONGEST_BY_MEAN: Final = 2
"""A threshold alone may leave a long quiet stretch without any key frame, where propagation was never trained to go.
The shipped policy has a longest interval too; here it is this many times the mean one."""

HALVINGS: Final = 30
"""Of the range in which a threshold is looked for."""

PolicyAt = Callable[[float, int], KeyFramePolicy]
"""A policy from its threshold and its longest interval in frames."""

FIXED: Final = "fixed interval"
PREDICTED: Final = "predicted deviation"
TRUE: Final = "true deviation"
ADAPTIVE: Final[dict[str, PolicyAt]] = {
    "feature difference": lambda threshold, longest: FeatureDifference(threshold, maximum_interval=longest),
    PREDICTED: lambda threshold, longest: PredictedDeviation(threshold, maximum_interval=longest),
}
POLICIES: Final = (FIXED, *ADAPTIVE, TRUE)


@dataclass(frozen=True)
class PolicyPoint:
    """What one policy reaches with as many key frames as the fixed policy has at an interval."""

    policy: str
    interval: int  # of the fixed policy, frames
    key_frames: int
    mean_iou: float  # a fraction of one
    thresholds: tuple[float, ...]  # none where there is none; two where none gives that number and it is interpolated
    by_phase: tuple[float, ...] = ()  # of the fixed policy: mIoU if it is begun at frame 0, 1, … instead


@torch.inference_mode()
def policy_curves(clip: EvaluatedClip, pairs: PairScores) -> list[PolicyPoint]:
    """All policies at every interval up to the longest distance. Key frames wait for Sh, as in the paper.

    Thresholds are looked for until a policy makes exactly as many key frames as the fixed one; where the number jumps
    over that, the accuracy is interpolated between both sides of the jump.
    """
    points = []
    adaptive = {**ADAPTIVE, TRUE: true_deviation(clip)}
    intervals = range(SHORTEST, farthest_distance(clip) + 1)
    for interval in tqdm(intervals, desc="policies", leave=False, disable=None):
        fixed = key_pairs(clip, FixedInterval(interval))
        wanted = key_frame_count(fixed)
        by_phase = [pairs.total(fixed_pairs(interval, phase, len(clip))).mean_iou() for phase in range(interval)]
        points.append(PolicyPoint(FIXED, interval, wanted, by_phase[0], (), tuple(by_phase)))
        for name, policy_at in adaptive.items():
            found = _at_key_frame_count(clip, policy_at, wanted, LONGEST_BY_MEAN * interval)
            mean_iou = _interpolated(pairs, found, wanted)
            points.append(PolicyPoint(name, interval, wanted, mean_iou, tuple(item.threshold for item in found)))
    return points


def fixed_pairs(interval: int, phase: int, frames: int) -> list[Pair]:
    """Key frames at 0, ``phase`` and each ``interval`` frames from there: by which of them is luck, the labels vary."""
    since = [index - (index - phase) % interval for index in range(frames)]
    return [(max(0, key), index) for index, key in enumerate(since)]


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


def key_pairs(clip: EvaluatedClip, policy: KeyFramePolicy) -> list[Pair]:
    """The key frame that each frame's labels come from, as the engine goes where key frames wait for Sh."""
    key = 0
    pairs = [(0, 0)]
    for index in range(1, len(clip)):
        since_key = SinceKey(index - key, (clip.stamp(index) - clip.stamp(key)) / 1e9)
        if policy.decide(clip.remembering, clip.low(key), clip.low(index), since_key).is_key_frame:
            key = index
        pairs.append((key, index))
    return pairs


def key_frame_count(pairs: list[Pair]) -> int:
    return len({key for key, _ in pairs})


@dataclass(frozen=True)
class _Tried:
    threshold: float
    pairs: list[Pair]

    @property
    def key_frames(self) -> int:
        return key_frame_count(self.pairs)


def _at_key_frame_count(clip: EvaluatedClip, policy_at: PolicyAt, wanted: int, longest: int) -> list[_Tried]:
    """A threshold that gives ``wanted`` key frames, or the two between which their number jumps over it."""

    def at(threshold: float) -> _Tried:
        return _Tried(threshold, key_pairs(clip, policy_at(threshold, longest)))

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

"""Which key frame each frame of a clip is labelled from, as the engine goes where key frames wait for Sh."""

from __future__ import annotations

from typing import NamedTuple

from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.pair_scores import Pair
from lowlat_seg_ros.stream.deviation_prior import CalibratedDeviation
from lowlat_seg_ros.stream.key_frames import KeyFramePolicy, SinceKey


class Decided(NamedTuple):
    """A frame after the first, and what its policy made of it."""

    key: int  # index of the key frame before
    frame: int  # its own
    deviation: float  # what was compared with the threshold; nan where nothing was measured
    is_key_frame: bool


def drive(clip: EvaluatedClip, policy: KeyFramePolicy, phase: int = 0) -> list[Decided]:
    """Every frame but the first in turn.

    Args:
        phase: index of a frame that becomes a key frame, whatever the policy says; 0 is one anyway. Where key frames
            fall is luck, and from another one on they fall elsewhere.
    """
    predictor = CalibratedDeviation(clip.remembering)
    predictor.learn(0, clip.labels_at_input(0))
    key, decided = 0, []
    for index in range(1, len(clip)):
        since_key = SinceKey(index - key, (clip.stamp(index) - clip.stamp(key)) / 1e9)
        decision = policy.decide(predictor, clip.low(key), clip.low(index), since_key)
        is_key_frame = decision.is_key_frame or index == phase
        decided.append(Decided(key, index, decision.deviation, is_key_frame))
        if is_key_frame:
            predictor.expect(index, key)
            predictor.learn(index, clip.labels_at_input(index))
            key = index
    return decided


def key_pairs(clip: EvaluatedClip, policy: KeyFramePolicy, phase: int = 0) -> list[Pair]:
    """The key frame and the frame, of every frame; a key frame's is itself."""
    rest = [(step.frame if step.is_key_frame else step.key, step.frame) for step in drive(clip, policy, phase)]
    return [(0, 0), *rest]


def key_frame_count(pairs: list[Pair]) -> int:
    return len({key for key, _ in pairs})

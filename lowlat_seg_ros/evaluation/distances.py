"""How accuracy falls with the distance from the key frame, whatever the phase of the key frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from tqdm import tqdm

from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.pair_scores import PairScores

FARTHEST: Final = 10
"""Frames: the longest interval of the paper's figure 5, and of the pairs that its propagation is trained on."""


@dataclass(frozen=True)
class DistanceCurve:
    """mIoU by distance, every distance on the same frames; a fraction of one."""

    frames: int  # that were scored at each distance
    mean_iou: tuple[float, ...]  # at 0 (Sh's own labels), 1, 2, … frames from the key frame

    @property
    def mean(self) -> float:
        return float(np.mean(self.mean_iou))

    @property
    def minimum(self) -> float:
        return float(np.min(self.mean_iou))


def farthest_distance(clip: EvaluatedClip) -> int:
    """The longest distance that at least one frame of the clip has."""
    return min(FARTHEST, len(clip) - 1)


@torch.inference_mode()
def distance_curve(clip: EvaluatedClip, pairs: PairScores) -> DistanceCurve:
    """Score each frame once at every distance, propagated in one step from a key frame so many frames before it.

    The first frames, which have no key frame at the longest distance, are left out of all distances, so that the curve
    compares like with like.
    """
    farthest = farthest_distance(clip)
    frames = range(farthest, len(clip))
    scores = [
        pairs.total((index - distance, index) for index in frames).mean_iou()
        for distance in tqdm(range(farthest + 1), desc="distances", leave=False, disable=None)
    ]
    return DistanceCurve(len(frames), tuple(scores))

"""GRFP (Nilsson and Sminchisescu, "Semantic Video Segmentation by Gated Recurrent Flow Propagation", CVPR 2018): a full
network on every frame, whose labels gated units carry along the optical flow over the last few frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.motion import Motion, MotionEstimator
from lowlat_seg_ros.fast.optical_flow import along
from lowlat_seg_ros.models.comparisons import GatedUnits


class SeenAlone(NamedTuple):
    """A frame as the full network sees it by itself."""

    own: Tensor  # probabilities, (1, classes, h, w)
    picture: Tensor  # (1, 3, h, w), normalised, on the same grid
    for_motion: NDArray[np.uint8]  # as ``MotionEstimator.picture`` makes it


def seen_alone(logits: Tensor, image: Tensor, frame: NDArray[np.uint8], estimator: MotionEstimator) -> SeenAlone:
    """``image`` (1, 3, H, W) is the normalised ``frame`` (H, W, 3)."""
    picture = functional.adaptive_avg_pool2d(image, (logits.shape[-2], logits.shape[-1]))
    return SeenAlone(torch.softmax(logits, dim=1), picture, estimator.picture(frame))


def gated_logits(units: GatedUnits, frames: Sequence[SeenAlone], motions: Sequence[Motion]) -> Tensor:
    """Logits of the last of two or more consecutive frames; ``motions`` are from each frame to the one before."""
    logits, kept = frames[0].own, frames[0].own
    for before, frame, motion in zip(frames, frames[1:], motions, strict=False):
        logits = units(along(motion, kept), frame.picture - along(motion, before.picture), frame.own)
        kept = torch.softmax(logits, dim=1)
    return logits

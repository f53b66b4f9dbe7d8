"""GRFP (Nilsson and Sminchisescu, "Semantic Video Segmentation by Gated Recurrent Flow Propagation", CVPR 2018): a full
network on every frame, whose labels gated units carry along the optical flow over the last few frames.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.motion import Motion, MotionEstimator
from lowlat_seg_ros.fast.optical_flow import along
from lowlat_seg_ros.fast.pictures import Preprocessor, frame_size, label_image
from lowlat_seg_ros.models.comparisons import GatedUnits
from lowlat_seg_ros.models.layers import Normalising
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork

FRAMES: Final = 5  # that GRFP(5) looks at, the current one included


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
    logits = kept = frames[0].own
    for (before, frame), motion in zip(itertools.pairwise(frames), motions, strict=True):
        logits = units(along(motion, kept), frame.picture - along(motion, before.picture), frame.own)
        kept = torch.softmax(logits, dim=1)
    return logits


class GatedFlow:
    """GRFP(5) on a video's frames in turn."""

    def __init__(
        self,
        network: SegmentationNetwork,
        units: GatedUnits,
        frames: int = FRAMES,
        full_network: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """``frames`` that are looked at; ``full_network``: a picture's logits, by ``network`` unless given."""
        self._full_network, self._units = full_network or network, units
        self._input_size = network.config.input_size
        self._preprocess = Preprocessor(self._input_size, torch.device("cpu"))
        self._normalise = Normalising(network.config.mean, network.config.std)
        self._estimator = MotionEstimator(self._input_size)
        self._frames: deque[SeenAlone] = deque(maxlen=frames)
        self._motions: deque[Motion] = deque(maxlen=frames - 1)  # of each frame but the first, to the one before

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, the frame after the last call's, to (H, W) class ids."""
        resized = self._preprocess.resized(image)
        picture = self._preprocess.image(resized)
        logits = self._full_network(picture)
        seen = seen_alone(logits, self._normalise(picture), resized, self._estimator)
        if self._frames:
            self._motions.append(self._estimator.between(self._frames[-1].for_motion, seen.for_motion))
        self._frames.append(seen)
        if self._motions:
            logits = gated_logits(self._units, self._frames, self._motions)
        return label_image(logits, self._input_size, frame_size(image))

"""The paper's table 2: ways to carry a key frame's feature to the present, without and with fusion."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from lowlat_seg_ros.evaluation.distances import farthest_distance
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.kernels.spatially_variant_convolution import spatially_variant_convolution

DISTANCES: Final = (5, 10)
"""Frames from the key frame."""

Transport = Callable[[EvaluatedClip, int, int, Tensor], Tensor]
"""A feature of a key frame, by its index, moved to another frame, by its index."""


@dataclass(frozen=True)
class PropagationScore:
    """mIoU of one way at one distance, over the same frames for all ways; a fraction of one."""

    name: str
    description: str
    distance: int  # frames
    frames: int
    without_fusion: float
    with_fusion: float


def copied(clip: EvaluatedClip, key: int, index: int, feature: Tensor) -> Tensor:
    return feature


def by_best_translation(clip: EvaluatedClip, key: int, index: int, feature: Tensor) -> Tensor:
    """Moved as a whole to where F_h is nearest to what Sh gives for the frame: no single translation can do better."""
    high, wanted = clip.high(key), clip.high(index)
    reach = clip.network.config.kernel_size // 2
    misfits = [float((moved - wanted).abs().sum()) for moved in translations(high, reach)]
    best = misfits.index(min(misfits))
    return next(itertools.islice(translations(feature, reach), best, None))


def by_one_kernel(clip: EvaluatedClip, key: int, index: int, feature: Tensor) -> Tensor:
    """Gathered with one kernel for all places, the mean of those predicted for this pair."""
    kernels = predicted_kernels(clip, key, index)
    mean = kernels.mean(dim=(2, 3), keepdim=True).expand_as(kernels).contiguous()
    return spatially_variant_convolution(feature, mean)


def by_learned_kernels(clip: EvaluatedClip, key: int, index: int, feature: Tensor) -> Tensor:
    return clip.network.transport(feature, clip.low(key), clip.low(index))


def predicted_kernels(clip: EvaluatedClip, key: int, index: int) -> Tensor:
    """W, (1, H_K², h, w)."""
    return clip.network.kernel_predictor(clip.low(key).kernel_guidance, clip.low(index).kernel_guidance)


def translations(feature: Tensor, reach: int) -> Iterator[Tensor]:
    """A feature (1, C, h, w) moved by every whole number of elements up to ``reach`` each way, zeros coming in."""
    height, width = feature.shape[-2:]
    padded = functional.pad(feature, (reach, reach, reach, reach))
    for row in range(2 * reach + 1):
        for column in range(2 * reach + 1):
            yield padded[:, :, row : row + height, column : column + width]


WAYS: Final[dict[str, tuple[str, Transport]]] = {
    "copied": ("the key frame's F_h as it is; without fusion: its labels", copied),
    "best translation": ("moved as a whole to where it fits this frame's own F_h best", by_best_translation),
    "one kernel": ("gathered with the mean of the predicted kernels, the same for all places", by_one_kernel),
    "learned": ("gathered with each place's predicted kernel (equation 1)", by_learned_kernels),
}


@torch.inference_mode()
def propagation_scores(clip: EvaluatedClip) -> list[PropagationScore]:
    """Every way at every distance that the clip is long enough for, on the frames that have all these distances."""
    frames = range(farthest_distance(clip), len(clip))
    distances = [distance for distance in DISTANCES if distance <= farthest_distance(clip)]
    cells = [(name, distance) for distance in distances for name in WAYS]
    return [
        _score(clip, frames, name, distance)
        for name, distance in tqdm(cells, desc="ways to propagate", leave=False, disable=None)
    ]


def _score(clip: EvaluatedClip, frames: range, name: str, distance: int) -> PropagationScore:
    description, transport = WAYS[name]
    without, fused = clip.new_matrix(), clip.new_matrix()
    for index in frames:
        key = index - distance
        high = transport(clip, key, index, clip.high(key))
        guidance = transport(clip, key, index, clip.low(key).kernel_guidance)
        _add(without, clip, high, index)
        _add(fused, clip, clip.network.fuse(high, clip.low(index), guidance).high, index)
    return PropagationScore(name, description, distance, len(frames), without.mean_iou(), fused.mean_iou())


def _add(matrix: ConfusionMatrix, clip: EvaluatedClip, high: Tensor, index: int) -> None:
    matrix.add(clip.labels_of_feature(high, index), clip.frames[index].truth)

"""The paper's figure 3 as one figure: does the predicted deviation follow the true one?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.evaluation.distances import farthest_distance
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.key_pairs import drive
from lowlat_seg_ros.stream.key_frames import KeyFramePolicy


@dataclass(frozen=True)
class DeviationPair:
    """devS of one pair of frames: the fraction of pixels whose label differs (section 3.2)."""

    key: int  # index of the earlier frame
    index: int
    predicted: float
    of_full_network: float  # between the full network's label maps of both: what the predictor learns
    of_truth: float  # between both frames' ground truth, where both are labelled


@torch.inference_mode()
def deviation_pairs(clip: EvaluatedClip) -> list[DeviationPair]:
    """Every pair of the clip's frames that a key frame and a frame within the longest interval could be."""
    farthest = farthest_distance(clip)
    return [
        DeviationPair(
            key,
            index,
            float(clip.remembering.predicted_deviation(clip.low(key), clip.low(index))),
            deviation(clip.full_labels(key), clip.full_labels(index)),
            deviation(clip.frames[key].truth, clip.frames[index].truth),
        )
        for index in tqdm(range(1, len(clip)), desc="deviations", leave=False, disable=None)
        for key in range(max(0, index - farthest), index)
    ]


@torch.inference_mode()
def driven_deviations(clip: EvaluatedClip, policy: KeyFramePolicy) -> list[DeviationPair]:
    """Each frame and its key frame, and what the policy compared with its threshold: learned from answers, too."""
    return [
        DeviationPair(
            step.key,
            step.frame,
            step.deviation,
            deviation(clip.full_labels(step.key), clip.full_labels(step.frame)),
            deviation(clip.frames[step.key].truth, clip.frames[step.frame].truth),
        )
        for step in drive(clip, policy)
    ]


def slope(pairs: Sequence[DeviationPair]) -> float:
    """By how much the full network's deviation grows where the predicted one grows by one; NaN where it does not."""
    predicted, true = np.array([(pair.predicted, pair.of_full_network) for pair in pairs]).reshape(-1, 2).T
    if len(predicted) < 2 or predicted.std() == 0:
        return math.nan
    return float(np.cov(predicted, true, bias=True)[0, 1] / predicted.var())


def deviation(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """The fraction of pixels, labelled in both maps, whose labels differ; NaN where there is none."""
    labelled = (first != UNLABELLED) & (second != UNLABELLED)
    count = int(labelled.sum())
    return float(((first != second) & labelled).sum() / count) if count else math.nan


def mean_error(pairs: Sequence[DeviationPair]) -> float:
    """How far predictions lie above the full network's deviations on average, as no correlation tells; NaN of none."""
    errors = [pair.predicted - pair.of_full_network for pair in pairs]
    return float(np.mean(errors)) if errors else math.nan


def correlation(first: list[float], second: list[float]) -> float:
    """Pearson's correlation, over what is known in both; NaN where either does not vary."""
    pairs = np.array([first, second])
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    if pairs.shape[1] < 2 or (pairs.std(axis=1) == 0).any():
        return math.nan
    return float(np.corrcoef(pairs)[0, 1])

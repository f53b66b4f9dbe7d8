"""Whether the confidence is right: the predicted probability against how often a label is the full network's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.rows import TrackSettings, engine_of, late
from lowlat_seg_ros.stream.result import LARGEST_CONFIDENCE, SegmentationResult

LEVELS: Final = LARGEST_CONFIDENCE + 1
BINS: Final = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """The pixels whose predicted probability lies in one tenth. Fractions of one."""

    predicted: float  # on average
    observed: float  # share of these pixels whose label is the full network's own
    share: float  # of all pixels


@dataclass(frozen=True)
class ReliabilityCurve:
    """How far one kind of confidence can be believed."""

    name: str
    frames: int  # from the slow network's first answer on
    predicted: float  # on average, a fraction of one
    observed: float  # share of pixels whose label is the full network's own
    calibration_error: float  # mean distance of predicted and observed over the bins, weighted by their pixels
    brier: float  # mean squared error of the probability
    bins: tuple[ReliabilityBin, ...]  # in ascending order, without empty ones


@torch.inference_mode()
def reliability_curves(clip: EvaluatedClip, settings: TrackSettings) -> list[ReliabilityCurve]:
    """For each delay of the slow track: as published, and with the weights that nothing was learned for."""
    return [curve for delay in settings.delay_frames for curve in _curves(clip, settings, delay)]


def _curves(clip: EvaluatedClip, settings: TrackSettings, delay: int) -> list[ReliabilityCurve]:
    engine = engine_of(clip, settings, settings.adaptive, delay_frames=delay)
    kinds: dict[str, Callable[[SegmentationResult], SegmentationResult]] = {
        "as published": lambda result: result,
        "not calibrated": partial(_not_calibrated, torch.tensor(clip.confidence_prior)),
    }
    tallies = {f"{name}, {late(delay)}": Tally() for name in kinds}
    for frame in tqdm(clip.frames, desc="reliability", leave=False, disable=None):
        result = engine.segment(frame.image, clip.stamp(frame.index))
        if result.evidence is None:  # before the first answer: nothing is claimed
            continue
        own = result.labels == clip.full_labels(frame.index)
        for tally, kind in zip(tallies.values(), kinds.values(), strict=True):
            tally.add(kind(result).confidence, own)
    engine.close()
    return [tally.curve(name) for name, tally in tallies.items() if tally.frames]


def _not_calibrated(prior: Tensor, result: SegmentationResult) -> SegmentationResult:
    assert result.evidence is not None
    return replace(result, evidence=replace(result.evidence, weights=prior))


class Tally:
    """Pixels by the confidence that was told of them, and how many of them had the full network's label."""

    def __init__(self) -> None:
        self.frames = 0
        self._pixels = np.zeros(LEVELS)
        self._own = np.zeros(LEVELS)

    def add(self, confidence: NDArray[np.uint8], own: NDArray[np.bool_]) -> None:
        self.frames += 1
        self._pixels += np.bincount(confidence.ravel(), minlength=LEVELS)
        self._own += np.bincount(confidence[own], minlength=LEVELS)

    def curve(self, name: str) -> ReliabilityCurve:
        probability = np.arange(LEVELS) / LARGEST_CONFIDENCE
        total = self._pixels.sum()
        squares = probability**2 * self._pixels + (1 - 2 * probability) * self._own
        bins = [self._bin(levels, probability, total) for levels in np.array_split(np.arange(LEVELS), BINS)]
        filled = tuple(each for each in bins if each.share > 0)
        return ReliabilityCurve(
            name,
            self.frames,
            predicted=float(probability @ self._pixels / total),
            observed=float(self._own.sum() / total),
            calibration_error=sum(each.share * abs(each.predicted - each.observed) for each in filled),
            brier=float(squares.sum() / total),
            bins=filled,
        )

    def _bin(self, levels: NDArray[np.intp], probability: NDArray[np.float64], total: float) -> ReliabilityBin:
        pixels = self._pixels[levels]
        count = pixels.sum()
        if not count:
            return ReliabilityBin(0.0, 0.0, 0.0)
        predicted, observed = probability[levels] @ pixels / count, self._own[levels].sum() / count
        return ReliabilityBin(float(predicted), float(observed), float(count / total))

"""What the deviation predictor says, made to mean it: that fraction of the pixels, on average.

Learned place by place from cropped pairs, the predictor orders frames well and says too much. So at the end of its
stage the logit of each place gets a scale and an offset, and nothing else: the likeliest ones for whole frames, of
which the frozen base says what fraction has changed. They become part of the predictor's last layer, and cost nothing.

Pairs of the training data are where predictor and base have learned. Where these are stills, whose motion is made up,
the synthetic street's count as much: nobody has learned from them, and they move as a street does.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.models.config import ModelConfig
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.deviation_prior import PIXELS_THAT_COUNT
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet
from lowlat_seg_ros.training.frames import Pictures
from lowlat_seg_ros.training.frozen_base import FrozenBase
from lowlat_seg_ros.training.pair_samples import pair_maker
from lowlat_seg_ros.training.plan import StagePlan
from lowlat_seg_ros.training.samples import Samples, image_tensor

STREET_SEEDS: Final = (100, 101, 103, 105)  # from 100 on they may be trained on
STREET_STARTS: Final = (20, 90)  # frames from which a seed is looked at, six seconds apart
STREET_STEPS: Final = (0, 1, 2, 3, 5, 7, 10)  # frames from there on, each with each
MOST_PICTURES: Final = 64  # of the training data
SPREAD: Final = 1.0  # of offset and logarithm of the scale, before any pair was seen


class Calibration(NamedTuple):
    """Of each place's logit."""

    scale: float
    offset: float


class ChangedPair(NamedTuple):
    """Two frames: what is predicted for each place, (h, w) logits, and the fraction of pixels that has changed."""

    logits: Tensor
    changed: float


@torch.no_grad()
def calibrate_deviation(network: SegmentationNetwork, pictures: Pictures, plan: StagePlan) -> Calibration:
    """Scale and offset, which the network's predictor has from now on.

    Args:
        network: on any device; its deviation predictor is changed in place.
        pictures: the training data, of the network's input size.
        plan: of the stage ``schedule``; pairs are of whole frames, whatever its crops.

    Raises:
        DataError: a picture cannot be read.
    """
    watcher, config = _Watcher(network), network.config
    pairs = list(watcher.changes(sequences_of(pictures, config, plan)))
    if not any(frame.earlier for frame in pictures.frames):
        pairs += watcher.changes(street_sequences(config))
    found = fitted_calibration(pairs)
    regress = network.deviation_predictor.regress
    regress.weight.mul_(found.scale)
    regress.get_parameter("bias").mul_(found.scale).add_(found.offset)
    before, after = (mean_error(pairs, calibration) for calibration in (Calibration(1.0, 0.0), found))
    print(
        f"the predicted deviation is calibrated on {len(pairs)} pairs: logits times {found.scale:.3f} "
        f"{found.offset:+.3f}; it lay {before:+.4f} off on average and lies {after:+.4f} off",
        file=sys.stderr,
    )
    return found


class _Watcher:
    """Predictor and frozen base, side by side."""

    def __init__(self, network: SegmentationNetwork) -> None:
        self._predictor, self._base = network.deviation_predictor, FrozenBase(network)
        self._device = next(network.parameters()).device

    def changes(self, sequences: Iterator[Sequence[Tensor]]) -> Iterator[ChangedPair]:
        """Of every two frames of each sequence, (3, H, W) each."""
        for sequence in sequences:
            seen = [self._seen(image[None].to(self._device)) for image in sequence]
            for (first, before), (second, after) in itertools.combinations(seen, 2):
                logits = self._predictor.change_logits(first, second)[0, 0]
                yield ChangedPair(logits.double().cpu(), float((before != after).double().mean()))

    def _seen(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What the predictor compares, and the base's labels."""
        low, high = self._base.features(image)
        return self._predictor.guidance(low), self._base.label_map(high, image.shape[-2:])


def sequences_of(pictures: Pictures, config: ModelConfig, plan: StagePlan) -> Iterator[Sequence[Tensor]]:
    """Key, middle and later frame of pictures from all over the data."""
    whole = pair_maker(config, replace(plan, crop=config.input_size, scales=(1.0, 1.0)))
    samples = Samples(pictures, whole, plan.seed)
    count = min(len(samples), MOST_PICTURES)
    for index in np.linspace(0, len(samples) - 1, count).round().astype(int):
        yield samples[0, int(index)][:3]


def street_sequences(config: ModelConfig) -> Iterator[Sequence[Tensor]]:
    for seed in STREET_SEEDS:
        street = SyntheticStreet(config.input_size, seed, frame_count=STREET_STARTS[-1] + STREET_STEPS[-1] + 1)
        for start in STREET_STARTS:
            yield [image_tensor(street[start + step].image, config) for step in STREET_STEPS]


def fitted_calibration(pairs: Sequence[ChangedPair]) -> Calibration:
    """The likeliest: by the cross-entropy of each pair's mean prediction and the fraction that has changed."""
    logits = torch.stack([pair.logits for pair in pairs])
    changed = torch.tensor([pair.changed for pair in pairs], dtype=torch.float64)
    found = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # logarithm of the scale, offset
    optimiser = torch.optim.LBFGS([found], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        predicted = torch.sigmoid(found[0].exp() * logits + found[1]).mean(dim=(1, 2))
        surprise = functional.binary_cross_entropy(predicted, changed, reduction="sum")
        total = PIXELS_THAT_COUNT * surprise + (found**2).sum() / (2 * SPREAD**2)
        total.backward()
        return total

    with torch.enable_grad():
        optimiser.step(loss)
    log_scale, offset = found.tolist()
    return Calibration(math.exp(log_scale), offset)


def mean_error(pairs: Sequence[ChangedPair], calibration: Calibration) -> float:
    """How far predictions lie above the fractions that have changed."""
    errors = [
        float(torch.sigmoid(calibration.scale * pair.logits + calibration.offset).mean()) - pair.changed
        for pair in pairs
    ]
    return sum(errors) / len(errors)

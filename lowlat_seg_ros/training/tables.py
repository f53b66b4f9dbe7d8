"""What the paper's tables compare with, trained on a finished network's frozen features (``models.comparisons``)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lowlat_seg_ros.evaluation.gated_flow import SeenAlone, gated_logits, seen_alone
from lowlat_seg_ros.fast.motion import MotionEstimator
from lowlat_seg_ros.models.comparisons import Comparisons
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.base import label_loss, labels_weight
from lowlat_seg_ros.training.frozen_base import FrozenBase
from lowlat_seg_ros.training.labelling import denormalised


class TablesStage:
    """The loss of the later frame's labels, of every way at once: they share the frozen network and no weight."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights
        self._base: FrozenBase | None = None  # made from the network when the first batch comes

    def trained_modules(self, network: SegmentationNetwork) -> Sequence[nn.Module]:
        return [comparisons_of(network)]

    def loss(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        *images, labels = batch
        ways = comparisons_of(network)
        base = self._base = self._base or FrozenBase(network)
        (_, key_high), (_, middle_high), (low, high) = (base.features(image) for image in images)
        with torch.no_grad():
            alone = [network.classify(feature) for feature in (key_high, middle_high, high)]
        losses = [
            label_loss(ways.clockwork(key_high, low), labels, self.weights),
            label_loss(ways.plain_clockwork(key_high, low), labels, self.weights),
            label_loss(network.classify(ways.unified(key_high)), labels, self.weights),
            label_loss(network.classify(ways.image_difference(key_high, images[0], images[2])), labels, self.weights),
            label_loss(gated(network, images, alone), labels, self.weights),
        ]
        return torch.stack(losses).sum()

    def logits(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        key_low = network.tracks.low(batch[0])
        high = network.high_features(batch[0], key_low)
        return comparisons_of(network).clockwork(high, network.tracks.low(batch[2]))

    def weight(self, batch: Sequence[Tensor]) -> Tensor:
        return labels_weight(batch[-1], self.weights)


def comparisons_of(network: SegmentationNetwork) -> Comparisons:
    assert network.comparisons is not None, "expected a network that the stage `tables` starts from"
    return network.comparisons


def gated(network: SegmentationNetwork, images: Sequence[Tensor], alone: Sequence[Tensor]) -> Tensor:
    """Logits of the last images by the gated units, from what the full network sees in each image by itself."""
    height, width = images[0].shape[-2:]
    estimator = MotionEstimator((width, height))
    units = comparisons_of(network).gated_units
    logits = []
    for number in range(len(images[0])):
        seen: list[SeenAlone] = [
            seen_alone(
                logits_alone[number : number + 1],
                image[number : number + 1],
                denormalised(image[number].cpu(), network.config),
                estimator,
            )
            for image, logits_alone in zip(images, alone, strict=True)
        ]
        motions = [estimator.between(before.for_motion, frame.for_motion) for before, frame in itertools.pairwise(seen)]
        logits.append(gated_logits(units, seen, motions))
    return torch.cat(logits)

"""Stage two: carrying the key frame's feature to a later frame. Kernel predictor, AdaptNet and fusion learn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lowlat_seg_ros.network.segmentation_network import LowFeatures, SegmentationNetwork
from lowlat_seg_ros.training.base import label_loss

TRANSPORT_SHARE = 0.4  # of the loss without fusion: else AdaptNet learns to do without the kernels
TWO_STEPS_SHARE = 0.5  # of the batches go by way of a temporary key, as in the frames while Sh is at work


class PropagationStage:
    """The loss of the later frame's labels, once from the transported feature alone and once from the fused one."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    def trained_modules(self, network: SegmentationNetwork) -> Sequence[nn.Module]:
        return [network.kernel_predictor, network.adapt_net, network.fusion]

    def loss(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        key_image, middle_image, later_image, labels = batch
        key_low, key_high = frozen_features(network, key_image)
        later = network.describe(frozen_low(network, later_image))
        key = network.describe(key_low)
        if torch.rand(()) < TWO_STEPS_SHARE:
            middle = network.describe(frozen_low(network, middle_image))
            key, key_high = middle, network.propagate(key_high, key, middle)
        return self.propagation_loss(network, key_high, key, later, labels)

    def propagation_loss(
        self, network: SegmentationNetwork, key_high: Tensor, key: LowFeatures, later: LowFeatures, labels: Tensor
    ) -> Tensor:
        transported = network.transport(key_high, key, later)
        fused = network.fuse(transported, later)
        fused_loss = label_loss(network.classify(fused), labels, self.weights)
        return fused_loss + TRANSPORT_SHARE * label_loss(network.classify(transported), labels, self.weights)


def frozen_low(network: SegmentationNetwork, image: Tensor) -> Tensor:
    """F_l without gradients."""
    with torch.no_grad():
        return network.tracks.low(image.contiguous(memory_format=torch.channels_last))


def frozen_features(network: SegmentationNetwork, image: Tensor) -> tuple[Tensor, Tensor]:
    """F_l and F_h without gradients."""
    low = frozen_low(network, image)
    with torch.no_grad():
        return low, network.high_features(image, low)

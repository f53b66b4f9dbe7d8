"""Stage two: carrying the key frame's feature to a later frame. Kernel predictor, AdaptNet and fusion learn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lowlat_seg_ros.fast.frames import LowFeatures
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.base import label_loss, labels_weight
from lowlat_seg_ros.training.frozen_base import FrozenBase, propagated_logits

TRANSPORT_SHARE = 0.4  # of the loss without fusion: else AdaptNet learns to do without the kernels
MATCHING_SHARE = 1.0  # of how badly the moved F_l fits the later frame's, which tells the kernels what moved where
TWO_STEPS_SHARE = 0.5  # of the batches go by way of a temporary key, as in the frames while Sh is at work


class PropagationStage:
    """The loss of the later frame's labels, once from the transported feature alone and once from the fused one."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights
        self._base: FrozenBase | None = None  # made from the network when the first batch comes

    def trained_modules(self, network: SegmentationNetwork) -> Sequence[nn.Module]:
        return [network.kernel_predictor, network.adapt_net, network.fusion]

    def loss(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        key_image, middle_image, later_image, labels = batch
        base = self._base = self._base or FrozenBase(network)
        key_low, key_high = base.features(key_image)
        later = network.describe(base.low(later_image))
        key = network.describe(key_low)
        if torch.rand(()) < TWO_STEPS_SHARE:
            middle = network.describe(base.low(middle_image))
            key, key_high = middle, network.propagate(key_high, key, middle).high
        return self.propagation_loss(network, key_high, key, later, labels)

    def logits(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        return propagated_logits(network, batch[0], batch[2])

    def weight(self, batch: Sequence[Tensor]) -> Tensor:
        return labels_weight(batch[-1], self.weights)

    def propagation_loss(
        self, network: SegmentationNetwork, key_high: Tensor, key: LowFeatures, later: LowFeatures, labels: Tensor
    ) -> Tensor:
        # Where half precision is on, not here: equation 1 adds 81 terms.
        parts = key_high.float(), key.kernel_guidance.float(), key.low.float()
        moved = network.transport(torch.cat(parts, dim=1), key, later)
        transported, moved_guidance, moved_low = moved.split([part.shape[1] for part in parts], dim=1)
        fused = network.fuse(transported, later, moved_guidance).high
        fused_loss = label_loss(network.classify(fused), labels, self.weights)
        transport_loss = label_loss(network.classify(transported), labels, self.weights)
        fit_loss = self.mismatch(moved_low, later.low, labels)
        return fused_loss + TRANSPORT_SHARE * transport_loss + MATCHING_SHARE * fit_loss

    def mismatch(self, moved_low: Tensor, low: Tensor, labels: Tensor) -> Tensor:
        """How far the moved F_l is from the later frame's; a picture counts as much as its labels do in label_loss."""
        weights = torch.stack([labels_weight(picture, self.weights) for picture in labels])
        distances = (moved_low - low).abs().mean(dim=(1, 2, 3)) / low.abs().mean(dim=(1, 2, 3))
        return (weights * distances).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)

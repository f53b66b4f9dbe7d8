"""Stage three: knowing when the labels have changed, from what the frozen base sees change."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.frozen_base import FrozenBase, propagated_logits


class ScheduleStage:
    """Where the deviation predictor sees labels change, against the base network's own label maps of both frames."""

    def __init__(self) -> None:
        self._base: FrozenBase | None = None  # made from the network when the first batch comes

    def trained_modules(self, network: SegmentationNetwork) -> Sequence[nn.Module]:
        return [network.deviation_predictor]

    def loss(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        key_image, middle_image, later_image, _ = batch
        base = self._base = self._base or FrozenBase(network)
        frames = [base.features(image) for image in (key_image, middle_image, later_image)]
        guidance = [network.deviation_predictor.guidance(low) for low, _ in frames]
        label_maps = [base.label_map(high, key_image.shape[-2:]) for _, high in frames]
        losses = [
            change_loss(
                network.deviation_predictor.change_logits(guidance[first], guidance[second]),
                label_maps[first] != label_maps[second],
            )
            for first, second in ((0, 1), (1, 2), (0, 2))
        ]
        return torch.stack(losses).mean()

    def logits(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        return propagated_logits(network, batch[0], batch[2])

    def weight(self, batch: Sequence[Tensor]) -> Tensor:
        return batch[-1].new_tensor(len(batch[-1]), dtype=torch.float32)


def change_loss(logits: Tensor, has_changed: Tensor) -> Tensor:
    """Cross-entropy of each place's logit (B, 1, h, w) and the changed fraction of its pixels in (B, H, W)."""
    height, width = logits.shape[-2:]
    fractions = functional.adaptive_avg_pool2d(has_changed[:, None].float(), (height, width))
    return functional.binary_cross_entropy_with_logits(logits.float(), fractions)

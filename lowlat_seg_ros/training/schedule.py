"""Stage three: knowing when the labels have changed, from what the frozen base sees change."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.network.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.frozen_base import FrozenBase

ERROR_SCALE = 0.02  # below this error of the fraction the loss is quadratic


class ScheduleStage:
    """The error of the predicted deviation, against the base network's own label maps of both frames."""

    def __init__(self) -> None:
        self._base: FrozenBase | None = None  # made from the network when the first batch comes

    def trained_modules(self, network: SegmentationNetwork) -> Sequence[nn.Module]:
        return [network.deviation_predictor]

    def loss(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        key_image, middle_image, later_image, _ = batch
        base = self._base = self._base or FrozenBase(network)
        frames = [base.features(image) for image in (key_image, middle_image, later_image)]
        described = [network.describe(low) for low, _ in frames]
        label_maps = [base.label_map(high, key_image.shape[-2:]) for _, high in frames]
        losses = [
            functional.smooth_l1_loss(
                network.predicted_deviation(described[first], described[second]),
                deviation(label_maps[first], label_maps[second]),
                beta=ERROR_SCALE,
            )
            for first, second in ((0, 1), (1, 2), (0, 2))
        ]
        return torch.stack(losses).mean()

    def weight(self, batch: Sequence[Tensor]) -> Tensor:
        return batch[-1].new_tensor(len(batch[-1]), dtype=torch.float32)


def deviation(key_labels: Tensor, labels: Tensor) -> Tensor:
    """devS(k, t), (B,): the fraction of pixels whose labels differ (section 3.2)."""
    return (key_labels != labels).float().mean(dim=(1, 2))

"""Stage two: Sl, where it is a network of its own, and its classifier learn from the same labelled pictures as Sh.

Apart from Sh, because a step of it costs less and it takes more of them. Learning from Sh's answers, too (Hinton et
al., 2015), gives less than as much time spent on more epochs: docs/training.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.base import label_loss, labels_weight


class SmallStage:
    """Weighted cross-entropy of Sl's own logits."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    def trained_modules(self, network: SegmentationNetwork) -> Sequence[nn.Module]:
        return [*network.tracks.low_parts(), network.fast_classifier]

    def loss(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        return label_loss(self.logits(network, batch), batch[-1], self.weights)

    def logits(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        return network.forward_fast(batch[0].contiguous(memory_format=torch.channels_last))

    def weight(self, batch: Sequence[Tensor]) -> Tensor:
        return labels_weight(batch[-1], self.weights)

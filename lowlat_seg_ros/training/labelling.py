"""The labels that a network in training gives to a batch: to be looked at, and to be scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.data.drawing import colourise
from lowlat_seg_ros.models.config import ModelConfig
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork

MOST_SHOWN = 4  # pictures of a batch


class GivesLogits(Protocol):
    """What of a stage labels a batch."""

    def logits(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor: ...


def predicted_labels(network: SegmentationNetwork, stage: GivesLogits, batch: Sequence[Tensor]) -> NDArray[np.uint8]:
    """(B, H, W) class ids of the pictures that a stage's batch has labels of."""
    labels = batch[-1]
    with torch.no_grad():
        logits = stage.logits(network, batch).float()
        enlarged = functional.interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=False)
    return enlarged.argmax(dim=1).to(torch.uint8).cpu().numpy()


def drawn_batch(network: SegmentationNetwork, stage: GivesLogits, batch: Sequence[Tensor]) -> NDArray[np.uint8]:
    """Of the batch's first pictures, side by side: the image, its labels, and the network's."""
    first = [tensor[:MOST_SHOWN] for tensor in batch]
    image, truth = first[2 if len(first) == 4 else 0], first[-1].to(torch.uint8).cpu().numpy()
    predicted = predicted_labels(network, stage, first)
    rows = [
        np.hstack([denormalised(picture, network.config), *(_drawn(network.config, labels) for labels in (of, by))])
        for picture, of, by in zip(image.cpu(), truth, predicted, strict=True)
    ]
    return np.vstack(rows)


def _drawn(config: ModelConfig, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return colourise(labels, config.colours)


def denormalised(image: Tensor, config: ModelConfig) -> NDArray[np.uint8]:
    """(3, H, W) as the network sees it, back to (H, W, 3) uint8 RGB."""
    values = image.numpy().transpose(1, 2, 0) * np.asarray(config.std) + np.asarray(config.mean)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)

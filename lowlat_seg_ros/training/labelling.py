"""The labels that a network in training gives to a batch: to be looked at, and to be scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.data.drawing import colourise
from lowlat_seg_ros.network.config import ModelConfig
from lowlat_seg_ros.network.segmentation_network import SegmentationNetwork

MOST_SHOWN = 4  # pictures of a batch


def predicted_labels(network: SegmentationNetwork, batch: Sequence[Tensor]) -> NDArray[np.uint8]:
    """(B, H, W) class ids of a batch of stills (image, labels), or of the later frames of pairs, propagated to."""
    labels = batch[-1]
    with torch.no_grad():
        logits = network(batch[0]) if len(batch) == 2 else propagated_logits(network, batch[0], batch[2])
        enlarged = functional.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
    return enlarged.argmax(dim=1).to(torch.uint8).cpu().numpy()


def propagated_logits(network: SegmentationNetwork, key_image: Tensor, image: Tensor) -> Tensor:
    """Logits of an image by the fast track, its key frame's feature being the accurate one."""
    key = network.low_features(key_image)
    key_high = network.high_features(key_image, key.low)
    return network.classify(network.propagate(key_high, key, network.low_features(image)).high)


def drawn_batch(network: SegmentationNetwork, batch: Sequence[Tensor]) -> NDArray[np.uint8]:
    """Of the batch's first pictures, side by side: the image, its labels, and the network's."""
    first = [tensor[:MOST_SHOWN] for tensor in batch]
    image, truth = first[0 if len(first) == 2 else 2], first[-1].to(torch.uint8).cpu().numpy()
    predicted = predicted_labels(network, first)
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

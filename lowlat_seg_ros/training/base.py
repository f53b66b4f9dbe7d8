"""Stage one: the network that sees a single frame. Sl, Sh and the classifier learn from labelled pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.models.config import ModelConfig
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.augmentation import random_view
from lowlat_seg_ros.training.frames import TrainingPicture
from lowlat_seg_ros.training.pairs import motions_of
from lowlat_seg_ros.training.plan import StagePlan
from lowlat_seg_ros.training.samples import MakeSample, image_tensor, labels_tensor

FAST_SHARE = 0.4  # of Sl's own labels in the loss, as of PSPNet's auxiliary ones
RARITY_OFFSET = 1.1  # of class_weights: rare classes count up to 3 times as much as the road


class BaseStage:
    """Weighted cross-entropy on the logits, enlarged to the labels' size, of the full network and of Sl alone.

    An Sl that is a network of its own is left to the stage ``small``.
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    def trained_modules(self, network: SegmentationNetwork) -> Sequence[nn.Module]:
        tracks = network.tracks
        return [
            *tracks.learning_parts(),
            network.classifier,
            *([] if tracks.low_parts() else [network.fast_classifier]),
        ]

    def loss(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        images, labels = batch
        images = images.contiguous(memory_format=torch.channels_last)
        if network.tracks.low_parts():
            return label_loss(network(images), labels, self.weights)
        low = network.tracks.low(images)
        full_loss = label_loss(network.classify(network.high_features(images, low)), labels, self.weights)
        return full_loss + FAST_SHARE * label_loss(network.classify_low(low), labels, self.weights)

    def logits(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        return network(batch[0])

    def weight(self, batch: Sequence[Tensor]) -> Tensor:
        return labels_weight(batch[-1], self.weights)


def label_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of logits (B, K, h, w), bilinearly enlarged, against labels (B, H, W); 255 is left out.

    The weighted mean over the labelled pixels, and 0 where there are none.
    """
    if bool((labels == UNLABELLED).all()):
        return logits.sum() * 0
    enlarged = functional.interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=False)
    return functional.cross_entropy(enlarged, labels, weights, ignore_index=UNLABELLED)


def labels_weight(labels: Tensor, weights: Tensor) -> Tensor:
    """What ``label_loss`` divides by: the sum of the weights of the labelled pixels' classes."""
    return weights[labels[labels != UNLABELLED]].sum()


def class_weights(class_pixels: NDArray[np.int64], class_count: int) -> Tensor:
    """1 / ln(c + share of the class), as Paszke et al. weigh classes (ENet, 2016, section 5.2), with a milder c.

    ``class_pixels`` (256,) counts the pixels of each id.
    """
    shares = class_pixels[:class_count] / max(1, class_pixels[:class_count].sum())
    weights = 1 / np.log(RARITY_OFFSET + shares)
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def still_maker(config: ModelConfig, plan: StagePlan) -> MakeSample:
    """Turns a labelled picture into (image, labels), another view of it each time."""
    sky = motions_of(config.classes).sky

    def make(picture: TrainingPicture, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        image, labels = random_view(picture.image, picture.labels, plan.crop, plan.scales, random, sky)
        return image_tensor(image, config), labels_tensor(labels)

    return make


def whole_still_maker(config: ModelConfig) -> MakeSample:
    """Turns a labelled picture into (image, labels) as it is, to be scored."""

    def make(picture: TrainingPicture, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        return image_tensor(picture.image, config), labels_tensor(picture.labels)

    return make

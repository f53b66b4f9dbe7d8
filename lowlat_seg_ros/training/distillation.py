"""Stage two: Sl learns what it can of Sh's answers, which say more about a pixel than its label does.

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.models.config import ModelConfig
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.augmentation import random_look, random_window
from lowlat_seg_ros.training.base import label_loss, labels_weight
from lowlat_seg_ros.training.frames import TrainingPicture
from lowlat_seg_ros.training.frozen_base import FrozenBase
from lowlat_seg_ros.training.pairs import motions_of
from lowlat_seg_ros.training.plan import StagePlan
from lowlat_seg_ros.training.samples import MakeSample, image_tensor, labels_tensor

ANSWERS_SHARE = 0.5  # of Sh's answers in the loss; the rest is the labels'


class DistillationStage:
    """Cross-entropy of Sl's own logits with the labels, and with the probabilities that Sh gives the same window.

    Sl sees it tinted and noisy, Sh as it was filmed: so Sl also learns to see through what the weather does.
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights
        self._base: FrozenBase | None = None  # made from the network when the first batch comes

    def trained_modules(self, network: SegmentationNetwork) -> Sequence[nn.Module]:
        return [*network.tracks.low_parts(), network.fast_classifier]

    def loss(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        seen, filmed, labels = batch[0], batch[-2], batch[-1]  # of a whole picture the two are one
        base = self._base = self._base or FrozenBase(network)
        logits = network.forward_fast(seen.contiguous(memory_format=torch.channels_last))
        by_labels = label_loss(logits, labels, self.weights)
        by_answers = answers_loss(logits, base.logits(filmed), self.weights)
        return (1 - ANSWERS_SHARE) * by_labels + ANSWERS_SHARE * by_answers

    def logits(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        return network.forward_fast(batch[0].contiguous(memory_format=torch.channels_last))

    def weight(self, batch: Sequence[Tensor]) -> Tensor:
        return labels_weight(batch[-1], self.weights)


def answers_loss(logits: Tensor, answers: Tensor, weights: Tensor) -> Tensor:
    """How far Sl's probabilities are from Sh's (Kullback and Leibler), both given as logits (B, K, h, w).

    A place counts as much as the classes that Sh sees there do in ``label_loss``, (K,).
    """
    probabilities = answers.softmax(dim=1)
    distances = functional.kl_div(logits.log_softmax(dim=1), probabilities, reduction="none").sum(dim=1)
    shares = torch.einsum("bkhw,k->bhw", probabilities, weights)
    return (shares * distances).sum() / shares.sum()


def distillation_maker(config: ModelConfig, plan: StagePlan) -> MakeSample:
    """Turns a labelled picture into (what Sl sees, the same as it was filmed, labels), another window each time."""
    sky = motions_of(config.classes).sky

    def make(picture: TrainingPicture, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        image, labels = random_window(picture.image, picture.labels, plan.crop, plan.scales, random)
        seen = random_look(image, labels, random, sky)
        return image_tensor(seen, config), image_tensor(image, config), labels_tensor(labels)

    return make

"""Synthesised pairs as training samples, for the two stages that learn from pairs."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lowlat_seg_ros.data.camvid import LabelledImage
from lowlat_seg_ros.network.config import ModelConfig
from lowlat_seg_ros.training.pairs import synthesise_pair
from lowlat_seg_ros.training.plan import StagePlan
from lowlat_seg_ros.training.samples import MakeSample, image_tensor, labels_tensor


def pair_maker(config: ModelConfig, plan: StagePlan) -> MakeSample:
    """Turns a labelled picture into (key, middle, later, labels of later), another pair each time."""

    def make(picture: LabelledImage, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        pair = synthesise_pair(picture.image, picture.labels, plan.crop, plan.scales, random)
        key, middle, later = (image_tensor(frame, config) for frame in (pair.key, pair.middle, pair.later))
        return key, middle, later, labels_tensor(pair.labels)

    return make

"""Pairs as training samples, for the two stages that learn from pairs."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lowlat_seg_ros.models.config import ModelConfig
from lowlat_seg_ros.training.frames import TrainingPicture
from lowlat_seg_ros.training.pairs import SHORTEST_DISTANCE, filmed_pair, motions_of, synthesise_pair
from lowlat_seg_ros.training.plan import StagePlan
from lowlat_seg_ros.training.samples import MakeSample, image_tensor, labels_tensor


def pair_maker(config: ModelConfig, plan: StagePlan) -> MakeSample:
    """Turns a picture into (key, middle, later, labels of later), another pair each time.

    Where the frames before it are known, the pair is real; otherwise it is synthesised.
    """
    motions = motions_of(config.classes)

    def make(picture: TrainingPicture, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if len(picture.earlier) >= SHORTEST_DISTANCE:
            pair = filmed_pair(picture, plan.crop, plan.scales, random)
        else:
            pair = synthesise_pair(picture.image, picture.labels, plan.crop, plan.scales, random, motions)
        key, middle, later = (image_tensor(frame, config) for frame in (pair.key, pair.middle, pair.later))
        return key, middle, later, labels_tensor(pair.labels)

    return make

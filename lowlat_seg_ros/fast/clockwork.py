"""Clockwork (Shelhamer et al., "Clockwork Convnets for Video Semantic Segmentation", ECCV 2016 workshops): the key
frame's F_h stays where it was, and a classifier of its own sees it beside what Sl sees now.
"""

from __future__ import annotations

from lowlat_seg_ros.fast.adaptive import feature_of
from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.propagation import FeaturePropagation, PropagationError
from lowlat_seg_ros.slow.network import SlowNetwork


class ClockworkPropagation(FeaturePropagation):
    """``propagation: clockwork``."""

    name = "clockwork"

    def __init__(self, fast: FastNetwork, slow: SlowNetwork) -> None:
        """Raises PropagationError where there is no feature, or no classifier was trained to see it beside F_l."""
        super().__init__(fast, slow)
        if self.head.classify_beside is None:
            raise PropagationError(
                "propagation 'clockwork' takes a classifier of its own, and the model has none; expected one from "
                "`lowlat-seg train tables`"
            )
        self._classify = self.head.classify_beside

    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        high = feature_of(key)
        return Answer(self._classify(high, seen.low.low), high)

"""Networks that work each picture out once, because many rows of an evaluation ask for the same ones.

They know a picture again by its content. Memory grows by the features and the logits of every picture: 3 to 5 MB at
480x360.
"""

from __future__ import annotations

import hashlib

from torch import Tensor

from lowlat_seg_ros.fast.adaptive import Propagated
from lowlat_seg_ros.fast.frames import Answer, LowFeatures
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.models.config import Colour, ModelConfig
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.slow.network import FeatureHead, SlowNetwork


class RememberingNetwork:
    """The fast track's: gives what the network gives, having run Sl once a picture and the deviation once a pair."""

    def __init__(self, network: SegmentationNetwork) -> None:
        self._network = network
        self._low: dict[bytes, LowFeatures] = {}
        # By the features' identities, which no other ones can come to: those of the remembered pictures stay.
        self._remembered: set[int] = set()
        self._deviations: dict[tuple[int, int], Tensor] = {}

    @property
    def config(self) -> ModelConfig:
        return self._network.config

    @property
    def classes(self) -> tuple[str, ...]:
        return self._network.classes

    @property
    def stride(self) -> int:
        return self._network.stride

    def low_features(self, image: Tensor) -> LowFeatures:
        picture = digest(image)
        if picture not in self._low:
            self._low[picture] = self._network.low_features(image)
            self._remembered.add(id(self._low[picture].low))
        return self._low[picture]

    def classify_low(self, low: Tensor) -> Tensor:
        return self._network.classify_low(low)

    def predicted_deviation(self, key: LowFeatures, current: LowFeatures) -> Tensor:
        pair = id(key.low), id(current.low)
        if not self._remembered.issuperset(pair):
            return self._network.predicted_deviation(key, current)
        if pair not in self._deviations:
            self._deviations[pair] = self._network.predicted_deviation(key, current)
        return self._deviations[pair]

    def propagate(self, key_high: Tensor, key: LowFeatures, current: LowFeatures) -> Propagated:
        return self._network.propagate(key_high, key, current)

    def move(self, picture: Tensor, key: LowFeatures, current: LowFeatures) -> tuple[Tensor, Tensor]:
        return self._network.move(picture, key, current)


class RememberingSlowNetwork:
    """The slow track's: gives what the network gives, having run once a picture."""

    def __init__(self, network: SlowNetwork) -> None:
        self._network = network
        self._answers: dict[bytes, Answer] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        return self._network.classes

    @property
    def colours(self) -> tuple[Colour, ...]:
        return self._network.colours

    @property
    def head(self) -> FeatureHead | None:
        return self._network.head

    @property
    def own_fast_network(self) -> FastNetwork | None:
        return self._network.own_fast_network

    @property
    def sees_whole_frame(self) -> bool:
        return self._network.sees_whole_frame

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        picture = digest(image)
        if picture not in self._answers:
            self._answers[picture] = self._network.answer(image, low)
        return self._answers[picture]


def digest(image: Tensor) -> bytes:
    """A name for the picture (1, 3, H, W) that no other one has."""
    channels_last = image.permute(0, 2, 3, 1).contiguous()
    return hashlib.blake2b(channels_last.cpu().numpy().data, digest_size=16).digest()

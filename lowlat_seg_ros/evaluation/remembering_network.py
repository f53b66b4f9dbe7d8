"""A network that works each picture's features out once, because many rows of an evaluation ask for the same ones."""

from __future__ import annotations

import hashlib

from torch import Tensor

from lowlat_seg_ros.models.config import ModelConfig
from lowlat_seg_ros.models.segmentation_network import LowFeatures, Propagated, SegmentationNetwork


class RememberingNetwork:
    """Gives what the network gives, Sl and Sh having run once a picture, the deviation predictor once a pair.

    It satisfies both protocols of ``stream.networks``, so that the engine runs on it as on the network itself. It knows
    a picture again by its content. Memory grows by both features of every picture: 2 to 4 MB at 480x360.
    """

    def __init__(self, network: SegmentationNetwork) -> None:
        self._network = network
        self._low: dict[bytes, LowFeatures] = {}
        self._high: dict[bytes, Tensor] = {}
        # By the features' identities, which no other ones can come to: those of the remembered pictures stay.
        self._remembered: set[int] = set()
        self._deviations: dict[tuple[int, int], Tensor] = {}

    @property
    def config(self) -> ModelConfig:
        return self._network.config

    @property
    def stride(self) -> int:
        return self._network.stride

    def low_features(self, image: Tensor) -> LowFeatures:
        picture = digest(image)
        if picture not in self._low:
            self._low[picture] = self._network.low_features(image)
            self._remembered.add(id(self._low[picture].low))
        return self._low[picture]

    def high_features(self, image: Tensor, low: Tensor) -> Tensor:
        picture = digest(image)
        if picture not in self._high:
            self._high[picture] = self._network.high_features(image, low)
        return self._high[picture]

    def classify_low(self, low: Tensor) -> Tensor:
        return self._network.classify_low(low)

    def classify(self, high: Tensor) -> Tensor:
        return self._network.classify(high)

    def predicted_deviation(self, key: LowFeatures, current: LowFeatures) -> Tensor:
        pair = id(key.low), id(current.low)
        if not self._remembered.issuperset(pair):
            return self._network.predicted_deviation(key, current)
        if pair not in self._deviations:
            self._deviations[pair] = self._network.predicted_deviation(key, current)
        return self._deviations[pair]

    def propagate(self, key_high: Tensor, key: LowFeatures, current: LowFeatures) -> Propagated:
        return self._network.propagate(key_high, key, current)


def digest(image: Tensor) -> bytes:
    """A name for the picture (1, 3, H, W) that no other one has."""
    channels_last = image.permute(0, 2, 3, 1).contiguous()
    return hashlib.blake2b(channels_last.cpu().numpy().data, digest_size=16).digest()

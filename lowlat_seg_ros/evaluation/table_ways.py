"""The paper's table 2 as propagations that the engine runs. Those that the node offers too are in ``fast``."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from lowlat_seg_ros.fast.adaptive import AdaptivePropagation, feature_of
from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.propagation import FeaturePropagation
from lowlat_seg_ros.fast.registry import PropagationKind
from lowlat_seg_ros.models.comparisons import Comparisons
from lowlat_seg_ros.models.layers import Normalising
from lowlat_seg_ros.slow.network import SlowNetwork


class FeatureAlone(AdaptivePropagation):
    """The paper's adaptive propagation with its fusion: no logits are carried beside the feature."""

    def __init__(self, fast: FastNetwork, slow: SlowNetwork) -> None:
        super().__init__(fast, slow)
        self.needs_motion = False


class Unfused(FeatureAlone):
    """The feature moved by equation 1, and no more."""

    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        high, _ = self.fast.move(feature_of(key), key.frame.low, seen.low)
        return Answer(self.head.classify(high), high)


class Compared(FeaturePropagation):
    """One that has weights of its own among the comparisons."""

    def __init__(self, fast: FastNetwork, slow: SlowNetwork, comparisons: Comparisons) -> None:
        super().__init__(fast, slow)
        self.comparisons = comparisons


class PlainClockwork(Compared):
    """The feature where it was, beside F_l as it is: "directly replaces parts of the current features"."""

    name = "plain_clockwork"

    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        high = feature_of(key)
        return Answer(self.comparisons.plain_clockwork(high, seen.low.low), high)


class Unified(Compared):
    """Equation 1 with the one learned kernel."""

    name = "unified"

    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        high = self.comparisons.unified(feature_of(key))
        return Answer(self.head.classify(high), high)


class ByImageDifference(Compared):
    """Equation 1 with weights set by how much the pixels differ."""

    name = "image_difference"

    def __init__(self, fast: FastNetwork, slow: SlowNetwork, comparisons: Comparisons) -> None:
        super().__init__(fast, slow, comparisons)
        self._normalise = Normalising(fast.config.mean, fast.config.std)

    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        high = self.comparisons.image_difference(feature_of(key), self._normalised(key.frame), self._normalised(seen))
        return Answer(self.head.classify(high), high)

    def _normalised(self, frame: SeenFrame) -> Tensor:
        normalised: Tensor = self._normalise(frame.image)
        return normalised


def ways_of_table_2(comparisons: Comparisons | None) -> dict[str, str | PropagationKind | None]:
    """The table's rows by their names; None where the weights are not at hand."""

    def trained(kind: type[Compared]) -> PropagationKind | None:
        return None if comparisons is None else partial(kind, comparisons=comparisons)

    return {
        "Clockwork propagation": trained(PlainClockwork),
        "optical flow propagation": "optical_flow",
        "unified propagation": trained(Unified),
        "weight by image difference": trained(ByImageDifference),
        "adaptive propagation, no fusion": Unfused,
        "adaptive propagation, with fusion": FeatureAlone,
        "the same, logits carried beside it": "adaptive",
        "just in time": "just_in_time",
    }

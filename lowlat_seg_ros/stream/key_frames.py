"""Key frames: the one in use, and when a frame becomes one, one policy a class (paper section 3.2)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from lowlat_seg_ros.fast.frames import KeyFrame, LowFeatures
from lowlat_seg_ros.fast.network import FastNetwork

KeyReason = Literal["", "first frame", "interval", "maximum interval", "deviation", "feature difference"]

TINY = 1e-12  # keeps the relative feature difference finite where the key frame's feature is zero everywhere


@dataclass(frozen=True)
class KeyFrameDecision:
    """Whether a frame becomes a key frame and why. ``deviation`` is the very value compared with ``threshold``."""

    is_key_frame: bool
    reason: KeyReason = ""
    deviation: float = math.nan  # nan: nothing was measured
    threshold: float = math.nan


class KeyFramePolicy(Protocol):
    """Policies hold no state, so they can be exchanged between any two frames."""

    def decide(
        self, network: FastNetwork, key: LowFeatures, current: LowFeatures, frames_since_key: int
    ) -> KeyFrameDecision:
        """Decide on the current frame.

        Args:
            network: asked for the predicted deviation by the policy that needs it, by no other.
            key: features of the frame that labels are propagated from.
            current: features of the frame decided on.
            frames_since_key: frames since the newest key frame, 1 or more. That frame may be newer than ``key``: its
                accurate feature may still be in the slow track.

        Raises:
            FloatingPointError: the measured deviation is nan or infinite.
        """
        ...


@dataclass(frozen=True)
class FixedInterval:
    """Every ``interval``-th frame is a key frame, whatever is seen (table 1, "fix schedule": 5)."""

    interval: int = 5  # frames

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError(f"the key-frame interval is {self.interval}; expected 1 frame or more")

    def decide(
        self, network: FastNetwork, key: LowFeatures, current: LowFeatures, frames_since_key: int
    ) -> KeyFrameDecision:
        if frames_since_key >= self.interval:
            return KeyFrameDecision(True, "interval")
        return KeyFrameDecision(False)


@dataclass(frozen=True)
class ThresholdPolicy(ABC):
    """A frame is a key frame once what is measured between it and the key frame goes beyond a threshold.

    The measure is taken on every frame, also where an interval limit decides, so that every frame reports it.
    """

    threshold: float
    minimum_interval: int = 1  # frames from key to key, whatever is measured
    maximum_interval: int = 5  # likewise; as long as the fixed schedule's (table 1)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise ValueError(f"the {self.reason} threshold is {self.threshold}; expected a number, 0 or more")
        if not 1 <= self.minimum_interval <= self.maximum_interval:
            raise ValueError(
                f"the key-frame interval limits are {self.minimum_interval} and {self.maximum_interval}; "
                "expected a minimum of 1 frame or more and a maximum no smaller than it"
            )

    @property
    @abstractmethod
    def reason(self) -> KeyReason:
        """What the measure is called."""

    @abstractmethod
    def measure(self, network: FastNetwork, key: LowFeatures, current: LowFeatures) -> float:
        """How far the current frame is from the key frame, 0 or more."""

    def decide(
        self, network: FastNetwork, key: LowFeatures, current: LowFeatures, frames_since_key: int
    ) -> KeyFrameDecision:
        deviation = self.measure(network, key, current)
        if not math.isfinite(deviation):
            raise FloatingPointError(f"the {self.reason} from the key frame is {deviation}")
        reason = self._reason_for_key_frame(deviation, frames_since_key)
        return KeyFrameDecision(reason != "", reason, deviation, self.threshold)

    def _reason_for_key_frame(self, deviation: float, frames_since_key: int) -> KeyReason:
        if frames_since_key < self.minimum_interval:
            return ""
        if deviation > self.threshold:
            return self.reason
        return "maximum interval" if frames_since_key >= self.maximum_interval else ""


@dataclass(frozen=True)
class PredictedDeviation(ThresholdPolicy):
    """The paper's adaptive policy: the predicted fraction of pixels whose label differs from the key frame's."""

    @property
    def reason(self) -> KeyReason:
        return "deviation"

    def measure(self, network: FastNetwork, key: LowFeatures, current: LowFeatures) -> float:
        return float(network.predicted_deviation(key, current))


DEFAULT_POLICY: Final = PredictedDeviation(threshold=0.125, minimum_interval=4, maximum_interval=8)
"""The node's, the library's and the commands' own; ``config/seg.yaml`` says what its numbers do."""


@dataclass(frozen=True)
class FeatureDifference(ThresholdPolicy):
    """The simple policy the paper compares with: mean |F_l,t - F_l,k| / mean |F_l,k| (section 3.2, figure 5)."""

    @property
    def reason(self) -> KeyReason:
        return "feature difference"

    def measure(self, network: FastNetwork, key: LowFeatures, current: LowFeatures) -> float:
        return float((current.low - key.low).abs().mean() / key.low.abs().mean().clamp_min(TINY))


class KeyFrameCache:
    """The key frame in use, and which frames were the newest to become one. Used by the engine's thread alone."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything, as before the first frame."""
        self._key: KeyFrame | None = None
        self._newest_sequence = -1
        self._newest_accurate_sequence = -1

    @property
    def key(self) -> KeyFrame | None:
        """What labels are propagated from now; None before the first key frame."""
        return self._key

    def frames_since_key(self, sequence: int) -> int:
        """Frames since the newest one that became a key, whether or not Sh has finished with it."""
        return sequence - self._newest_sequence

    def put(self, key: KeyFrame) -> None:
        """The current frame becomes a key frame, temporary or accurate."""
        self._use(key)
        self._newest_sequence = key.frame.sequence

    def offer_late(self, key: KeyFrame) -> bool:
        """The slow track's result for a frame that became a key earlier; returns whether it is used (contract 3).

        It replaces its own temporary version, and a newer temporary one too: an accurate feature that is a few frames
        older ends the chain of features propagated from propagated ones. It never replaces a newer accurate one.
        """
        if key.frame.sequence <= self._newest_accurate_sequence:
            return False
        self._use(key)
        self._newest_sequence = max(self._newest_sequence, key.frame.sequence)  # a first frame was never put
        return True

    def _use(self, key: KeyFrame) -> None:
        self._key = key
        if key.is_accurate:
            self._newest_accurate_sequence = key.frame.sequence

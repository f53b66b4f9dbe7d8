"""What a replay runs with: the key-frame policy and the cameras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from lowlat_seg_ros.evaluation.rows import SettingsError
from lowlat_seg_ros.stream.key_frames import (
    DEFAULT_POLICY,
    FeatureDifference,
    FixedInterval,
    KeyFramePolicy,
    PredictedDeviation,
)
from lowlat_seg_ros.stream.time_share import DEFAULT_SHARE, TimeShare

DEFAULT_THRESHOLDS: Final = {"predicted_deviation": DEFAULT_POLICY.threshold, "feature_difference": 0.5}
POLICIES: Final = (*DEFAULT_THRESHOLDS, "fixed_interval")
"""Names and defaults are those of the node's parameters (config/seg.yaml)."""


@dataclass(frozen=True)
class PolicySettings:
    """A key-frame policy by its name; ``interval`` counts for fixed_interval, everything else for the other two."""

    name: str = "predicted_deviation"
    interval: int = FixedInterval.interval  # frames
    threshold: float | None = None  # None: the policy's default
    minimum_interval: int = DEFAULT_POLICY.minimum_interval  # frames; 0: no limit, as in all four
    maximum_interval: int = DEFAULT_POLICY.maximum_interval
    minimum_key_period: float = DEFAULT_POLICY.minimum_period  # seconds
    maximum_key_period: float = DEFAULT_POLICY.maximum_period
    idle_threshold: float = DEFAULT_POLICY.idle_threshold

    def __post_init__(self) -> None:
        if self.name not in POLICIES:
            raise SettingsError(f"there is no policy {self.name!r}; expected one of {', '.join(POLICIES)}")
        self.policy()

    def policy(self) -> KeyFramePolicy:
        try:
            if self.name == "fixed_interval":
                return FixedInterval(self.interval)
            kind = PredictedDeviation if self.name == "predicted_deviation" else FeatureDifference
            return kind(
                self._threshold,
                self.minimum_interval,
                self.maximum_interval,
                self.minimum_key_period,
                self.maximum_key_period,
                self.idle_threshold,
            )
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def to_mapping(self) -> dict[str, Any]:
        """What counts for this policy."""
        if self.name == "fixed_interval":
            return {"name": self.name, "interval": self.interval}
        return {
            "name": self.name,
            "threshold": self._threshold,
            "minimum_interval": self.minimum_interval,
            "maximum_interval": self.maximum_interval,
            "minimum_key_period": self.minimum_key_period,
            "maximum_key_period": self.maximum_key_period,
            "idle_threshold": self.idle_threshold,
        }

    @property
    def _threshold(self) -> float:
        return DEFAULT_THRESHOLDS[self.name] if self.threshold is None else self.threshold


@dataclass(frozen=True)
class ReplaySettings:
    """What is replayed and how."""

    policy: PolicySettings = PolicySettings()
    low_latency: bool = True  # key frames take the fast track's labels instead of waiting for Sh
    slow_track_share: float = DEFAULT_SHARE  # of the time, 0 to 1
    cameras: tuple[str, ...] = ()  # topics; none: every camera in the bag

    def __post_init__(self) -> None:
        try:
            TimeShare(self.slow_track_share)
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def to_mapping(self) -> dict[str, Any]:
        return {
            "policy": self.policy.to_mapping(),
            "low_latency": self.low_latency,
            "slow_track_share": self.slow_track_share,
            "cameras": list(self.cameras),
        }

"""What a replay runs with: the key-frame policy and the cameras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.label_classes import LabelClasses
from lowlat_seg_ros.evaluation.rows import SettingsError
from lowlat_seg_ros.fast.registry import AUTO, propagation_in_use
from lowlat_seg_ros.stream.key_frames import (
    DEFAULT_FEATURE_DIFFERENCE,
    DEFAULT_POLICY,
    FixedInterval,
    KeyFramePolicy,
    Limits,
    policy_named,
)
from lowlat_seg_ros.stream.networks import DEFAULT, Wishes
from lowlat_seg_ros.stream.time_share import DEFAULT_SHARE, TimeShare

DEFAULT_THRESHOLDS: Final = {
    "predicted_deviation": DEFAULT_POLICY.threshold,
    "feature_difference": DEFAULT_FEATURE_DIFFERENCE,
}


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
        self.policy()

    def policy(self) -> KeyFramePolicy:
        intervals = self.minimum_interval, self.maximum_interval
        limits = Limits(*intervals, self.minimum_key_period, self.maximum_key_period, self.idle_threshold)
        try:
            return policy_named(self.name, self._threshold, self.interval, limits)
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
        return DEFAULT_THRESHOLDS.get(self.name, 0.0) if self.threshold is None else self.threshold


@dataclass(frozen=True)
class ReplaySettings:
    """What is replayed and how."""

    policy: PolicySettings = PolicySettings()
    low_latency: bool = True  # key frames take the fast track's labels instead of waiting for Sh
    slow_track_share: float = DEFAULT_SHARE  # of the time, 0 to 1
    cameras: tuple[str, ...] = ()  # topics; none: every camera in the bag
    propagation: str = AUTO
    fast_model: str = "default"  # whose Sl carries the labels of a model that has no fast track of its own
    wishes: Wishes = DEFAULT  # where the networks run
    truth: LabelClasses | None = None  # what the ids of the bag's truth are; None: those of the fast track's classes

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
            "propagation": propagation_in_use(self.propagation),  # what auto is may change
            "fast_model": self.fast_model,
            **self.wishes.to_mapping(),
            "truth": self._truth_mapping(),
        }

    def _truth_mapping(self) -> dict[str, Any] | None:
        """The names of the truth's classes, and the number among them of each id that stands for one."""
        if self.truth is None:
            return None
        ids = {str(stored): given for stored, given in sorted(self.truth.ids.items()) if given != UNLABELLED}
        return {"classes": list(self.truth.names), "ids": ids}

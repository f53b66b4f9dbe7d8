"""Key frames: the one in use, and when a frame becomes one, one policy a class (paper section 3.2)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from torch import Tensor

from lowlat_seg_ros.errors import shown
from lowlat_seg_ros.fast.frames import KeyFrame, LowFeatures

KeyReason = Literal[
    "", "first frame", "interval", "maximum interval", "maximum period", "deviation", "feature difference", "idle"
]

NEVER_IDLE: Final = 1.0
"""As ``idle_threshold``: an idle slow track takes no frame that is not due."""

TINY = 1e-12  # keeps the relative feature difference finite where the key frame's feature is zero everywhere


def never_idle() -> bool:
    """A slow track that has no time for a frame that is not due."""
    return False


class SinceKey(NamedTuple):
    """How long ago the newest key frame was, whether or not Sh has finished with it."""

    frames: int  # 1 or more
    seconds: float


@dataclass(frozen=True)
class KeyFrameDecision:
    """Whether a frame becomes a key frame and why. ``deviation`` is the very value compared with ``threshold``."""

    is_key_frame: bool
    reason: KeyReason = ""
    deviation: float = math.nan  # nan: nothing was measured
    threshold: float = math.nan


class PredictsDeviation(Protocol):
    """A fast network, or one that knows better for the slow network at hand."""

    def predicted_deviation(self, key: LowFeatures, current: LowFeatures) -> Tensor:
        """(1,), the fraction of pixels whose label differs from the key frame's."""
        ...


class KeyFramePolicy(Protocol):
    """Policies hold no state, so they can be exchanged between any two frames."""

    def decide(
        self,
        network: PredictsDeviation,
        key: LowFeatures,
        current: LowFeatures,
        since_key: SinceKey,
        has_idle_time: Callable[[], bool] = never_idle,
    ) -> KeyFrameDecision:
        """Decide on the current frame.

        Args:
            network: asked for the predicted deviation by the policy that needs it, by no other.
            key: features of the frame that labels are propagated from.
            current: features of the frame decided on.
            since_key: how long ago the newest key frame was. It may be newer than ``key``: its accurate answer may
                still be in the slow track.
            has_idle_time: whether the slow track would otherwise do nothing; asked only where that decides.

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
        self,
        network: PredictsDeviation,
        key: LowFeatures,
        current: LowFeatures,
        since_key: SinceKey,
        has_idle_time: Callable[[], bool] = never_idle,
    ) -> KeyFrameDecision:
        if since_key.frames >= self.interval:
            return KeyFrameDecision(True, "interval")
        return KeyFrameDecision(False)


@dataclass(frozen=True)
class ThresholdPolicy(ABC):
    """A frame is a key frame once what is measured between it and the key frame goes beyond a threshold.

    The measure is taken on every frame, also where a limit decides, so that every frame reports it. Limits hold from
    key frame to key frame, whatever is measured; 0 is none. An idle slow track takes a frame whatever the minima say.
    """

    threshold: float
    minimum_interval: int = 0  # frames
    maximum_interval: int = 0
    minimum_period: float = 0.0  # seconds
    maximum_period: float = 0.0
    idle_threshold: float = NEVER_IDLE  # of the same measure, for an idle slow track

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise ValueError(f"the {self.reason} threshold is {self.threshold}; expected a number, 0 or more")
        if not 0 <= self.idle_threshold <= NEVER_IDLE:
            raise ValueError(f"the idle threshold is {self.idle_threshold}; expected 0 to 1, where 1 is never")
        _check_limits("interval", "frames", self.minimum_interval, self.maximum_interval)
        _check_limits("period", "seconds", self.minimum_period, self.maximum_period)

    @property
    @abstractmethod
    def reason(self) -> KeyReason:
        """What the measure is called."""

    @abstractmethod
    def measure(self, network: PredictsDeviation, key: LowFeatures, current: LowFeatures) -> float:
        """How far the current frame is from the key frame, 0 or more."""

    def decide(
        self,
        network: PredictsDeviation,
        key: LowFeatures,
        current: LowFeatures,
        since_key: SinceKey,
        has_idle_time: Callable[[], bool] = never_idle,
    ) -> KeyFrameDecision:
        deviation = self.measure(network, key, current)
        if not math.isfinite(deviation):
            raise FloatingPointError(f"the {self.reason} from the key frame is {deviation}")
        reason = self._reason_for_key_frame(deviation, since_key)
        is_worth_idle_time = self.idle_threshold < NEVER_IDLE and deviation > self.idle_threshold
        if reason == "" and is_worth_idle_time and has_idle_time():
            reason = "idle"
        return KeyFrameDecision(reason != "", reason, deviation, self.threshold)

    def _reason_for_key_frame(self, deviation: float, since_key: SinceKey) -> KeyReason:
        if since_key.frames < self.minimum_interval or since_key.seconds < self.minimum_period:
            return ""
        if deviation > self.threshold:
            return self.reason
        if 0 < self.maximum_interval <= since_key.frames:
            return "maximum interval"
        return "maximum period" if 0 < self.maximum_period <= since_key.seconds else ""


def _check_limits(kind: str, unit: str, minimum: float, maximum: float) -> None:
    if not (0 <= minimum < math.inf and (maximum == 0 or minimum <= maximum < math.inf)):
        raise ValueError(
            f"the key-frame {kind} limits are {minimum} and {maximum} {unit}; expected a minimum of 0 or more and a "
            "maximum no smaller than it, or 0 for no maximum"
        )


@dataclass(frozen=True)
class PredictedDeviation(ThresholdPolicy):
    """The paper's adaptive policy: the predicted fraction of pixels whose label differs from the key frame's."""

    @property
    def reason(self) -> KeyReason:
        return "deviation"

    def measure(self, network: PredictsDeviation, key: LowFeatures, current: LowFeatures) -> float:
        return float(network.predicted_deviation(key, current))


DEFAULT_POLICY: Final = PredictedDeviation(
    threshold=0.105, minimum_period=0.25, maximum_period=0.5, idle_threshold=0.03
)
"""The node's, the library's and the commands' own; ``config/seg.yaml`` says what its numbers do."""


@dataclass(frozen=True)
class FeatureDifference(ThresholdPolicy):
    """The simple policy the paper compares with: mean |F_l,t - F_l,k| / mean |F_l,k| (section 3.2, figure 5)."""

    @property
    def reason(self) -> KeyReason:
        return "feature difference"

    def measure(self, network: PredictsDeviation, key: LowFeatures, current: LowFeatures) -> float:
        return float((current.low - key.low).abs().mean() / key.low.abs().mean().clamp_min(TINY))


POLICIES: Final = ("predicted_deviation", "feature_difference", "fixed_interval")
"""As the parameter ``policy`` names them."""

DEFAULT_FEATURE_DIFFERENCE: Final = 0.5


class Limits(NamedTuple):
    """Of a ``ThresholdPolicy``, whose comments say what they do."""

    minimum_interval: int = DEFAULT_POLICY.minimum_interval
    maximum_interval: int = DEFAULT_POLICY.maximum_interval
    minimum_period: float = DEFAULT_POLICY.minimum_period
    maximum_period: float = DEFAULT_POLICY.maximum_period
    idle_threshold: float = DEFAULT_POLICY.idle_threshold


def policy_named(name: str, threshold: float, interval: int, limits: Limits) -> KeyFramePolicy:
    """The policy of that name; ``interval`` counts for fixed_interval, everything else for the other two.

    Raises:
        ValueError: there is none of that name, or a value cannot be.
    """
    match name:
        case "predicted_deviation":
            return PredictedDeviation(threshold, *limits)
        case "feature_difference":
            return FeatureDifference(threshold, *limits)
        case "fixed_interval":
            return FixedInterval(interval)
    raise ValueError(f"there is no policy {shown(name)}; expected one of {', '.join(POLICIES)}")


class StreamClock:
    """One camera's time in nanoseconds: by its stamps, and by arrival where these stand still."""

    def __init__(self, read_arrival: Callable[[], int]) -> None:
        """``read_arrival``: nanoseconds on a clock that never goes back, read when a frame arrives."""
        self._read_arrival = read_arrival
        self._arrival = 0
        self._stamp: int | None = None
        self.now = 0

    def advance(self, stamp: int) -> None:
        """A frame with this stamp, in nanoseconds, has arrived."""
        arrival = self._read_arrival()
        if self._stamp is not None:
            elapsed = stamp - self._stamp
            self.now += elapsed if elapsed > 0 else arrival - self._arrival
        self._stamp, self._arrival = stamp, arrival


class KeyFrameCache:
    """The key frame in use, and when a frame last became one. Used by the engine's thread alone."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything, as before the first frame."""
        self._key: KeyFrame | None = None
        self._newest_sequence = -1
        self._newest_time = 0
        self._newest_accurate_sequence = -1

    @property
    def key(self) -> KeyFrame | None:
        """What labels are propagated from now; None before the first key frame."""
        return self._key

    def note_key_frame(self, sequence: int, time: int) -> None:
        """The frame of that sequence becomes a key frame; ``time`` is the stream's, in nanoseconds."""
        self._newest_sequence, self._newest_time = sequence, time

    def since_key(self, sequence: int, time: int) -> SinceKey:
        """From the newest frame that was noted to the one of that sequence and time."""
        return SinceKey(sequence - self._newest_sequence, (time - self._newest_time) / 1e9)

    def put(self, key: KeyFrame) -> None:
        """What the current frame shows, temporarily or accurately, is what later ones are propagated from."""
        self._key = key
        if key.is_accurate:
            self._newest_accurate_sequence = key.frame.sequence

    def offer_late(self, key: KeyFrame) -> bool:
        """The slow track's result for a frame that became a key earlier; returns whether it is used (contract 3).

        It replaces its own temporary version, and a newer temporary one too: an accurate answer that is a few frames
        older ends the chain of answers propagated from propagated ones. It never replaces a newer accurate one.
        """
        if key.frame.sequence <= self._newest_accurate_sequence:
            return False
        self.put(key)
        return True


class AnswerAges:
    """How old the newest accurate key frame is, and for how long a newer one has been due, so that a lag shows.

    Fed by the engine with each frame; all times are nanoseconds on a clock that never goes back. Ages are up to
    the last frame: a camera that is silent is no fault of the slow track.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """As before the first frame."""
        self._now = 0
        self._newest_answer: int | None = None
        self._due_since: int | None = None

    def frame_arrived(self, now: int) -> None:
        self._now = now

    def key_due(self) -> None:
        """The frame that has just arrived should become a key frame."""
        if self._due_since is None:
            self._due_since = self._now

    def answered(self, arrived: int) -> None:
        """The slow network's answer for the frame that arrived then is in use."""
        self._newest_answer, self._due_since = arrived, None

    @property
    def key_age(self) -> float:
        """Seconds from the newest accurate key frame to the last frame; nan where there is none."""
        return math.nan if self._newest_answer is None else (self._now - self._newest_answer) / 1e9

    @property
    def overdue(self) -> float:
        """Seconds for which a key frame has been due, and without its answer; 0 where none is."""
        return 0.0 if self._due_since is None else (self._now - self._due_since) / 1e9

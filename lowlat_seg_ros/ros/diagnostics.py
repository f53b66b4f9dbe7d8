"""What a camera's chain tells about its health: small objects that are fed by it and read once a second.

Times are seconds on a steady clock: simulated time may stand still or jump, and a wall clock may be set. All of this
runs in the executor's one thread, so nothing is locked.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

import numpy as np

from lowlat_seg_ros.ros.losses import NOT_KNOWN, Arrival, LossCounter

OK, WARN, ERROR, STALE = range(4)
"""Levels of diagnostic_msgs/msg/DiagnosticStatus; `docs/node.md` says what is which."""

STALE_TIMEOUTS: Final = 5
"""Times `image_timeout` without an image after which there is nothing left to tell of a camera but that."""

WINDOW_FRAMES: Final = 300
"""How many of the last frames the percentiles are over: ten seconds at 30 Hz."""


@dataclass(frozen=True)
class LatencyPercentiles:
    """Milliseconds from callback entry to publish; NaN before the first frame."""

    p50: float
    p99: float
    maximum: float


class LatencyWindow:
    """Latencies of the last frames."""

    def __init__(self, frames: int = WINDOW_FRAMES) -> None:
        self._milliseconds: deque[float] = deque(maxlen=frames)

    def add(self, milliseconds: float) -> None:
        self._milliseconds.append(milliseconds)

    def percentiles(self) -> LatencyPercentiles:
        if not self._milliseconds:
            return LatencyPercentiles(float("nan"), float("nan"), float("nan"))
        p50, p99, maximum = np.percentile(np.fromiter(self._milliseconds, float), (50, 99, 100))
        return LatencyPercentiles(float(p50), float(p99), float(maximum))


@dataclass(frozen=True)
class Counts:
    """What happened to a camera's images, since the node was configured or over a period."""

    segmented: int = 0
    dropped: int = 0
    damaged: int = 0
    refused: int = 0
    failed: int = 0
    unlabelled: int = 0
    out_of_order: int = 0
    restarts: int = 0
    slow_track_failed: int = 0
    busy_seconds: float = 0.0

    def since(self, earlier: Counts) -> Counts:
        """The difference, field by field."""
        names = [field.name for field in fields(self)]
        return Counts(**{name: getattr(self, name) - getattr(earlier, name) for name in names})


@dataclass(frozen=True)
class Limits:
    """Seconds from which on something is told; the node's parameters of these names."""

    image_timeout: float
    warn_key_age: float = math.inf
    error_key_age: float = math.inf


@dataclass(frozen=True)
class SlowTrackHealth:
    """What a camera's engine knows of the slow track, at its last frame."""

    key_age: float = math.nan  # seconds, of the newest accurate key frame; nan where there is none
    overdue: float = 0.0  # seconds for which a key frame has been due without its answer
    restarts: int = 0  # of its thread
    given_up: str = ""


NO_SLOW_TRACK: Final = SlowTrackHealth()


class Load:
    """Of the executor's one thread: all cameras of a node add to it."""

    def __init__(self) -> None:
        self.seconds = 0.0  # in callbacks of images so far


class Trouble(NamedTuple):
    """Something that is not as it should be."""

    level: int
    sentence: str


@dataclass(frozen=True)
class Health:
    """One camera's line in /diagnostics."""

    level: int
    summary: str
    troubles: tuple[str, ...]
    values: dict[str, str]
    dropped: int = 0  # images since the last report
    busy_share: float = 0.0  # of the time since then, in callbacks of all cameras' images
    is_silent: bool = False  # no image has come for longer than the limit


class CameraHealth:
    """Collects what one camera's chain does and reports on it."""

    def __init__(self, topic: str, now: float, load: Load | None = None) -> None:
        self._topic = topic
        self._load = load or Load()
        self._losses = LossCounter()
        self._latency = LatencyWindow()
        self._segmented = 0
        self._damaged = 0
        self._refused = 0
        self._failed = 0
        self._unlabelled = 0
        self._out_of_order = 0
        self._restarts = 0
        self._slow_track_failed = 0
        self._last_image = now
        self._last_labels = now
        self._at_last_labels = Counts()
        self._reported = Counts()
        self._reported_at = now

    @property
    def frames_dropped(self) -> int | None:
        """Images lost on their way since the node was configured; None: not known."""
        return self._losses.total

    @property
    def segmented(self) -> int:
        """Images whose labels were published since the node was configured."""
        return self._segmented

    def begin(self, now: float) -> None:
        """Images are accepted from now on: those before were neither lost nor is their absence silence."""
        self._losses.forget()
        self._last_image = self._last_labels = self._reported_at = now
        self._at_last_labels = self._reported = self._counts()

    def topic_changed(self, topic: str) -> None:
        """Images come from another topic from now on; what was sent there before was not lost."""
        self._topic = topic
        self._losses.forget()

    def image_arrived(self, now: float, arrival: Arrival, publisher_count: int) -> None:
        """An image reached the callback, good or bad; so many send to its topic."""
        self._last_image = now
        self._losses.received(arrival, publisher_count)

    def image_left_out(self, now: float) -> None:
        """Nobody waits for its labels."""
        self._last_image = self._last_labels = now
        self._at_last_labels = self._counts()

    def image_damaged(self) -> None:
        """It had lost some of its data, and is labelled as far as it goes."""
        self._damaged += 1

    def image_refused(self) -> None:
        """It could not be used."""
        self._refused += 1

    def image_failed(self, now: float) -> None:
        """The node failed on it, which nobody expected."""
        self._last_image = now
        self._failed += 1

    def image_out_of_order(self) -> None:
        """It came after a later one."""
        self._out_of_order += 1

    def image_segmented(
        self,
        now: float,
        milliseconds: float,
        slow_track_failed: int,
        restarts: int = 0,
        *,
        has_failed: bool = False,
    ) -> None:
        """Its labels were published `milliseconds` after the callback began.

        Args:
            slow_track_failed: the slow track's failures so far.
            restarts: the stream's so far.
            has_failed: all labels are 255, since the fast track failed on it.
        """
        self._last_image = now  # the time in the callback is not the camera's silence
        self._segmented += 1
        self._unlabelled += has_failed
        self._slow_track_failed, self._restarts = slow_track_failed, restarts
        self._latency.add(milliseconds)
        if not has_failed:
            self._last_labels, self._at_last_labels = now, self._counts()

    def report(
        self,
        now: float,
        connections: dict[str, int],
        limits: Limits,
        slow_track: SlowTrackHealth = NO_SLOW_TRACK,
        transport_trouble: str = "",
    ) -> Health:
        """How the camera fares; rates and troubles are over the time since the report before.

        `connections` are counts of publishers and subscribers by name, handed on as they are; so is what keeps images
        from coming at all, or from coming by shared memory.
        """
        counts = self._counts()
        period, seconds = counts.since(self._reported), now - self._reported_at
        self._reported, self._reported_at = counts, now
        silence = self._silence(now, limits.image_timeout)
        troubles = [
            *silence,
            *([Trouble(WARN, transport_trouble)] if transport_trouble else []),
            *self._nothing_labelled(now, counts, limits.image_timeout),
            *_slow_track_troubles(slow_track, limits),
            *_troubles(period),
        ]
        values = self._values(counts, period, seconds, slow_track)
        sentences = tuple(trouble.sentence for trouble in troubles)
        return Health(
            level=max((trouble.level for trouble in troubles), default=OK),
            summary="; ".join(sentences) or self._calm(counts, values["rate (Hz)"]),
            troubles=sentences,
            values={**values, **{name: str(count) for name, count in connections.items()}},
            dropped=period.dropped,
            busy_share=period.busy_seconds / seconds if seconds > 0 else 0.0,
            is_silent=bool(silence),
        )

    def report_inactive(
        self, now: float, connections: dict[str, int], summary: str, slow_track: SlowTrackHealth = NO_SLOW_TRACK
    ) -> Health:
        """While the node takes no images, for the reason in ``summary``."""
        counts = self._counts()
        self._reported, self._reported_at = counts, now
        values = self._values(counts, Counts(), 0.0, slow_track)
        values.update((name, str(count)) for name, count in connections.items())
        troubles = (slow_track.given_up,) if slow_track.given_up else ()
        return Health(ERROR if troubles else OK, "; ".join((*troubles, summary)), troubles, values)

    def _counts(self) -> Counts:
        return Counts(
            self._segmented,
            self._losses.counted,
            self._damaged,
            self._refused,
            self._failed,
            self._unlabelled,
            self._out_of_order,
            self._restarts,
            self._slow_track_failed,
            self._load.seconds,
        )

    def _calm(self, counts: Counts, rate: str) -> str:
        return f"segmenting at {rate} Hz" if counts.segmented else f"waiting for the first image on {self._topic}"

    def _silence(self, now: float, image_timeout: float) -> list[Trouble]:
        seconds = now - self._last_image
        if seconds < image_timeout:
            return []
        level = STALE if seconds >= STALE_TIMEOUTS * image_timeout else WARN
        return [Trouble(level, f"no image on {self._topic} for {seconds:.0f} s")]

    def _nothing_labelled(self, now: float, counts: Counts, image_timeout: float) -> list[Trouble]:
        """Images that come, or came, and none of which is labelled."""
        seconds, since = now - self._last_labels, counts.since(self._at_last_labels)
        unlabelled = since.dropped + since.refused + since.failed + since.unlabelled + since.out_of_order
        if not unlabelled or seconds < image_timeout:
            return []
        return [Trouble(ERROR, f"none of {unlabelled} images was labelled for {seconds:.0f} s")]

    def _values(self, counts: Counts, period: Counts, seconds: float, slow_track: SlowTrackHealth) -> dict[str, str]:
        latency = self._latency.percentiles()
        rate_hz = period.segmented / seconds if seconds > 0 else 0.0
        return {
            "rate (Hz)": f"{rate_hz:.1f}",
            "latency p50 (ms)": f"{latency.p50:.1f}",
            "latency p99 (ms)": f"{latency.p99:.1f}",
            "latency max (ms)": f"{latency.maximum:.1f}",
            "images segmented": str(counts.segmented),
            "images dropped": NOT_KNOWN if self._losses.total is None else str(counts.dropped),
            "images dropped by": self._losses.basis,
            "images damaged": str(counts.damaged),
            "images refused": str(counts.refused),
            "images failed": str(counts.failed),
            "images unlabelled": str(counts.unlabelled),
            "images out of order": str(counts.out_of_order),
            "stream restarts": str(counts.restarts),
            "slow-track failures": str(counts.slow_track_failed),
            "slow-track restarts": str(slow_track.restarts),
            "key age (s)": f"{slow_track.key_age:.2f}",
            "answer overdue (s)": f"{slow_track.overdue:.2f}",
        }


def _slow_track_troubles(slow_track: SlowTrackHealth, limits: Limits) -> list[Trouble]:
    troubles = [Trouble(ERROR, slow_track.given_up)] if slow_track.given_up else []
    if slow_track.overdue >= min(limits.warn_key_age, limits.error_key_age):
        level = ERROR if slow_track.overdue >= limits.error_key_age else WARN
        age = "none has come yet" if math.isnan(slow_track.key_age) else f"the newest is {slow_track.key_age:.1f} s old"
        sentence = f"the slow network's answer has been due for {slow_track.overdue:.1f} s; {age}"
        troubles.append(Trouble(level, sentence))
    return troubles


def _troubles(period: Counts) -> list[Trouble]:
    counted = (
        (period.dropped, "images lost"),
        (period.damaged, "images labelled that had lost data"),
        (period.refused, "images refused"),
        (period.failed, "images that the node failed on"),
        (period.unlabelled, "images that the fast track failed on, published unlabelled"),
        (period.out_of_order, "images out of order"),
        (period.restarts, "stream restarts"),
        (period.slow_track_failed, "slow-track failures"),
    )
    return [Trouble(WARN, f"{what} since the last report: {count}") for count, what in counted if count]

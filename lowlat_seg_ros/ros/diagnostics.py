"""What a camera's chain tells about its health: small objects that are fed by it and read once a second.

Times are seconds on a steady clock: simulated time may stand still or jump, and a wall clock may be set. All of this
runs in the executor's one thread, so nothing is locked.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

WINDOW_FRAMES: Final = 300
"""How many of the last frames the percentiles are over: ten seconds at 30 Hz."""

REMEMBERED_PUBLISHERS: Final = 16
"""More than ever send to one topic at once; cameras that come and go must not pile up."""

BUSY: Final = 0.8
"""From this share of its time in callbacks on, a node loses images because it is too slow for its camera."""


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


class DropCounter:
    """Images that were sent but never reached the callback, from the gaps between publication sequence numbers.

    Every publisher counts on its own and starts again when it restarts, so each is followed by its identity. What it
    sent before its first image arrived here is not counted: the node may have started later than the camera.
    """

    def __init__(self) -> None:
        self.total = 0
        self._last: dict[bytes, int] = {}

    def received(self, publisher: bytes, sequence_number: int) -> int:
        """Note an image; returns how many were lost between this publisher's previous one and it."""
        last = self._last.pop(publisher, sequence_number - 1)
        self._last[publisher] = sequence_number
        if len(self._last) > REMEMBERED_PUBLISHERS:
            del self._last[next(iter(self._last))]  # the one heard of longest ago
        lost = max(sequence_number - last - 1, 0)
        self.total += lost
        return lost


@dataclass(frozen=True)
class Counts:
    """What happened to a camera's images, since the node started or over a period."""

    segmented: int = 0
    dropped: int = 0
    refused: int = 0
    slow_track_failed: int = 0
    busy_seconds: float = 0.0

    def since(self, earlier: Counts) -> Counts:
        return Counts(
            self.segmented - earlier.segmented,
            self.dropped - earlier.dropped,
            self.refused - earlier.refused,
            self.slow_track_failed - earlier.slow_track_failed,
            self.busy_seconds - earlier.busy_seconds,
        )


@dataclass(frozen=True)
class Health:
    """One camera's line in /diagnostics."""

    troubles: tuple[str, ...]
    advice: str
    values: dict[str, str]

    @property
    def summary(self) -> str:
        return "; ".join(self.troubles) or f"segmenting at {self.values['rate (Hz)']} Hz"


class CameraHealth:
    """Collects what one camera's chain does and reports on it."""

    def __init__(self, topic: str, now: float) -> None:
        self._topic = topic
        self._drops = DropCounter()
        self._latency = LatencyWindow()
        self._segmented = 0
        self._refused = 0
        self._slow_track_failed = 0
        self._busy_seconds = 0.0
        self._last_image = now
        self._reported = Counts()
        self._reported_at = now

    @property
    def frames_dropped(self) -> int:
        """Images lost on their way since the node started."""
        return self._drops.total

    def image_arrived(self, now: float, publisher: bytes, sequence_number: int) -> None:
        """An image reached the callback, good or bad."""
        self._last_image = now
        self._drops.received(publisher, sequence_number)

    def image_refused(self) -> None:
        """It could not be used."""
        self._refused += 1

    def image_segmented(self, now: float, milliseconds: float, slow_track_failed: int) -> None:
        """Its labels were published `milliseconds` after the callback began; the slow track's failures so far."""
        self._last_image = now  # the time in the callback is not the camera's silence
        self._segmented += 1
        self._slow_track_failed = slow_track_failed
        self._busy_seconds += milliseconds / 1000
        self._latency.add(milliseconds)

    def report(self, now: float, connections: dict[str, int], image_timeout: float) -> Health:
        """How the camera fares; rates and troubles are over the time since the report before.

        `connections` are counts of publishers and subscribers by name, handed on as they are.
        """
        counts = self._counts()
        period, seconds = counts.since(self._reported), now - self._reported_at
        self._reported, self._reported_at = counts, now
        troubles = (*self._silence(now, image_timeout), *_troubles(period))
        advice = (
            f"{period.dropped} images on {self._topic} were lost: {_advice(period, seconds)}" if period.dropped else ""
        )
        values = self._values(counts, period, seconds)
        return Health(troubles, advice, {**values, **{name: str(count) for name, count in connections.items()}})

    def _counts(self) -> Counts:
        return Counts(self._segmented, self._drops.total, self._refused, self._slow_track_failed, self._busy_seconds)

    def _silence(self, now: float, image_timeout: float) -> list[str]:
        seconds = now - self._last_image
        return [f"no image on {self._topic} for {seconds:.0f} s"] if seconds >= image_timeout else []

    def _values(self, counts: Counts, period: Counts, seconds: float) -> dict[str, str]:
        latency = self._latency.percentiles()
        rate_hz = period.segmented / seconds if seconds > 0 else 0.0
        return {
            "rate (Hz)": f"{rate_hz:.1f}",
            "latency p50 (ms)": f"{latency.p50:.1f}",
            "latency p99 (ms)": f"{latency.p99:.1f}",
            "latency max (ms)": f"{latency.maximum:.1f}",
            "images segmented": str(counts.segmented),
            "images dropped": str(counts.dropped),
            "images refused": str(counts.refused),
            "slow-track failures": str(counts.slow_track_failed),
        }


def _troubles(period: Counts) -> list[str]:
    counted = (
        (period.dropped, "images lost"),
        (period.refused, "images refused"),
        (period.slow_track_failed, "slow-track failures"),
    )
    return [f"{what} since the last report: {count}" for count, what in counted if count]


def _advice(period: Counts, seconds: float) -> str:
    """What to do about lost images, by their likelier cause."""
    if period.busy_seconds >= BUSY * seconds:
        return "the node is slower than the camera: lower the camera's rate, or the parameter input_size"
    return (
        "if that goes on, the sender's shared memory is too small for its images: start the camera's driver with "
        "FASTDDS_DEFAULT_PROFILES_FILE set to config/fastdds.xml of this package"
    )

"""How many images were sent and never arrived, as far as the middleware lets one know.

By sequence numbers where the RMW hands them on (Fast DDS), exactly. By gaps between the images' stamps where it does
not (CycloneDDS), which is an estimate and needs a steady camera. Where neither will do the count is not known, never
zero.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

REMEMBERED_PUBLISHERS: Final = 16
"""More than ever send to one topic at once; cameras that come and go must not pile up."""

ENOUGH_GAPS: Final = 8
"""Between stamps, from which on a camera's period can be told."""

WINDOW_GAPS: Final = 32
"""How many of the last gaps tell the period."""

LOW_QUARTILE: Final = 25
"""Percentile of the gaps that is the period: it holds while fewer than three in four images are lost."""

TOLERANCE: Final = 0.25
"""Of the period: so far a gap may be from a whole number of periods."""

STEADY_SHARE: Final = 0.75
"""Of the gaps, which must be whole numbers of periods; else the camera has no period."""

LONGEST_GAP: Final = 2_000_000_000
"""Nanoseconds. A longer one is a pause of the camera, which diagnostics report as silence, not a loss."""

BY_SEQUENCE_NUMBERS: Final = "sequence numbers"
BY_STAMPS: Final = "gaps between stamps"
NOT_KNOWN: Final = "not known"


class Arrival(NamedTuple):
    """What the middleware and the image tell of one arrival."""

    stamp: int  # nanoseconds
    publisher: bytes | None = None  # its identity; Jazzy hands on none
    sequence_number: int | None = None  # of this publisher; CycloneDDS hands on none

    @staticmethod
    def of(information: Mapping[str, Any], stamp: int) -> Arrival:
        """From rclpy's MessageInfo, each field of which may be missing or None."""
        publisher = information.get("publisher_gid")
        identity = publisher.get("data") if isinstance(publisher, Mapping) else publisher
        number = information.get("publication_sequence_number")
        return Arrival(stamp, None if identity is None else bytes(identity), number)


class LossCounter:
    """Images that were sent but never reached the callback.

    What was sent before a publisher's first image arrived is not counted: the node may have started later.
    """

    def __init__(self) -> None:
        self.basis = NOT_KNOWN
        self._total = 0
        self._numbers = SequenceGaps()
        self._stamps = StampGaps()

    @property
    def counted(self) -> int:
        """Those that were found missing so far, whether or not more can be found at the moment: it never falls."""
        return self._total

    @property
    def total(self) -> int | None:
        """Since the start; None where it is not known."""
        return None if self.basis == NOT_KNOWN else self._total

    def forget(self) -> None:
        """What is sent until the next image arrives is not counted."""
        self._numbers, self._stamps = SequenceGaps(), StampGaps()

    def received(self, arrival: Arrival, publisher_count: int) -> int:
        """Note an image; returns how many are known to have been lost just before it.

        Args:
            arrival: of the image.
            publisher_count: how many send to its topic. Numbers of two that cannot be told apart mean nothing.
        """
        if arrival.sequence_number is not None and (arrival.publisher is not None or publisher_count <= 1):
            self.basis = BY_SEQUENCE_NUMBERS
            lost = self._numbers.received(arrival.publisher or b"", arrival.sequence_number)
        else:
            by_stamps = self._stamps.received(arrival.stamp)
            self.basis = NOT_KNOWN if by_stamps is None else BY_STAMPS
            lost = by_stamps or 0
        self._total += lost
        return lost


class SequenceGaps:
    """Losses by publication sequence numbers.

    Every publisher counts on its own and starts again when it restarts, so each is followed by its identity.
    """

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}

    def received(self, publisher: bytes, sequence_number: int) -> int:
        """How many were lost between this publisher's previous image and this one."""
        last = self._last.pop(publisher, sequence_number - 1)
        self._last[publisher] = sequence_number
        if len(self._last) > REMEMBERED_PUBLISHERS:
            del self._last[next(iter(self._last))]  # the one heard of longest ago
        return max(sequence_number - last - 1, 0)


class StampGaps:
    """Losses by gaps between stamps: those of a steady camera are whole numbers of its period."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._gaps: deque[int] = deque(maxlen=WINDOW_GAPS)  # nanoseconds
        self._unjudged: list[int] = []

    def received(self, stamp: int) -> int | None:
        """How many were lost before this one, those before the period was known included; None: not known."""
        gap = 0 if self._last is None else stamp - self._last
        self._last = stamp
        if 0 < gap <= LONGEST_GAP:
            self._gaps.append(gap)
            self._unjudged = [*self._unjudged, gap][-WINDOW_GAPS:]
        period = self._period()
        if period is None:
            return None
        unjudged, self._unjudged = self._unjudged, []
        return sum(max(round(each / period) - 1, 0) for each in unjudged)

    def _period(self) -> float | None:
        """Nanoseconds; None where the gaps show none."""
        if len(self._gaps) < ENOUGH_GAPS:
            return None
        gaps = np.fromiter(self._gaps, float)
        period = float(np.percentile(gaps, LOW_QUARTILE))
        whole = np.abs(gaps / period - np.maximum(np.round(gaps / period), 1)) <= TOLERANCE
        return period if np.mean(whole) >= STEADY_SHARE else None

"""A clip at its own pace: no frame before its time, and the newest one where several are due."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

NANOSECONDS_A_SECOND = 1_000_000_000


def sleep_nanoseconds(duration: int) -> None:
    time.sleep(duration / NANOSECONDS_A_SECOND)


class DueFrame(NamedTuple):
    """A frame of the clip, and when it was due on the pacer's clock, in nanoseconds."""

    number: int
    due: int


@dataclass
class Pacer:
    """Hands out the frames of a clip as a camera with a queue of one image does.

    Frame i is due i periods after the first. Whoever asks early waits; whoever asks late gets the newest frame that is
    due, and the ones between are counted as skipped.
    """

    period: int  # nanoseconds
    count: int  # frames of the clip
    clock: Callable[[], int] = time.monotonic_ns
    sleep: Callable[[int], None] = sleep_nanoseconds
    skipped: int = 0

    def __iter__(self) -> Iterator[DueFrame]:
        start = self.clock()
        following = 0
        while following < self.count:
            newest = min((self.clock() - start) // self.period, self.count - 1)
            index = max(following, newest)
            self.skipped += index - following
            due = start + index * self.period
            while (early := due - self.clock()) > 0:
                self.sleep(early)
            yield DueFrame(index, due)
            following = index + 1

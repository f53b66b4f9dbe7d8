"""The slow track under observation: when Sh ran, and Sh over and over where the slow track is to be busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from lowlat_seg_ros.fast.frames import Answer, SeenFrame
from lowlat_seg_ros.slow.network import SlowNetwork
from lowlat_seg_ros.stream.slow_lane import SlowJob, SlowLane
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack


class ShRun(NamedTuple):
    """One run of Sh, nanoseconds on the monotonic clock."""

    began: int
    ended: int
    in_slow_track: bool  # not within a frame's own call


@dataclass
class WatchedSlowNetwork:
    """A slow track's network that notes its runs, and can ask for the next one as soon as it begins with one."""

    network: SlowNetwork
    runs: list[ShRun] = field(default_factory=list)
    _lane: SlowLane | None = None
    _job: SlowJob | None = None

    def __post_init__(self) -> None:
        self.classes, self.colours, self.head = self.network.classes, self.network.colours, self.network.head
        self.own_fast_network = self.network.own_fast_network
        self.sees_whole_frame = self.network.sees_whole_frame

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        self._ask_again()
        began = time.monotonic_ns()
        try:
            return self.network.answer(image, low)
        finally:
            in_slow_track = threading.current_thread() is not threading.main_thread()
            self.runs.append(ShRun(began, time.monotonic_ns(), in_slow_track))

    @contextmanager
    def busy(self, track: ThreadedSlowTrack, frame: SeenFrame) -> Iterator[None]:
        """Within it, the slow track runs Sh on ``frame`` again and again, as for another camera that never rests.

        Args:
            track: the slow track of this network.
            frame: any frame that Sl has seen.
        """
        self._lane, self._job = track.open_lane(), SlowJob(frame)
        lane = self._lane
        self._ask_again()
        try:
            yield
        finally:
            self._job = None
            lane.reset()
            while lane.counts().busy or lane.counts().waiting:
                time.sleep(0.001)
            lane.collect()

    def _ask_again(self) -> None:
        job, lane = self._job, self._lane
        if job is not None and lane is not None:
            lane.collect()  # what nobody needs would pile up
            lane.submit(job)

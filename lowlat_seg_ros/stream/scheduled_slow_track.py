"""A slow track in simulated time: what the threaded one would have done had Sh taken a stated time.

For replays, which let the time pass as a drive's frames arrive, and for evaluations, which count frames.
"""

from __future__ import annotations

import threading
from collections import deque
from time import perf_counter_ns

from lowlat_seg_ros.slow.network import SlowNetwork
from lowlat_seg_ros.stream.slow_lane import (
    Learn,
    LearnMore,
    Prepare,
    SlowJob,
    SlowLane,
    SlowResult,
    as_it_is,
    learn_no_more,
    learn_nothing,
    run_slow_network,
)
from lowlat_seg_ros.stream.time_share import DEFAULT_SHARE, TimeShare


class ScheduledSlowTrack:
    """Serves its lanes in turn, one job at a time, each for ``duration``; its owner lets the time pass.

    All times are integers of one unit, nanoseconds in a replay, so that no rounding depends on a bag's length.
    """

    def __init__(self, network: SlowNetwork, duration: int, hand_over_delay: int, share: float = DEFAULT_SHARE) -> None:
        """
        Args:
            network: in evaluation mode.
            duration: of Sh.
            hand_over_delay: from the beginning of a ``segment`` call to the hand-over of its key frame, which the
                engine does last.
            share: of the time that it is at work at the most before it takes no idle key frames; training takes none.
        """
        self._share = TimeShare(share)
        self.network = network
        self.duration = duration
        self.hand_over_delay = hand_over_delay
        self.now = 0
        self.lanes: list[ScheduledLane] = []  # as they were opened
        self._lanes: deque[ScheduledLane] = deque()  # the one whose turn it is comes first
        self._in_work: ScheduledLane | None = None
        self._done_at = 0  # when what is in work is done, or the last was

    def open_lane(
        self, prepare: Prepare = as_it_is, learn: Learn = learn_nothing, learn_more: LearnMore = learn_no_more
    ) -> ScheduledLane:
        """A place for one more camera."""
        return ScheduledLane(self, prepare, learn, learn_more)

    def add(self, lane: ScheduledLane) -> None:
        """Serve this lane too."""
        self.lanes.append(lane)
        self._lanes.append(lane)

    def advance(self, now: int) -> None:
        """Do all that happens until ``now``, which must not be before the last call's.

        Raises:
            ValueError: time would go back.
        """
        if now < self.now:
            raise ValueError(f"simulated time cannot go back from {self.now} to {now}")
        while self._in_work is not None and self._done_at <= now:
            self._in_work.complete(self._done_at)
            self._share.spend_on_run(self.duration, self._done_at)
            self._in_work = None
            self.begin_next(self._done_at)
            for lane in self.lanes if self._in_work is None else ():
                if lane.was_interrupted:
                    lane.learn_more(lambda: True)
        self.now = now

    def has_idle_time(self) -> bool:
        """Whether nothing is in work or waits, and the share allows for more."""
        is_idle = self._in_work is None and not self.has_waiting()
        return is_idle and self._share.has_credit_for_a_run(self.now)

    def has_waiting(self) -> bool:
        """Whether a camera's key frame waits for its turn."""
        return any(lane.has_waiting for lane in self.lanes)

    def begin_next(self, time: int) -> None:
        """Take the next lane's job into work at ``time``, if there is one and none is in work."""
        for _ in range(len(self._lanes) if self._in_work is None else 0):
            lane = self._lanes[0]
            self._lanes.rotate(-1)
            if lane.has_waiting:
                lane.take()
                self._in_work, self._done_at = lane, time + self.duration
                return


class ScheduledLane(SlowLane):
    """A camera's place at a ``ScheduledSlowTrack``."""

    def __init__(self, track: ScheduledSlowTrack, prepare: Prepare, learn: Learn, learn_more: LearnMore) -> None:
        super().__init__(track.network, threading.Condition(), prepare, learn, learn_more)
        self._track = track
        track.add(self)
        self._handed_over: dict[int, int] = {}  # time by the frame's sequence, of what waits or is in work
        self.delays: list[int] = []  # from hand-over to result, of every job done

    def submit(self, job: SlowJob) -> None:
        self._track.advance(self._track.now + self._track.hand_over_delay)
        super().submit(job)
        self._handed_over[job.frame.sequence] = self._track.now
        self._track.begin_next(self._track.now)

    def complete(self, time: int) -> None:
        """Run Sh on the job in work and publish what became of it at ``time``."""
        if self._in_work is None:
            raise RuntimeError("only a job in work can be completed")
        sequence = self._in_work.frame.sequence
        result = run_slow_network(self.network, self._in_work, self.prepare)
        self.finish(result)
        self.learn(result, may_go_on=lambda: not self._track.has_waiting())  # as the threaded track's yields to it
        self.was_interrupted = self._track.has_waiting()
        self.delays.append(time - self._handed_over[sequence])
        # Lanes are served in order, so that what was handed over before this job was replaced and never comes.
        self._handed_over = {later: at for later, at in self._handed_over.items() if later > sequence}

    def has_idle_time(self) -> bool:
        return self._track.has_idle_time()

    def watch(self) -> None:
        """Nothing to look after: Sh runs in the caller's thread."""

    def now(self) -> int:
        """Simulated, in the track's unit."""
        return self._track.now

    def warm_up(self, job: SlowJob) -> SlowResult:
        return run_slow_network(self.network, job, self.prepare)


class InlineSlowTrack:
    """Scheduled slow tracks of one camera each, late by a counted number of frames: nobody else lets the time pass.

    Sh runs inside the ``segment`` call that collects its result; latencies of such a run mean nothing.
    """

    def __init__(self, network: SlowNetwork, delay_frames: int = 1, share: float = DEFAULT_SHARE) -> None:
        """
        Args:
            network: in evaluation mode.
            delay_frames: a key frame's result is there that many ``segment`` calls after Sh began with it.
            share: of the frames' time, beyond which it takes no idle key frames.
        """
        if delay_frames < 1:
            raise ValueError(f"the inline slow track's delay is {delay_frames} frames; expected 1 or more")
        self.network = network
        self._delay_frames = delay_frames
        self._share = share

    def open_lane(
        self, prepare: Prepare = as_it_is, learn: Learn = learn_nothing, learn_more: LearnMore = learn_no_more
    ) -> InlineLane:
        """A camera's place, at a track of its own."""
        track = ScheduledSlowTrack(self.network, self._delay_frames, hand_over_delay=0, share=self._share)
        return InlineLane(track, prepare, learn, learn_more)


class InlineLane(ScheduledLane):
    """The only place at a scheduled slow track, whose time it counts in frames."""

    milliseconds_of_last_collect = 0.0  # Sh and its training within it

    def collect(self) -> list[SlowResult]:
        """Called once a frame: that is this lane's clock."""
        began = perf_counter_ns()
        self._track.advance(self._track.now + 1)
        self.milliseconds_of_last_collect = (perf_counter_ns() - began) / 1e6
        return super().collect()

"""The slow track: where Sh runs on key frames while the fast track goes on (paper section 3.4)."""

from __future__ import annotations

import atexit
import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from lowlat_seg_ros.errors import printable
from lowlat_seg_ros.runtime.stopping import Stop, stopped_by
from lowlat_seg_ros.runtime.threads import MAXIMUM_NICENESS, make_own_thread_nice
from lowlat_seg_ros.runtime.track_stream import SLOW_PRIORITY, TrackStream
from lowlat_seg_ros.slow.network import SlowNetwork
from lowlat_seg_ros.stream.slow_lane import (
    Learn,
    LearnMore,
    Prepare,
    SlowJob,
    SlowLane,
    SlowResult,
    SlowTrackCounts,
    as_it_is,
    describe_error,
    learn_no_more,
    learn_nothing,
    run_slow_network,
)
from lowlat_seg_ros.stream.time_share import DEFAULT_SHARE, TimeShare

HANG_RUNS = 3  # of the longest one's time: no run that takes less hangs
SECONDS_BETWEEN_LOOKS = 0.2  # at the thread, while the warm-up waits for it
LEAST_SAVED = 200_000_000  # nanoseconds of credit: some times what training takes
LEAST_LESSON = 0.5  # of its share of a run's time: what a lesson may take in any case, unless a key frame waits


class ThreadedSlowTrack:
    """One thread that runs Sh for every camera, a lane each, in turn. Close it, or use it as a context manager.

    On the CPU it is a guest: few intra-op threads and a higher niceness, both for this thread only. On a GPU it has a
    stream of its own. ``watch`` replaces a thread that has died, and one that hangs, once.
    """

    def __init__(
        self,
        network: SlowNetwork,
        device: torch.device | str = "cpu",
        intra_op_threads: int = 1,
        niceness: int = 10,
        share: float = DEFAULT_SHARE,
        renew: Callable[[], SlowNetwork] | None = None,
    ) -> None:
        """
        Args:
            network: in evaluation mode, on ``device``.
            intra_op_threads: torch's threads within one operator of Sh. More than one stalls the fast track on few
                cores: threads that both run multi-threaded operators wait for each other's cores at every barrier.
            niceness: added to the process's own, 0 to 19. Only on Linux, where a thread has a niceness of its own.
            share: 0 to 1, of the time that it may be at work before idle key frames end and training is short.
            renew: loads the network again, in the new thread, where the old one has to be left to a run that hangs.
        """
        if intra_op_threads < 1:
            raise ValueError(f"the slow track has {intra_op_threads} intra-op threads; expected 1 or more")
        if not 0 <= niceness <= MAXIMUM_NICENESS:
            raise ValueError(f"the slow track's niceness is {niceness}; expected 0 to {MAXIMUM_NICENESS}")
        self.network = network
        self.hang_seconds = math.inf
        """A run that takes longer hangs, unless earlier ones took a third of that; may be changed at any time."""
        self._device = torch.device(device)
        self._intra_op_threads = intra_op_threads
        self._niceness = niceness
        self._renew = renew
        self._changed = threading.Condition()
        self._lanes: deque[ThreadedLane] = deque()  # the one whose turn it is comes first
        self._is_closing = False
        self._share = TimeShare(share, LEAST_SAVED)
        self._paid_until = 0  # monotonic nanoseconds: what was done before has been subtracted from the share
        self._longest_run = 0  # nanoseconds, of Sh or of training
        self.restarts = 0
        self.given_up = ""  # why nothing will ever come of it again
        self._has_renewed = False
        self._worker = self._hire(network)
        # Python ends daemon threads by force: one inside a torch operator would abort the whole process.
        atexit.register(self.close)

    def open_lane(
        self, prepare: Prepare = as_it_is, learn: Learn = learn_nothing, learn_more: LearnMore = learn_no_more
    ) -> ThreadedLane:
        """A place for one more camera, with what its propagation does with each answer before and after it is there."""
        lane = ThreadedLane(self, self._changed, prepare, learn, learn_more)
        with self._changed:
            self._lanes.append(lane)
        return lane

    def close(self, timeout: float = 1.0) -> bool:
        """End the thread, between two operators where it is in the middle of Sh; returns whether it ended in time.

        Args:
            timeout: seconds.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._worker.stop.set()
        self._worker.thread.join(timeout)
        atexit.unregister(self.close)
        return not self._worker.thread.is_alive()

    def __enter__(self) -> ThreadedSlowTrack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def warm_up(self, job: SlowJob, prepare: Prepare = as_it_is) -> SlowResult:
        """Run Sh once in the slow thread, in a lane of its own so that no camera's counts move, and wait for it."""
        lane = self.open_lane(prepare)
        lane.submit(job)
        with self._changed:
            while not (lane.counts().done + lane.counts().failed or self._is_closing or self.given_up):
                self._changed.wait(SECONDS_BETWEEN_LOOKS)
                self.watch()
            self._lanes.remove(lane)
        return next(iter(lane.collect()), SlowResult(None, self.given_up or "the slow track is closed", 0.0))

    # --- looking after the thread ------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Replace the thread where it has died, and where a run hangs. Called by the fast track with every frame."""
        with self._changed:
            worker = self._worker
            if self._is_closing or self.given_up:
                return
            if not worker.thread.is_alive():
                died = f"the slow track's thread has died ({worker.death})"
                if worker.lane is None:  # as it started: the next one would, too
                    self._give_up(died)
                else:
                    self._replace(died, self.network)
            elif worker.is_at_work and self._hangs(worker):
                seconds = (time.monotonic_ns() - worker.began) / 1e9
                self._abandon(f"{worker.doing} has hung for {seconds:.0f} s and is abandoned")
        if worker.is_abandoned:
            worker.stop.set()

    def _hangs(self, worker: _Worker) -> bool:
        patience = max(self.hang_seconds * 1e9, HANG_RUNS * self._longest_run)
        return not worker.is_loading and time.monotonic_ns() - worker.began > patience

    def _abandon(self, what: str) -> None:
        """Leave a run that hangs alone, with its thread and network; the first time, both are there anew."""
        if self._renew is None or self._has_renewed:
            self._give_up(what)
        else:
            self._has_renewed = True
            self._replace(what, None)

    def _give_up(self, why: str) -> None:
        self._release_job(why)
        self._worker.is_abandoned = True
        self.given_up = f"{why}; the fast track goes on alone"
        for lane in self._lanes:
            lane.give_up(self.given_up)
        self._changed.notify_all()

    def _replace(self, why: str, network: SlowNetwork | None) -> None:
        try:
            successor = self._hire(network)
        except RuntimeError as error:  # this process may have no more threads
            self._give_up(f"{why}, and cannot be started again ({error})")
            return
        self._release_job(why)
        self._worker.is_abandoned = True
        self.restarts += 1
        for lane in self._lanes:
            lane.notify(f"{why}; it is started again")
        self._worker = successor

    def _release_job(self, why: str) -> None:
        lane = self._worker.lane
        if lane is not None and lane.has_job_in_work:
            lane.finish(SlowResult(None, why, (time.monotonic_ns() - self._worker.began) / 1e6))

    def _hire(self, network: SlowNetwork | None) -> _Worker:
        """A new thread, ready to serve; without a network it loads one itself."""
        worker = _Worker(network, TrackStream(self._device, SLOW_PRIORITY), is_loading=network is None)
        worker.thread = threading.Thread(target=self._work, args=(worker,), name="slow track", daemon=True)
        with _thread_count_of_others_kept():
            worker.thread.start()
            worker.is_settled.wait()
        return worker

    # --- the thread itself -------------------------------------------------------------------------------------------

    def _work(self, worker: _Worker) -> None:
        try:
            try:
                self._settle()
            finally:
                worker.is_settled.set()
            if worker.network is None:
                self._load_anew(worker)
            with (
                worker.stream.in_use(),
                stopped_by(worker.stop),
                _BetweenOperators(lambda: self._stop_if_dismissed(worker)),
            ):
                while self._serve_next(worker):
                    pass
        except BaseException as error:  # the thread ends with it, and `watch` says so
            place = traceback.extract_tb(error.__traceback__)[-1]
            worker.death = printable(f"{type(error).__name__} in {place.name}: {error}")

    def _settle(self) -> None:
        _set_own_thread_count(self._intra_op_threads)
        make_own_thread_nice(self._niceness)

    def _load_anew(self, worker: _Worker) -> None:
        assert self._renew is not None
        try:
            worker.network = self.network = self._renew()
        except Exception as error:
            with self._changed:
                self.given_up = f"the slow network could not be loaded again: {describe_error(error)}"
                for lane in self._lanes:
                    lane.give_up(self.given_up)
            raise
        with self._changed:
            for lane in self._lanes:
                lane.network = self.network
            worker.is_loading = worker.is_at_work = False

    def _serve_next(self, worker: _Worker) -> bool:
        """Wait for a job and run it; returns whether to go on. While it waits it keeps no frame alive."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_dismissed(worker) or self._has_waiting())
            if self._is_dismissed(worker):
                return False
            lane = self._next_lane()
            job = lane.take()
            worker.begin(lane, "Sh")
            self._paid_until = worker.began
        worker.stream.follow(job.ready)
        assert worker.network is not None
        result = run_slow_network(worker.network, job, lane.prepare, worker.stream)
        with self._changed:
            if worker.is_abandoned:
                self._note_run(worker)  # it was slow and did not hang: a later one may take as long
                return False  # too late: the run was reported as failed, and its answer is dropped
            self._pay(self._share.spend_on_run)
            self._note_run(worker)
            lane.finish(result)
        return self._teach(worker, lane, partial(lane.learn, result)) and self._finish_lessons(worker)

    def _teach(self, worker: _Worker, lane: ThreadedLane, lesson: LearnMore) -> bool:
        """Returns whether to go on."""
        with self._changed:
            worker.begin(lane, "what the propagation learns")
        # However short time is, a lesson may take a part of the run's, or nothing would be learned where Sh is slow.
        ends = worker.began + round(lane.counts().last_milliseconds * 1e6 * self._share.share * LEAST_LESSON)
        lesson(lambda: self._may_go_on_learning(worker, ends))
        with self._changed:
            if worker.is_abandoned:
                return False
            self._pay(self._share.spend)
            self._note_run(worker)
            worker.is_at_work = False
            lane.was_interrupted = self._has_waiting()
        return True

    def _finish_lessons(self, worker: _Worker) -> bool:
        """Of two cameras whose key frames come together the first would otherwise never learn.

        Returns whether to go on.
        """
        for lane in tuple(self._lanes):
            is_its_time = lane.was_interrupted and not self._has_waiting()
            if is_its_time and not self._teach(worker, lane, lane.learn_more):
                return False
        return True

    def _note_run(self, worker: _Worker) -> None:
        self._longest_run = max(self._longest_run, time.monotonic_ns() - worker.began)

    @property
    def is_at_work(self) -> bool:
        """Whether something is in work, training included, or waits."""
        with self._changed:
            return self._worker.is_at_work or self._has_waiting()

    def has_idle_time(self) -> bool:
        """Whether it could work, does not, and the share allows for more."""
        with self._changed:
            is_idle = not (self._is_closing or self.given_up or self.is_at_work)
            return is_idle and self._share.has_credit_for_a_run(time.monotonic_ns())

    def _may_go_on_learning(self, worker: _Worker, at_least_until: int) -> bool:
        with self._changed:
            if self._is_dismissed(worker):
                return False
            self._pay(self._share.spend)
            worker.began = self._paid_until  # it lives: what hangs no longer asks
            has_time = self._paid_until < at_least_until or self._share.has_credit(self._paid_until)
            return has_time and not self._has_waiting()

    def _pay(self, spend: Callable[[int, int], None]) -> None:
        """Subtract from the share what was done since the last call."""
        with self._changed:
            now = time.monotonic_ns()
            spend(now - self._paid_until, now)
            self._paid_until = now

    def _has_waiting(self) -> bool:
        return any(lane.has_waiting for lane in self._lanes)

    def _next_lane(self) -> ThreadedLane:
        """The next lane in turn that has a job; its turn comes again after all the others'."""
        while True:
            lane = self._lanes.popleft()
            self._lanes.append(lane)
            if lane.has_waiting:
                return lane

    def _is_dismissed(self, worker: _Worker) -> bool:
        return self._is_closing or worker.is_abandoned

    def _stop_if_dismissed(self, worker: _Worker) -> None:
        if self._is_dismissed(worker):
            raise RuntimeError("the slow track is closing" if self._is_closing else "this run was abandoned")


@dataclass(eq=False)
class _Worker:
    """The slow track's thread, and what it is at. The track's lock guards it."""

    network: SlowNetwork | None  # None: not loaded yet
    stream: TrackStream
    is_loading: bool
    thread: threading.Thread = field(init=False)
    is_settled: threading.Event = field(default_factory=threading.Event)
    stop: Stop = field(default_factory=Stop)  # of what runs in no torch operator
    lane: ThreadedLane | None = None  # whose job was the last
    doing: str = ""
    began: int = 0  # monotonic nanoseconds
    is_at_work: bool = False  # training included
    is_abandoned: bool = False
    death: str = "it ended for no known reason"

    def __post_init__(self) -> None:
        self.is_at_work = self.is_loading

    def begin(self, lane: ThreadedLane, doing: str) -> None:
        """It is at work for that lane from now on."""
        self.lane, self.doing, self.began, self.is_at_work = lane, doing, time.monotonic_ns(), True


class ThreadedLane(SlowLane):
    """A camera's place at a ``ThreadedSlowTrack``."""

    def __init__(
        self,
        track: ThreadedSlowTrack,
        changed: threading.Condition,
        prepare: Prepare,
        learn: Learn,
        learn_more: LearnMore,
    ) -> None:
        super().__init__(track.network, changed, prepare, learn, learn_more)
        self._track = track

    def submit(self, job: SlowJob) -> None:
        with self._changed:
            if self._track.given_up:
                self._discarded += 1
            else:
                super().submit(job)

    def give_up(self, why: str) -> None:
        """Nothing will come of what waits."""
        with self._changed:
            self.notify(why)
            self._discarded += self._waiting is not None
            self._waiting = None

    def counts(self) -> SlowTrackCounts:
        return replace(super().counts(), restarts=self._track.restarts, given_up=self._track.given_up)

    def watch(self) -> None:
        self._track.watch()

    def has_idle_time(self) -> bool:
        return self._track.has_idle_time()

    def warm_up(self, job: SlowJob) -> SlowResult:
        return self._track.warm_up(job, self.prepare)


class _BetweenOperators(TorchFunctionMode):
    """Calls ``check`` before every torch operator of this thread."""

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self._check = check

    def __torch_function__(
        self,
        operator: Callable[..., Any],
        types: object,
        arguments: tuple[Any, ...] = (),
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        self._check()
        return operator(*arguments, **(keywords or {}))


def _set_own_thread_count(intra_op_threads: int) -> None:
    # A thread takes over the number last set anywhere when it is first asked for its own; only after that does a number
    # of its own stay.
    torch.get_num_threads()
    torch.set_num_threads(intra_op_threads)


@contextmanager
def _thread_count_of_others_kept() -> Iterator[None]:
    """Let a new thread set its own number of intra-op threads and nobody else's.

    ``torch.set_num_threads`` holds for its own thread, but also for every thread that was never asked for its number
    and has computed nothing, the caller's included. So the caller is asked first, and its number set again last.
    """
    callers = torch.get_num_threads()
    yield
    torch.set_num_threads(callers)

"""The slow track: where Sh runs on key frames while the fast track goes on (paper section 3.4)."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from lowlat_seg_ros.runtime.track_stream import SLOW_PRIORITY, TrackStream
from lowlat_seg_ros.slow.network import SlowNetwork
from lowlat_seg_ros.stream.slow_lane import (
    Learn,
    Prepare,
    SlowJob,
    SlowLane,
    SlowResult,
    as_it_is,
    learn_nothing,
    run_slow_network,
)
from lowlat_seg_ros.stream.time_share import DEFAULT_SHARE, TimeShare

MAXIMUM_NICENESS = 19
LEAST_SAVED = 200_000_000  # nanoseconds of credit: some times what training takes


class ThreadedSlowTrack:
    """One thread that runs Sh for every camera, a lane each, in turn. Close it, or use it as a context manager.

    On the CPU it is a guest: few intra-op threads and a higher niceness, both for this thread only. On a GPU it has a
    stream of its own.
    """

    def __init__(
        self,
        network: SlowNetwork,
        device: torch.device | str = "cpu",
        intra_op_threads: int = 1,
        niceness: int = 10,
        share: float = DEFAULT_SHARE,
    ) -> None:
        """
        Args:
            network: in evaluation mode, on ``device``.
            intra_op_threads: torch's threads within one operator of Sh. More than one stalls the fast track on few
                cores: threads that both run multi-threaded operators wait for each other's cores at every barrier.
            niceness: added to the process's own, 0 to 19. Only on Linux, where a thread has a niceness of its own.
            share: 0 to 1, of the time that it may be at work before it leaves out idle key frames and training.
        """
        if intra_op_threads < 1:
            raise ValueError(f"the slow track has {intra_op_threads} intra-op threads; expected 1 or more")
        if not 0 <= niceness <= MAXIMUM_NICENESS:
            raise ValueError(f"the slow track's niceness is {niceness}; expected 0 to {MAXIMUM_NICENESS}")
        self.network = network
        self._stream = TrackStream(torch.device(device), SLOW_PRIORITY)
        self._changed = threading.Condition()
        self._lanes: deque[ThreadedLane] = deque()  # the one whose turn it is comes first
        self._is_closing = False
        self._is_at_work = False  # training included
        self._share = TimeShare(share, LEAST_SAVED)
        self._paid_until = 0  # monotonic nanoseconds: what was done before has been subtracted from the share
        self._is_settled = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(intra_op_threads, niceness), name="slow track", daemon=True
        )
        with _thread_count_of_others_kept():
            self._thread.start()
            self._is_settled.wait()
        # Python ends daemon threads by force: one inside a torch operator would abort the whole process.
        atexit.register(self.close)

    def open_lane(self, prepare: Prepare = as_it_is, learn: Learn = learn_nothing) -> ThreadedLane:
        """A place for one more camera, with what its propagation does with each answer before and after it is there."""
        lane = ThreadedLane(self, self._changed, prepare, learn)
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
        self._thread.join(timeout)
        atexit.unregister(self.close)
        return not self._thread.is_alive()

    def __enter__(self) -> ThreadedSlowTrack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def warm_up(self, job: SlowJob, prepare: Prepare = as_it_is) -> SlowResult:
        """Run Sh once in the slow thread, in a lane of its own so that no camera's counts move, and wait for it."""
        lane = self.open_lane(prepare)
        lane.submit(job)
        with self._changed:
            self._changed.wait_for(lambda: lane.counts().done + lane.counts().failed > 0 or self._is_closing)
            self._lanes.remove(lane)
        return next(iter(lane.collect()), SlowResult(None, "the slow track is closed", 0.0))

    def _work(self, intra_op_threads: int, niceness: int) -> None:
        _set_own_thread_count(intra_op_threads)
        if sys.platform == "linux":
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(own + niceness, MAXIMUM_NICENESS))
        self._is_settled.set()
        with self._stream.in_use(), _BetweenOperators(self._stop_if_closing):
            while self._serve_next():
                pass

    def _serve_next(self) -> bool:
        """Wait for a job and run it; returns whether to go on. While it waits it keeps no frame alive."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closing or self._has_waiting())
            if self._is_closing:
                return False
            lane = self._next_lane()
            job = lane.take()
            self._is_at_work, self._paid_until = True, time.monotonic_ns()
        self._stream.follow(job.ready)
        result = run_slow_network(self.network, job, lane.prepare, self._stream)
        self._pay(self._share.spend_on_run)
        lane.finish(result)
        lane.learn(result, self._may_go_on_learning)
        self._pay(self._share.spend)
        with self._changed:
            self._is_at_work = False
        return True

    def has_idle_time(self) -> bool:
        """Whether nothing is in work, training included, or waits, and the share allows for more."""
        with self._changed:
            is_idle = not (self._is_closing or self._is_at_work or self._has_waiting())
            return is_idle and self._share.has_credit_for_a_run(time.monotonic_ns())

    def _may_go_on_learning(self) -> bool:
        self._pay(self._share.spend)
        with self._changed:
            is_wanted = self._is_closing or self._has_waiting()
            return not is_wanted and self._share.has_credit(self._paid_until)

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

    def _stop_if_closing(self) -> None:
        if self._is_closing:
            raise RuntimeError("the slow track is closing")


class ThreadedLane(SlowLane):
    """A camera's place at a ``ThreadedSlowTrack``."""

    def __init__(self, track: ThreadedSlowTrack, changed: threading.Condition, prepare: Prepare, learn: Learn) -> None:
        super().__init__(track.network, changed, prepare, learn)
        self._track = track

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

"""One camera's place at the slow track: what goes in, what comes out, and what is counted."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.errors import printable
from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.pictures import as_image
from lowlat_seg_ros.runtime.track_stream import TrackStream
from lowlat_seg_ros.slow.network import SlowNetwork

Prepare = Callable[[Answer, SeenFrame], Answer]
"""What a propagation makes of the slow network's answer, in the slow track, before it is handed over."""

Learn = Callable[[KeyFrame, Callable[[], bool]], None]
"""What it does with it afterwards, for as long as the second argument says that there is nothing better to do."""


LearnMore = Callable[[Callable[[], bool]], None]
"""Goes on with a lesson that had to end for a key frame, for as long as its argument says so."""


def as_it_is(answer: Answer, frame: SeenFrame) -> Answer:
    """A ``Prepare``."""
    return answer


def learn_nothing(key: KeyFrame, may_go_on: Callable[[], bool]) -> None:
    """A ``Learn``."""


def learn_no_more(may_go_on: Callable[[], bool]) -> None:
    """A ``LearnMore``."""


@dataclass(frozen=True, eq=False)
class SlowJob:
    """A key frame on its way to Sh."""

    frame: SeenFrame
    ready: torch.cuda.Event | None = None  # when the fast track's CUDA stream has finished with the frame
    whole: NDArray[np.uint8] | None = None  # (H, W, 3) RGB, the camera's frame, for a network that looks at that

    def image(self) -> Tensor:
        """What Sh looks at, (1, 3, H, W) uint8 RGB, on the fast track's device."""
        return self.frame.image if self.whole is None else as_image(self.whole, self.frame.image.device)


@dataclass(frozen=True, eq=False)
class SlowResult:
    """What became of a job: a key frame with an accurate answer, or the reason why there is none."""

    key: KeyFrame | None
    error: str
    milliseconds: float
    own: Answer | None = None  # as the slow network gave it, not as it is carried, where the caller waited


@dataclass(frozen=True)
class SlowTrackCounts:
    """A lane's state, and its runs of Sh since it was opened."""

    busy: bool  # a job of this lane is in work
    waiting: bool  # another one waits
    done: int
    failed: int
    discarded: int  # jobs replaced by a newer one or dropped by a reset
    last_milliseconds: float  # of the last run of Sh; nan before the first
    restarts: int = 0  # of the slow track's thread, which all lanes share
    given_up: str = ""  # why nothing will ever come of the slow track again


class SlowLane(ABC):
    """At most one job in work and one, the newest, waiting (contract 4). An engine and the slow track share it."""

    def __init__(
        self,
        network: SlowNetwork,
        changed: threading.Condition,
        prepare: Prepare,
        learn: Learn,
        learn_more: LearnMore,
    ) -> None:
        """``changed`` guards every field; it is notified when there is work or a result."""
        self.network = network
        self.prepare = prepare
        self._learn = learn
        self._learn_more = learn_more
        self.was_interrupted = False  # the last lesson, for another camera's key frame
        self._changed = changed
        self._waiting: SlowJob | None = None
        self._in_work: SlowJob | None = None
        self._in_work_is_stale = False
        self._results: list[SlowResult] = []  # two at most: one in work and one waiting since the last collect
        self._done = self._failed = self._discarded = 0
        self._last_milliseconds = float("nan")
        self._notices: list[str] = []

    # --- the engine's side -------------------------------------------------------------------------------------------

    def submit(self, job: SlowJob) -> None:
        """Hand in a key frame without waiting; a key frame that still waits gives way to it."""
        with self._changed:
            self._discarded += self._waiting is not None
            self._waiting = job
            self._changed.notify_all()

    def collect(self) -> list[SlowResult]:
        """Results since the last call, oldest first. Does not wait."""
        with self._changed:
            results, self._results = self._results, []
            return results

    def run_in_place(self, job: SlowJob) -> SlowResult:
        """Run Sh in the caller's thread, on its current CUDA stream, and count it."""
        given: list[Answer] = []  # kept for this call alone: a large network's logits are large

        def prepare(answer: Answer, frame: SeenFrame) -> Answer:
            given.append(answer)
            return self.prepare(answer, frame)

        result = run_slow_network(self.network, job, prepare)
        with self._changed:
            self._count(result)
        self.learn(result, may_go_on=lambda: False)  # the caller waits: one step
        return result if result.key is None else replace(result, own=given[0])

    @abstractmethod
    def watch(self) -> None:
        """Look after what runs Sh, where it can die or hang; the engine asks for that with every frame."""

    def reset(self) -> None:
        """Drop every frame handed in so far: the waiting job, the one in work once it is done, results not collected.

        Failures among these results are still reported.
        """
        with self._changed:
            results, self._results = self._results, [result for result in self._results if result.key is None]
            self._discarded += len(results) - len(self._results) + (self._waiting is not None)
            self._waiting = None
            self._in_work_is_stale = self._in_work is not None

    def counts(self) -> SlowTrackCounts:
        with self._changed:
            return SlowTrackCounts(
                busy=self._in_work is not None,
                waiting=self._waiting is not None,
                done=self._done,
                failed=self._failed,
                discarded=self._discarded,
                last_milliseconds=self._last_milliseconds,
            )

    def now(self) -> int:
        """Nanoseconds on the slow track's clock: the monotonic one, where time is not simulated."""
        return time.monotonic_ns()

    @abstractmethod
    def has_idle_time(self) -> bool:
        """Whether the slow track has nothing to do, for other cameras either, and may take a frame that is not due."""

    @abstractmethod
    def warm_up(self, job: SlowJob) -> SlowResult:
        """Run Sh once where this lane's jobs run, wait for it, and leave the lane as it was."""

    # --- the slow track's side ---------------------------------------------------------------------------------------

    @property
    def owes_result(self) -> bool:
        """Whether a frame that was handed in will still come back, as a key frame or as a failure."""
        with self._changed:
            is_coming = self._in_work is not None and not self._in_work_is_stale
            # Results too: one may arrive between the engine's look at them and this question.
            return self._waiting is not None or is_coming or bool(self._results)

    @property
    def is_at_work(self) -> bool:
        """Whether Sh is busy with a frame of this lane whose result will count."""
        with self._changed:
            return self._in_work is not None and not self._in_work_is_stale

    @property
    def has_job_in_work(self) -> bool:
        """Whether a job was taken and nothing has become of it yet, be it stale."""
        with self._changed:
            return self._in_work is not None

    @property
    def has_waiting(self) -> bool:
        with self._changed:
            return self._waiting is not None

    def take(self) -> SlowJob:
        """Take the waiting job into work."""
        with self._changed:
            if self._waiting is None or self._in_work is not None:
                raise RuntimeError("a job can be taken only while one waits and none is in work")
            job, self._waiting = self._waiting, None
            self._in_work, self._in_work_is_stale = job, False
            return job

    def finish(self, result: SlowResult) -> None:
        """Publish what became of the job in work, unless a reset has made it stale."""
        with self._changed:
            self._count(result)
            if result.key is not None and self._in_work_is_stale:
                self._discarded += 1
            else:
                self._results.append(result)
            self._in_work = None
            self._changed.notify_all()

    def learn(self, result: SlowResult, may_go_on: Callable[[], bool] = lambda: True) -> None:
        """Let the propagation learn from an answer that has been handed over: no key frame waits for that.

        What goes wrong is told with the results; labels go on as they were.
        """
        if result.key is not None:
            self._guarded(partial(self._learn, result.key, may_go_on))

    def learn_more(self, may_go_on: Callable[[], bool]) -> None:
        """Go on with the lesson that was interrupted."""
        self.was_interrupted = False
        self._guarded(partial(self._learn_more, may_go_on))

    def _guarded(self, lesson: Callable[[], None]) -> None:
        try:
            with torch.inference_mode():
                lesson()
        except Exception as error:  # contract 5: whatever happens in the slow track, the fast track goes on
            self.notify(f"the propagation could not learn: {describe_error(error)}")

    def notify(self, notice: str) -> None:
        """Let the engine tell something that happened in the slow track, in a sentence."""
        with self._changed:
            self._notices.append(notice)

    def take_notices(self) -> list[str]:
        """Since the last call."""
        with self._changed:
            notices, self._notices = self._notices, []
            return notices

    def _count(self, result: SlowResult) -> None:
        self._done += result.key is not None
        self._failed += result.key is None
        self._last_milliseconds = result.milliseconds


class SlowTrack(Protocol):
    """Where a slow network runs for one or several cameras."""

    @property
    def network(self) -> SlowNetwork: ...

    def open_lane(
        self, prepare: Prepare = as_it_is, learn: Learn = learn_nothing, learn_more: LearnMore = learn_no_more
    ) -> SlowLane:
        """A place for one more camera, with what its propagation does with each answer before and after it is there."""
        ...


@torch.inference_mode()
def run_slow_network(
    network: SlowNetwork, job: SlowJob, prepare: Prepare = as_it_is, stream: TrackStream | None = None
) -> SlowResult:
    """The slow network on one key frame, whatever happens: exceptions, nan and infinite values become the ``error``.

    Args:
        prepare: what is handed over of the answer.
        stream: what the thread's kernels go to; it is waited for, since other streams will read the result. None where
            the caller goes on with the same stream.
    """
    started = time.perf_counter_ns()
    key, error = None, ""
    try:
        key = _accurate_key(network, job, prepare, stream)
    except Exception as failure:
        # Contract 5: whatever goes wrong, out of memory included, is reported and the fast track goes on.
        # In words only: the exception itself would keep the network's tensors alive.
        error = describe_error(failure)
    return SlowResult(key, error, (time.perf_counter_ns() - started) / 1e6)


def describe_error(error: Exception) -> str:
    """An exception in one line."""
    return printable(f"{type(error).__name__}: {' '.join(str(error).split())}")


def _accurate_key(network: SlowNetwork, job: SlowJob, prepare: Prepare, stream: TrackStream | None) -> KeyFrame:
    try:
        answer = network.answer(job.image(), job.frame.low.low)
        require_finite(answer)
        prepared = prepare(answer, job.frame)
    finally:
        if stream is not None:
            stream.wait()  # also where it failed: kernels already queued still read the frame's tensors
    return KeyFrame(job.frame, prepared, is_accurate=True)


def require_finite(answer: Answer) -> None:
    """Raises FloatingPointError where a logit or an element of the feature is none."""
    tensors = [tensor for tensor in (answer.logits, answer.feature) if tensor is not None]
    if not bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all()):
        raise FloatingPointError("Sh gave values that are nan or infinite")

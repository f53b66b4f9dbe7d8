"""One camera's place at the slow track: what goes in, what comes out, and what is counted."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from lowlat_seg_ros.runtime.track_stream import TrackStream
from lowlat_seg_ros.stream.key_frame import KeyFrame, SeenFrame
from lowlat_seg_ros.stream.networks import SlowNetwork


@dataclass(frozen=True, eq=False)
class SlowJob:
    """A key frame on its way to Sh."""

    frame: SeenFrame
    ready: torch.cuda.Event | None = None  # when the fast track's CUDA stream has finished with the frame


@dataclass(frozen=True, eq=False)
class SlowResult:
    """What became of a job: a key frame with an accurate feature, or the reason why there is none."""

    key: KeyFrame | None
    error: str
    milliseconds: float


@dataclass(frozen=True)
class SlowTrackCounts:
    """A lane's state, and its runs of Sh since it was opened."""

    busy: bool  # a job of this lane is in work
    waiting: bool  # another one waits
    done: int
    failed: int
    discarded: int  # jobs replaced by a newer one or dropped by a reset
    last_milliseconds: float  # of the last run of Sh; nan before the first


class SlowLane(ABC):
    """At most one job in work and one, the newest, waiting (contract 4). An engine and the slow track share it."""

    def __init__(self, network: SlowNetwork, changed: threading.Condition) -> None:
        """``changed`` guards every field; it is notified when there is work or a result."""
        self.network = network
        self._changed = changed
        self._waiting: SlowJob | None = None
        self._in_work: SlowJob | None = None
        self._in_work_is_stale = False
        self._results: list[SlowResult] = []  # two at most: one in work and one waiting since the last collect
        self._done = self._failed = self._discarded = 0
        self._last_milliseconds = float("nan")

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

    def run_in_place(self, frame: SeenFrame) -> SlowResult:
        """Run Sh in the caller's thread, on its current CUDA stream, and count it."""
        result = run_sh(self.network, frame)
        with self._changed:
            self._count(result)
        return result

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

    def _count(self, result: SlowResult) -> None:
        self._done += result.key is not None
        self._failed += result.key is None
        self._last_milliseconds = result.milliseconds


@torch.inference_mode()
def run_sh(network: SlowNetwork, frame: SeenFrame, stream: TrackStream | None = None) -> SlowResult:
    """Sh on one frame, whatever happens: its exceptions and its nan or infinite values become the result's ``error``.

    Args:
        stream: what the thread's kernels go to; it is waited for, since other streams will read the result. None where
            the caller goes on with the same stream.
    """
    started = time.perf_counter_ns()
    key, error = None, ""
    try:
        key = _accurate_key(network, frame, stream)
    except Exception as failure:
        # Contract 5: whatever goes wrong in Sh, out of memory included, is reported and the fast track goes on.
        # In words only: the exception itself would keep Sh's tensors alive.
        error = describe_error(failure)
    return SlowResult(key, error, (time.perf_counter_ns() - started) / 1e6)


def describe_error(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _accurate_key(network: SlowNetwork, frame: SeenFrame, stream: TrackStream | None) -> KeyFrame:
    try:
        high = network.high_features(frame.image, frame.low.low)
        logits = None if frame.motion_picture is None else network.classify(high)
        is_finite = torch.isfinite(high).all()
    finally:
        if stream is not None:
            stream.wait()  # also where Sh failed: kernels already queued still read the frame's tensors
    if not bool(is_finite):
        raise FloatingPointError("Sh gave values that are nan or infinite")
    return KeyFrame.of(frame, high, logits, is_accurate=True)

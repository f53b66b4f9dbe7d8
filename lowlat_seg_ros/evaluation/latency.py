"""The paper's figure 1: accuracy against latency, the two tracks beside single-frame networks, timed in one run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedFrame
from lowlat_seg_ros.evaluation.per_frame_network import full_network, single_frame_network
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.fast.pictures import Size
from lowlat_seg_ros.fast.registry import PropagationKind
from lowlat_seg_ros.runtime.machine import cpu_model, instruction_sets, usable_cores
from lowlat_seg_ros.runtime.threads import ThreadCounts
from lowlat_seg_ros.slow.registry import Tracks
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import KeyFramePolicy
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack
from lowlat_seg_ros.stream.time_share import DEFAULT_SHARE

TWO_TRACKS: Final = "two tracks"
HOPELESS: Final = 1.5  # times as long as the same network elsewhere: it is not timed after the first round
LOAD_AT_START: Final = os.getloadavg()[0]  # before this process has scored anything, which would be in it
WARM_UP_CALLS: Final = 3


@dataclass(frozen=True)
class LatencySettings:
    """How the candidates are timed."""

    rate_hz: float  # at which frames come
    rounds: int  # through the whole clip, of every candidate in turn


@dataclass(frozen=True)
class LatencyRow:
    """One candidate: what its labels are worth and how long a frame takes, from the picture to its labels."""

    name: str
    threads: str  # of PyTorch
    mean_iou: float  # of the labels of all timed rounds; a fraction of one
    frames: int  # timed
    mean_ms: float
    median_ms: float
    p99_ms: float
    max_ms: float
    usual_max_ms: float  # median of the rounds' longest frames
    key_frame_ratio: float | None = None  # of the engine's frames
    slow_track_ms: float | None = None  # two tracks: median of Sh beside the fast track


@dataclass(frozen=True)
class LatencyReport:
    """All candidates, and how they were timed."""

    rows: tuple[LatencyRow, ...]
    machine: str
    load: float  # of the last minute before the command began; above the number of cores something else was running
    rate_hz: float
    rounds: int

    def conditions(self) -> str:
        """In words; whether the times can be compared with those of another run."""
        busy = ", busy with something else: its times do not compare" if self.load > usable_cores() else ""
        return f"{self.machine}, load {self.load:.1f}{busy}"


Label = Callable[[EvaluatedFrame], NDArray[np.uint8]]


class Candidate(Protocol):
    """A way to label the clip that can be timed."""

    name: str
    network: str  # of several candidates that are one network in several runtimes
    threads: int  # of PyTorch, in the calling thread
    threads_in_words: str  # all that it has

    def start(self) -> AbstractContextManager[Label]:
        """Get ready for one run through the clip; gives what labels its frames in turn."""

    def slow_track_ms(self) -> list[float]:
        """Of each run of Sh in a slow track so far; empty where there is none."""

    def key_frame_ratio(self) -> float | None:
        """Of all frames so far; None where there are no key frames."""


class SingleFrameCandidate:
    """A network that looks at one frame at a time."""

    def __init__(
        self,
        name: str,
        label: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
        input_size: Size,
        threads: int,
        network: str = "",
    ) -> None:
        """``label``: a picture's class ids; ``input_size`` (width, height) is that of those which warm it up."""
        self.name, self.network = name, network or name
        self.threads = threads
        self.threads_in_words = str(threads)
        self._input_size = input_size
        self._label = label

    @contextmanager
    def start(self) -> Iterator[Label]:
        width, height = self._input_size
        for _ in range(WARM_UP_CALLS):
            self._label(np.zeros((height, width, 3), np.uint8))
        yield lambda frame: self._label(frame.image)

    def slow_track_ms(self) -> list[float]:
        return []

    def key_frame_ratio(self) -> float | None:
        return None


class TwoTracksCandidate:
    """The engine as the node runs it: low latency, and Sh beside it in its own thread; or with key frames that wait.

    Every run through the clip starts afresh, so that the first frames, which have Sl's labels, are in the scores.
    """

    def __init__(
        self,
        tracks: Tracks,
        policy: KeyFramePolicy,
        propagation: str | PropagationKind,
        threads: ThreadCounts,
        rate_hz: float,
        *,
        name: str = TWO_TRACKS,
        low_latency: bool = True,
        slow_track_share: float = DEFAULT_SHARE,
    ) -> None:
        """``rate_hz``: of the frames' stamps. What waits for Sh has all threads for itself."""
        self.name = self.network = name
        self.threads = threads.fast if low_latency else threads.fast + threads.slow
        self.threads_in_words = f"{threads.fast} + {threads.slow}" if low_latency else str(self.threads)
        self._tracks = tracks
        self._policy = policy
        self._propagation = propagation
        self._low_latency = low_latency
        self._slow_threads, self._share = threads.slow, slow_track_share
        self._period = 1e9 / rate_hz
        self._slow_track_ms: list[float] = []
        self._is_key_frame: list[bool] = []
        self._runs_seen = 0

    @contextmanager
    def start(self) -> Iterator[Label]:
        with (
            ThreadedSlowTrack(self._tracks.slow, intra_op_threads=self._slow_threads, share=self._share) as track,
            closing(self._engine(track)) as engine,
        ):
            engine.warm_up()
            self._runs_seen = 0
            yield partial(self._label, engine)

    def _engine(self, track: ThreadedSlowTrack) -> StreamEngine:
        return StreamEngine(
            self._tracks.fast, track, self._policy, propagation=self._propagation, low_latency=self._low_latency
        )

    def _label(self, engine: StreamEngine, frame: EvaluatedFrame) -> NDArray[np.uint8]:
        result = engine.segment(frame.image, round(frame.index * self._period))
        self._is_key_frame.append(result.is_key_frame)
        if result.slow_track.done > self._runs_seen:
            self._slow_track_ms.append(result.slow_track.last_milliseconds)
        self._runs_seen = result.slow_track.done
        return result.labels

    def slow_track_ms(self) -> list[float]:
        return self._slow_track_ms

    def key_frame_ratio(self) -> float | None:
        return sum(self._is_key_frame) / len(self._is_key_frame)


@dataclass
class Timed:
    """What one candidate has done so far."""

    matrix: ConfusionMatrix
    rounds: list[list[float]] = field(default_factory=list)  # milliseconds of each one's frames


def measure_latency(
    candidates: Sequence[Candidate],
    frames: Sequence[EvaluatedFrame],
    new_matrix: Callable[[], ConfusionMatrix],
    settings: LatencySettings,
) -> LatencyReport:
    """Every candidate goes through the clip at its rate in every round, one after the other (A B C A B C).

    So whatever else the machine does falls on all alike, and each one finds the caches as its neighbours left them and
    the pauses between frames that a camera leaves. A candidate that is slower than the camera goes on at once; its
    latency is its own, without waiting. Where a network is much quicker in another runtime, it is not timed after the
    first round.
    """
    timed = [Timed(new_matrix()) for _ in candidates]
    left = list(zip(candidates, timed, strict=True))
    callers_threads = torch.get_num_threads()
    try:
        for number in tqdm(range(settings.rounds), desc="latency", leave=False, disable=None):
            for candidate, record in left:
                torch.set_num_threads(candidate.threads)
                _run(candidate, frames, settings.rate_hz, record)
            if number == 0:  # in a later one a moment's noise would cost a runtime what it has shown
                left = without_hopeless(left)
    finally:
        torch.set_num_threads(callers_threads)
    rows = tuple(_row(candidate, record) for candidate, record in zip(candidates, timed, strict=True))
    machine = f"{cpu_model()} ({instruction_sets()}), {usable_cores()} cores, torch {torch.__version__}"
    return LatencyReport(rows, machine, LOAD_AT_START, settings.rate_hz, settings.rounds)


def without_hopeless(timed: Sequence[tuple[Candidate, Timed]]) -> list[tuple[Candidate, Timed]]:
    """Those that took no more than ``HOPELESS`` times as long in the last round as their network at its quickest."""
    medians = [float(np.median(record.rounds[-1])) for _, record in timed]
    quickest: dict[str, float] = {}
    for (candidate, _), median in zip(timed, medians, strict=True):
        quickest[candidate.network] = min(median, quickest.get(candidate.network, median))
    return [each for each, median in zip(timed, medians, strict=True) if median <= HOPELESS * quickest[each[0].network]]


def _run(candidate: Candidate, frames: Sequence[EvaluatedFrame], rate_hz: float, record: Timed) -> None:
    record.rounds.append([])
    with candidate.start() as label:
        for arrival, frame in _paced(frames, rate_hz):
            labels = label(frame)
            milliseconds = (time.perf_counter() - arrival) * 1000
            record.matrix.add(labels, frame.truth)
            record.rounds[-1].append(milliseconds)


def _paced(frames: Sequence[EvaluatedFrame], rate_hz: float) -> Iterator[tuple[float, EvaluatedFrame]]:
    """Each frame at its time, or at once where its time is over, with the time it is given out."""
    start = time.perf_counter()
    for number, frame in enumerate(frames):
        time.sleep(max(0.0, start + number / rate_hz - time.perf_counter()))
        yield time.perf_counter(), frame


def _row(candidate: Candidate, record: Timed) -> LatencyRow:
    by_round = np.asarray(record.rounds)
    median, p99, longest = np.percentile(by_round, (50, 99, 100)).tolist()
    slow = candidate.slow_track_ms()
    return LatencyRow(
        name=candidate.name,
        threads=candidate.threads_in_words,
        mean_iou=record.matrix.mean_iou(),
        frames=by_round.size,
        mean_ms=float(by_round.mean()),
        median_ms=median,
        p99_ms=p99,
        max_ms=longest,
        usual_max_ms=float(np.median(by_round.max(axis=1))),
        key_frame_ratio=candidate.key_frame_ratio(),
        slow_track_ms=float(np.median(slow)) if slow else None,
    )


def candidates_of(
    tracks: Tracks,
    policy: KeyFramePolicy,
    propagation: str,
    threads: ThreadCounts,
    single_frame_threads: int,
    rate_hz: float,
    slow_track_share: float = DEFAULT_SHARE,
) -> list[Candidate]:
    """The two tracks, and both single-frame networks: Sl alone where it knows the slow network's classes."""
    size = tracks.fast.config.input_size
    labellers: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {"full network": full_network(tracks)}
    if tracks.fast.classes == tracks.slow.classes:
        labellers = {"Sl alone": single_frame_network(tracks.fast), **labellers}
    return [
        TwoTracksCandidate(tracks, policy, propagation, threads, rate_hz, slow_track_share=slow_track_share),
        *(SingleFrameCandidate(name, label, size, single_frame_threads) for name, label in labellers.items()),
    ]

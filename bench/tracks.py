"""Section 2, per frame over a clip: either network alone, two tracks that wait for Sh, and two tracks with low latency.

Frames come at the clip's own pace, the slow track idle, busy all the time, or as scheduled.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import median
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch

from bench.clip import NANOSECONDS_A_SECOND, Frame, Pacer
from bench.measuring import in_turn, rounded, spread_mapping
from bench.slow_work import ShRun, WatchedSlowNetwork
from lowlat_seg_ros.evaluation.per_frame_network import PerFrameNetwork, single_frame_network
from lowlat_seg_ros.fast.frames import SeenFrame
from lowlat_seg_ros.fast.pictures import Preprocessor, Size, frame_size
from lowlat_seg_ros.fast.registry import AUTO
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.replay.settings import PolicySettings
from lowlat_seg_ros.runtime.threads import ThreadCounts
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import PredictedDeviation
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.slow_lane import SlowTrack
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

SystemName = Literal[
    "full network",
    "small network",
    "two tracks, key frames wait",
    "two tracks, low latency",
    "two tracks, low latency, adaptive",
]
Condition = Literal["idle", "busy", "as scheduled", "no idle key frames"]
FULL: Final = "full network"
SMALL: Final = "small network"
WAITING: Final = "two tracks, key frames wait"
LOW_LATENCY: Final = "two tracks, low latency"
ADAPTIVE: Final = "two tracks, low latency, adaptive"

CPU: Final = torch.device("cpu")
NOT_KEPT: Final = np.empty((0, 0), np.uint8)

SETTLING_FRAMES: Final = 2
"""Frames at the beginning of a turn that are not counted: the processor's caches still hold the turn before."""

TIMELINE_FRAMES: Final = 20

AS_SCHEDULED: Final = PolicySettings().policy()  # the node's default
NO_IDLE_KEYS: Final = PolicySettings(idle_threshold=1.0).policy()
FIRST_STAMP: Final = 0
"""Nanoseconds, of the frame that a stream begins with: earlier than any that is played."""

NO_KEY_FRAMES: Final = PredictedDeviation(threshold=1.0)
"""Measures as every other frame does and never wants a key frame: a fraction of pixels is not above 1."""


class Case(NamedTuple):
    """A system, and what its slow track does meanwhile.

    idle: no key frame after the first. as scheduled: key frames by the node's default policy. busy: as scheduled, and
    the slow track runs Sh over and over besides, as for another camera. no idle key frames: as scheduled, but for those
    that the slow track takes because it is idle. A network on every frame has no key frames: idle is how it runs alone,
    and there is nothing to schedule. The small network is Sl with a classifier of its own. Two tracks propagate as the
    node does by default, but for those that are named adaptive.
    """

    system: SystemName
    slow_track: Condition


CASES: Final = (
    Case(LOW_LATENCY, "idle"),  # first, so that its first frame is the first after the warm-up
    Case(FULL, "idle"),
    Case(SMALL, "idle"),
    Case(WAITING, "idle"),
    Case(FULL, "busy"),
    Case(WAITING, "busy"),
    Case(LOW_LATENCY, "busy"),
    Case(WAITING, "as scheduled"),
    Case(LOW_LATENCY, "as scheduled"),
    Case(LOW_LATENCY, "no idle key frames"),
    Case(ADAPTIVE, "as scheduled"),
    Case(ADAPTIVE, "no idle key frames"),
)


class TimedFrame(NamedTuple):
    """One frame's way. Nanoseconds on the monotonic clock; ``result`` where a stream engine made the labels."""

    number: int
    due: int
    began: int
    ended: int
    result: SegmentationResult | None

    @property
    def milliseconds(self) -> float:
        """From being handed in to its labels."""
        return (self.ended - self.began) / 1e6

    @property
    def milliseconds_since_due(self) -> float:
        """The labels' age: also what it waited for the frame before it."""
        return (self.ended - self.due) / 1e6

    @property
    def is_key_frame(self) -> bool:
        return self.result is not None and self.result.is_key_frame


@dataclass(frozen=True)
class Turn:
    """The frames of one turn of one case, and the slow track's runs of Sh meanwhile."""

    first_ms: float  # of a stream's very first frame, before these; nan for a network on every frame
    frames: list[TimedFrame]
    skipped: int
    sh_runs: list[ShRun]
    cpu_ms: float  # of this process, by frame, both tracks together

    @property
    def counted(self) -> list[TimedFrame]:
        """Without those that settle the caches."""
        return self.frames[SETTLING_FRAMES:]


class TracksRig:
    """One network in all five systems, ready to be played to; a context manager that restores torch's threads."""

    def __init__(
        self,
        network: SegmentationNetwork,
        frames: Sequence[Frame],
        rate_hz: float,
        threads: ThreadCounts,
        threads_alone: int,
        pacer_of: Callable[[int, int], Pacer] = Pacer,
    ) -> None:
        """
        Args:
            network: ready for inference, on the CPU.
            frames: of the clip.
            rate_hz: of the clip.
            threads: of the two tracks.
            threads_alone: of a network on every frame, which has the machine to itself.
            pacer_of: makes a turn's pacer from the clip's period in nanoseconds and its number of frames.
        """
        self._frames = frames
        self._period = round(NANOSECONDS_A_SECOND / rate_hz)
        self._pacer_of = pacer_of
        self._threads = threads
        self._threads_alone = threads_alone
        self._callers_threads = torch.get_num_threads()
        torch.set_num_threads(threads.fast)
        self._watched = WatchedSlowNetwork(network)
        self._slow_track = ThreadedSlowTrack(self._watched, intra_op_threads=threads.slow)
        usual = warm_engine(network, self._slow_track, frames[0])
        adaptive = warm_engine(network, self._slow_track, frames[0], propagation="adaptive")
        self._engines = {WAITING: usual, LOW_LATENCY: usual, ADAPTIVE: adaptive}
        self.seen = see_frame(network, frames[0])
        self._alone = {FULL: PerFrameNetwork(network, network), SMALL: single_frame_network(network)}
        torch.set_num_threads(threads_alone)
        for on_every_frame in self._alone.values():
            on_every_frame(frames[0])  # a runtime compiles for its threads

    def __enter__(self) -> TracksRig:
        return self

    def __exit__(self, *error: object) -> None:
        self._slow_track.close()
        torch.set_num_threads(self._callers_threads)

    def turn(self, case: Case, frame_count: int, first: int = 0) -> Turn:
        """Play ``frame_count`` frames of the clip, from number ``first`` on and in a circle, to a system."""
        self._let_slow_track_rest()
        first_ms, label = self._labeller(case, self._frames[first % len(self._frames)])
        frames = [self._frames[(first + number) % len(self._frames)] for number in range(frame_count)]
        before, cpu = len(self._watched.runs), time.process_time()
        with self._slow_track_as(case.slow_track):
            pacer = self._pacer_of(self._period, frame_count)
            timed = [_timed(label, frames[index], index, due) for index, due in pacer]
        self._wait_for_slow_track()  # what these frames have given it to do counts as theirs
        cpu_ms = (time.process_time() - cpu) * 1000 / max(1, len(timed))
        return Turn(first_ms, timed, pacer.skipped, self._watched.runs[before:], cpu_ms)

    def _let_slow_track_rest(self) -> None:
        """Forget the turn before, and wait for what it has left the slow track to do, lessons included."""
        for engine in self._engines.values():
            engine.reset("another turn")
        self._wait_for_slow_track()

    def _wait_for_slow_track(self) -> None:
        while self._slow_track.is_at_work:
            time.sleep(0.001)

    def _labeller(self, case: Case, first: Frame) -> tuple[float, Callable[[Frame, int], SegmentationResult | None]]:
        """Milliseconds of a stream's first frame, and what labels the frames after it."""
        if case.system in self._alone:
            torch.set_num_threads(self._threads_alone)
            return math.nan, partial(_without_result, self._alone[case.system])
        torch.set_num_threads(self._threads.fast)
        engine = self._engines[case.system]
        engine.low_latency = case.system != WAITING
        first_ms = begin_stream(engine, first)
        self._wait_for_slow_track()
        policies = {"idle": NO_KEY_FRAMES, "no idle key frames": NO_IDLE_KEYS}
        engine.policy = policies.get(case.slow_track, AS_SCHEDULED)
        return first_ms, engine.segment

    def _slow_track_as(self, condition: Condition) -> AbstractContextManager[None]:
        return self._watched.busy(self._slow_track, self.seen) if condition == "busy" else nullcontext()


def _without_result(network: PerFrameNetwork, frame: Frame, due: int) -> None:
    network(frame)


def warm_engine(
    network: SegmentationNetwork,
    track: SlowTrack,
    frame: Frame,
    device: torch.device = CPU,
    propagation: str = AUTO,
) -> StreamEngine:
    """An engine as the node has it, ready for frames of this one's size."""
    engine = StreamEngine(network, track, AS_SCHEDULED, device=device, propagation=propagation)
    engine.warm_up(frame_size(frame))
    return engine


def begin_stream(engine: StreamEngine, frame: Frame) -> float:
    """Give an engine that was reset its first key frame; returns the milliseconds of the first frame's call.

    ``frame`` is handed in until its labels are propagated from an accurate key frame, at FIRST_STAMP: the frames to
    come are later whatever their clock. Raises RuntimeError if Sh fails on it.
    """
    engine.policy = NO_KEY_FRAMES
    first = engine.segment(frame, FIRST_STAMP)
    result = first
    while not (result.key_is_accurate and result.key_age_frames > 0):
        if result.slow_track.failed:
            raise RuntimeError(f"a stream cannot begin: {' '.join(result.warnings) or 'Sh failed'}")
        time.sleep(0.001)
        result = engine.segment(frame, FIRST_STAMP)
    return first.milliseconds.total


def _timed(label: Callable[[Frame, int], SegmentationResult | None], frame: Frame, index: int, due: int) -> TimedFrame:
    began = time.monotonic_ns()
    result = label(frame, due)
    ended = time.monotonic_ns()
    if result is not None:
        # As the node lets go of it: what is kept of each frame makes every frame wait for new pages.
        result = replace(result, evidence=None, labels=NOT_KEPT)
    return TimedFrame(index, due, began, ended, result)


@torch.inference_mode()
def see_frame(
    network: SegmentationNetwork, frame: Frame, device: torch.device = CPU, size: Size | None = None
) -> SeenFrame:
    """A frame that Sl has seen, at its own size unless another one is given; ``network`` lies on ``device``."""
    image = Preprocessor(size or network.config.input_size, device)(frame)
    seen = SeenFrame(0, 0, image, network.low_features(image))
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # before any frame: the slow track's stream will read it
    return seen


def measure_tracks(rig: TracksRig, rounds: int, frames_a_turn: int) -> dict[str, Any]:
    """Every case once a round, all of them on the same frames in a round.

    Args:
        rig: ready to be played to.
        rounds: turns of each case.
        frames_a_turn: frames of the clip that are due in a turn.
    """
    cases = {case: _of(rig, case, frames_a_turn) for case in CASES}
    turns = in_turn(cases, rounds)
    scheduled = turns[Case(LOW_LATENCY, "as scheduled")] + turns[Case(LOW_LATENCY, "busy")]
    first, later = first_frames_in_order(turns, rounds)
    return {
        "rounds": rounds,
        "frames_a_turn": frames_a_turn,
        "rows": [_row(case, turns[case]) for case in CASES],
        "key_frames": {
            "key": spread_mapping(_milliseconds(turn, is_key_frame=True) for turn in scheduled),
            "other": spread_mapping(_milliseconds(turn, is_key_frame=False) for turn in scheduled),
        },
        "timeline": timeline_record(turns[Case(LOW_LATENCY, "as scheduled")][-1]),
        "first_frame": {"first_ms": first, "later_first_frames": spread_mapping([later])},
    }


def timeline_record(turn: Turn) -> dict[str, Any]:
    """Both tracks over TIMELINE_FRAMES frames of a turn, in milliseconds since the first of these was due."""
    frames = turn.counted[:TIMELINE_FRAMES]
    if not frames:
        return {"frames": [], "sh_runs": []}
    start, end = frames[0].due, frames[-1].ended
    return rounded(
        {
            "frames": [
                {
                    "due": (frame.due - start) / 1e6,
                    "began": (frame.began - start) / 1e6,
                    "ended": (frame.ended - start) / 1e6,
                    "is_key_frame": frame.is_key_frame,
                    "stages": asdict(frame.result.milliseconds) if frame.result else {},
                }
                for frame in frames
            ],
            "sh_runs": [
                [(run.began - start) / 1e6, (run.ended - start) / 1e6]
                for run in turn.sh_runs
                if run.in_slow_track and start < run.ended and run.began < end
            ],
        }
    )


def first_frames_in_order(turns: dict[Case, list[Turn]], rounds: int) -> tuple[float, list[float]]:
    """Milliseconds of the very first frame after the warm-up, and of the first frames of all later streams.

    Of the node's default system, low latency; a stream begins while the slow track rests, whatever its turn's case.
    """
    cases = [case for case in CASES if case.system == LOW_LATENCY]
    ordered = [turns[case][number].first_ms for number in range(rounds) for case in cases]
    return ordered[0], ordered[1:]


def _of(rig: TracksRig, case: Case, frames_a_turn: int) -> Callable[[int], Turn]:
    return lambda number: rig.turn(case, frames_a_turn, first=number * frames_a_turn)


def _row(case: Case, turns: Sequence[Turn]) -> dict[str, Any]:
    frames = [frame for turn in turns for frame in turn.counted]
    return {
        "system": case.system,
        "slow_track": case.slow_track,
        "latency_ms": spread_mapping([frame.milliseconds for frame in turn.counted] for turn in turns),
        "age_ms": spread_mapping([frame.milliseconds_since_due for frame in turn.counted] for turn in turns),
        "key_frames": sum(frame.is_key_frame for frame in frames),
        "skipped": sum(turn.skipped for turn in turns),
        "cpu_ms": rounded(median(turn.cpu_ms for turn in turns)),
        "sh_ms": spread_mapping(
            [(run.ended - run.began) / 1e6 for run in turn.sh_runs if run.in_slow_track] for turn in turns
        ),
        "frames_late": spread_mapping(frames_late(turn.frames) for turn in turns),
    }


def frames_late(frames: Sequence[TimedFrame]) -> list[float]:
    """How many frames after its key frame each of Sh's answers was first used, as `lowlat-seg evaluate` counts them."""
    late: dict[int, float] = {}
    for result in (frame.result for frame in frames if frame.result is not None):
        if result.key_is_accurate and result.key_stamp != FIRST_STAMP:
            late.setdefault(result.key_stamp, result.key_age_frames)
    return list(late.values())


def _milliseconds(turn: Turn, *, is_key_frame: bool) -> list[float]:
    return [frame.milliseconds for frame in turn.counted if frame.is_key_frame == is_key_frame]

"""The ways to label a drive that a replay compares: the two tracks, the full network, a fast single-frame network.

`Worker` gives them the frames as the node's executor does: one at a time, and of each camera only the newest waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.evaluation.per_frame_network import single_frame_network
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.replay.clocks import NANOSECONDS_A_SECOND
from lowlat_seg_ros.replay.frames import ReplayFrame
from lowlat_seg_ros.replay.problems import Problems
from lowlat_seg_ros.replay.profile import Profile
from lowlat_seg_ros.replay.settings import ReplaySettings
from lowlat_seg_ros.slow.registry import Tracks
from lowlat_seg_ros.stream.engine import BACKWARD_STAMP_TOLERANCE, StreamEngine
from lowlat_seg_ros.stream.result import SegmentationResult, has_key
from lowlat_seg_ros.stream.scheduled_slow_track import ScheduledSlowTrack
from lowlat_seg_ros.stream.slow_lane import SlowTrackCounts

NEVER: Final = -1
TOLERANCE: Final = round(BACKWARD_STAMP_TOLERANCE * NANOSECONDS_A_SECOND)


class Labelled(NamedTuple):
    """A frame's labels and what they cost."""

    labels: NDArray[np.uint8]  # (H, W) of the frame
    duration: int  # nanoseconds in the worker
    result: SegmentationResult | None = None  # where a stream engine made them
    key_distance: int | None = None  # camera frames between the key frame that they came from, if any, and this one


class System(Protocol):
    """One way to label frames. Deterministic: it knows no clock but ``now``."""

    name: str
    description: str

    def label(self, frame: ReplayFrame, now: int) -> Labelled | None:
        """Label a frame that the worker takes at ``now``, nanoseconds of simulated time; None for one that it drops."""


class SlowTrackFigures(Protocol):
    """What a slow track tells of one camera's key frames."""

    delays: list[int]  # nanoseconds from hand-over to result, of every job done

    def counts(self) -> SlowTrackCounts:
        """Its runs of Sh so far."""


class ObservedTracks(System, Protocol):
    """Two tracks, simulated or real, with what is reported of them beside their labels. By camera topic."""

    problems: dict[str, Problems]

    @property
    def lanes(self) -> Mapping[str, SlowTrackFigures]:
        """Each camera's place at the slow track."""

    def finish(self) -> None:
        """Let everything end that has begun."""


class FullNetwork:
    """The full network on every frame that the worker takes."""

    name = "full network"
    description = "Sh, after Sl where it builds on it, and the classifier on every frame, one after the other"

    def __init__(self, profile: Profile) -> None:
        self._duration = profile.nanoseconds("full_ms")

    def label(self, frame: ReplayFrame, now: int) -> Labelled:
        return Labelled(frame.full_labels, self._duration)


class SingleFrameNetwork:
    """Sl with a classifier of its own, on every frame that the worker takes."""

    name = "fast single-frame network"
    description = "Sl alone with a classifier of its own, on every frame, without memory"

    def __init__(self, network: FastNetwork, profile: Profile) -> None:
        self._label = single_frame_network(network)
        self._duration = profile.nanoseconds("single_ms")

    def label(self, frame: ReplayFrame, now: int) -> Labelled:
        return Labelled(self._label(frame.image), self._duration)


class TwoTracks:
    """The stream engines of all cameras and the slow track that they share, in simulated time."""

    name = "two tracks"

    def __init__(self, tracks: Tracks, settings: ReplaySettings, profile: Profile, cameras: Iterable[str]) -> None:
        """Raises PropagationError where the settings' propagation cannot carry what the slow network gives."""
        waits = "" if settings.low_latency else "; key frames wait for Sh"
        self.description = f"the fast track on every frame, Sh beside it on key frames{waits}"
        self._durations = {name: profile.nanoseconds(name) for name in ("fast_ms", "key_frame_ms", "full_ms")}
        self._track = ScheduledSlowTrack(
            tracks.slow, profile.nanoseconds("slow_ms"), self._durations["key_frame_ms"], settings.slow_track_share
        )
        policy = settings.policy.policy()
        self._engines = {
            camera: StreamEngine(
                tracks.fast,
                self._track,
                policy,
                propagation=settings.propagation,
                low_latency=settings.low_latency,
            )
            for camera in cameras
        }
        self.lanes = dict(zip(self._engines, self._track.lanes, strict=True))
        self.problems = {camera: Problems() for camera in self.lanes}
        self._indexes: dict[str, list[int]] = {camera: [] for camera in self.lanes}  # by the engine's sequence

    def label(self, frame: ReplayFrame, now: int) -> Labelled | None:
        self._track.advance(now)
        if self._engines[frame.camera].is_out_of_order(frame.stamp, TOLERANCE):
            sentence = "frames whose stamp is before the last one's are dropped, as the node drops them"
            self.problems[frame.camera].add("order", sentence, frame.index)
            return None
        result = self._engines[frame.camera].segment(frame.image, frame.stamp)
        for warning in result.warnings:
            self.problems[frame.camera].add(warning.partition(":")[0], warning.removesuffix("."), result.sequence)
        indexes = self._indexes[frame.camera]
        indexes.append(frame.index)
        distance = frame.index - indexes[result.sequence - result.key_age_frames] if has_key(result) else None
        return Labelled(result.labels, self._durations[_duration_of(result)], result, distance)

    def finish(self) -> None:
        """Let the slow track end what it has begun and what waits for it."""
        waiting_and_in_work = 2 * len(self.lanes)
        self._track.advance(self._track.now + waiting_and_in_work * self._track.duration)


def _duration_of(result: SegmentationResult) -> str:
    if result.waited_for_slow_track:
        return "full_ms"
    return "key_frame_ms" if result.is_key_frame else "fast_ms"


class Observer(Protocol):
    """Is told what becomes of one camera's frames under one system, in the order of simulated time."""

    def frame_arrives(self, frame: ReplayFrame) -> None:
        """The frame is there; nothing has been done about it."""

    def frame_dropped(self, frame: ReplayFrame) -> None:
        """A newer frame came while this one waited."""

    def frame_labelled(self, frame: ReplayFrame, available: int, labelled: Labelled) -> None:
        """The worker has taken the frame; its labels will be there at ``available``, nanoseconds."""


class FrameTaker(Protocol):
    """Gives frames to a system and tells observers what became of them."""

    def arrive(self, frame: ReplayFrame) -> None:
        """A frame arrives at its ``arrival``, which must not be before the last frame's."""

    def finish(self) -> None:
        """Take what still waits after the last frame."""


class Worker:
    """Takes the frames of all cameras as the node's single thread does, whose subscriptions hold one image each."""

    def __init__(self, system: System, observers: dict[str, Observer]) -> None:
        """``observers``: one a camera, by topic."""
        self._system = system
        self._observers = observers
        self._waiting: dict[str, ReplayFrame] = {}
        self._last_served = dict.fromkeys(observers, NEVER)
        self._free_at = 0

    def arrive(self, frame: ReplayFrame) -> None:
        """A frame arrives at its ``arrival``, which must not be before the last frame's."""
        self._work_until(frame.arrival)
        observer = self._observers[frame.camera]
        observer.frame_arrives(frame)
        overtaken = self._waiting.pop(frame.camera, None)
        if overtaken is not None:
            observer.frame_dropped(overtaken)
        self._waiting[frame.camera] = frame
        self._work_until(frame.arrival)

    def finish(self) -> None:
        """Take what still waits after the last frame."""
        while self._waiting:
            self._take_next()

    def _work_until(self, now: int) -> None:
        while self._waiting and self._free_at <= now:
            self._take_next()

    def _take_next(self) -> None:
        """Take the waiting frame of the camera that was served longest ago."""
        camera = min(self._waiting, key=lambda each: (self._last_served[each], self._waiting[each].arrival))
        frame = self._waiting.pop(camera)
        start = max(self._free_at, frame.arrival)
        labelled = self._system.label(frame, start)
        if labelled is None:
            self._observers[camera].frame_dropped(frame)
            return
        self._free_at = start + labelled.duration
        self._last_served[camera] = start
        self._observers[camera].frame_labelled(frame, self._free_at, labelled)

"""The node's executor in simulated time: one frame at a time, and of each camera only the newest waits."""

from __future__ import annotations

from typing import Final, Protocol

from lowlat_seg_ros.replay.frames import ReplayFrame
from lowlat_seg_ros.replay.systems import Labelled, System

NEVER: Final = -1


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
        self._free_at = start + labelled.duration
        self._last_served[camera] = start
        self._observers[camera].frame_labelled(frame, self._free_at, labelled)

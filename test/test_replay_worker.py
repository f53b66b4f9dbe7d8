"""The executor in simulated time, worked out by hand: who is taken when, and who is dropped."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.replay.frames import ReplayFrame
from lowlat_seg_ros.replay.systems import Labelled, Worker

IMAGE = np.zeros((4, 4, 3), np.uint8)


class Taken(NamedTuple):
    camera: str
    number: int
    start: int
    available: int


class SystemOfDurations:
    """Labels nothing, and takes as long as it is told."""

    name = description = "durations"

    def __init__(self, *durations: int) -> None:
        self._durations = list(durations)
        self.starts: list[int] = []

    def label(self, frame: ReplayFrame, now: int) -> Labelled:
        self.starts.append(now)
        return Labelled(IMAGE[..., 0], self._durations[min(len(self.starts), len(self._durations)) - 1])


class Witness:
    """Remembers what became of all frames."""

    def __init__(self, system: SystemOfDurations) -> None:
        self._system = system
        self.taken: list[Taken] = []
        self.dropped: list[tuple[str, int]] = []

    def frame_arrives(self, frame: ReplayFrame) -> None:
        pass

    def frame_dropped(self, frame: ReplayFrame) -> None:
        self.dropped.append((frame.camera, frame.index))

    def frame_labelled(self, frame: ReplayFrame, available: int, labelled: Labelled) -> None:
        self.taken.append(Taken(frame.camera, frame.index, self._system.starts[-1], available))


def frame(index: int, arrival: int, camera: str = "a") -> ReplayFrame:
    def no_network(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        raise AssertionError("nobody asked for the full network")

    return ReplayFrame(camera, index, arrival, arrival, IMAGE, None, no_network)


def work(frames: list[ReplayFrame], *durations: int) -> Witness:
    system = SystemOfDurations(*durations)
    witness = Witness(system)
    worker = Worker(system, {each.camera: witness for each in frames})
    for each in frames:
        worker.arrive(each)
    worker.finish()
    return witness


def test_a_worker_that_keeps_up_takes_every_frame_as_it_comes() -> None:
    witness = work([frame(index, 100 * index) for index in range(3)], 60)
    assert witness.taken == [Taken("a", 0, 0, 60), Taken("a", 1, 100, 160), Taken("a", 2, 200, 260)]
    assert witness.dropped == []


def test_a_slow_worker_takes_the_newest_frame_and_drops_those_before() -> None:
    # Frame 0 takes until 240; meanwhile 1 and 2 come, so 2 is taken, until 480; meanwhile 3 and 4 come; then only 5.
    witness = work([frame(index, 100 * index) for index in range(6)], 240)
    assert witness.taken == [
        Taken("a", 0, 0, 240),
        Taken("a", 2, 240, 480),
        Taken("a", 4, 480, 720),
        Taken("a", 5, 720, 960),
    ]
    assert witness.dropped == [("a", 1), ("a", 3)]


def test_the_frame_that_waits_is_taken_before_one_that_comes_in_the_same_moment() -> None:
    witness = work([frame(0, 0), frame(1, 100), frame(2, 200)], 200)
    assert [(taken.number, taken.start) for taken in witness.taken] == [(0, 0), (1, 200), (2, 400)]


def test_one_slow_frame_drops_one_frame_and_the_rest_comes_in_time_again() -> None:
    witness = work([frame(index, 100 * index) for index in range(5)], 210, 50)
    assert [(taken.number, taken.start) for taken in witness.taken] == [(0, 0), (2, 210), (3, 300), (4, 400)]
    assert witness.dropped == [("a", 1)]


def test_two_cameras_share_the_worker_in_turn_and_each_keeps_its_own_newest_frame() -> None:
    # Both cameras at a period of 100, each frame takes 80: 160 of work in 100, so that both lose frames, in turn.
    frames = [frame(index, 100 * index, camera) for index in range(4) for camera in ("a", "b")]
    witness = work(frames, 80)
    assert witness.taken == [
        Taken("a", 0, 0, 80),
        Taken("b", 0, 80, 160),
        Taken("a", 1, 160, 240),
        Taken("b", 2, 240, 320),
        Taken("a", 3, 320, 400),
        Taken("b", 3, 400, 480),
    ]
    assert witness.dropped == [("b", 1), ("a", 2)]

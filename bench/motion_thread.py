"""Where the optical flow is best found: in a frame's own thread, in another one, or in another one on another core.

    .venv/bin/python -m bench.motion_thread

Two tracks with low latency, as scheduled, on the clip at its own pace. Milliseconds from a frame's hand-in to its
labels, the three in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from bench.clip import first_frames, measured_clip, name_of
from bench.environment import environment
from bench.markdown import SPREAD_HEADINGS, environment_sentence, spread_cells, table
from bench.spread import spread_mapping
from bench.tracks import LOW_LATENCY, Case, TracksRig, tracks_rig
from bench.turns import in_turn
from lowlat_seg_ros.fast import motion_beside_network
from lowlat_seg_ros.fast.motion_beside_network import FoundMotion, MotionBesideNetwork
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.ros.process_setup import set_up_process
from lowlat_seg_ros.runtime.machine import usable_cores
from lowlat_seg_ros.runtime.steady_memory import set_start_up_apart
from lowlat_seg_ros.runtime.threads import thread_counts
from lowlat_seg_ros.stream import engine

ROUNDS = 5
FRAMES_A_TURN = 60
AS_SCHEDULED = Case(LOW_LATENCY, "as scheduled")


class InTheFramesThread(MotionBesideNetwork):
    """Found before Sl begins."""

    def begin(self, frame: NDArray[np.uint8], key: NDArray[np.uint8] | None) -> Future[FoundMotion]:
        found: Future[FoundMotion] = Future()
        found.set_result(self._find(frame, key))
        return found


class OnAnyCore(MotionBesideNetwork):
    """In a thread that is woken where Linux likes."""

    def begin(self, frame: NDArray[np.uint8], key: NDArray[np.uint8] | None) -> Future[FoundMotion]:
        with mock.patch.object(motion_beside_network, "keep_off_this_core"):
            return super().begin(frame, key)


WAYS: dict[str, type[MotionBesideNetwork]] = {
    "the frame's thread": InTheFramesThread,
    "another, on any core": OnAnyCore,
    "another, on another core": MotionBesideNetwork,
}


def measure_ways(network: SegmentationNetwork, rounds: int, frames_a_turn: int) -> dict[str, list[list[float]]]:
    """Milliseconds of each way's frames, a list a turn."""
    clip = measured_clip()
    frames = first_frames(clip, clip.frame_count)

    def turn(rig: TracksRig, number: int) -> list[float]:
        played = rig.turn(AS_SCHEDULED, frames_a_turn, first=number * frames_a_turn)
        return [frame.milliseconds for frame in played.counted]

    with ExitStack() as stack:
        turns: dict[str, Callable[[int], list[float]]] = {}
        for name, way in WAYS.items():
            with mock.patch.object(engine, "MotionBesideNetwork", way):
                rig = tracks_rig(network, frames, clip.rate_hz, thread_counts(0, 0), usable_cores())
                turns[name] = partial(turn, stack.enter_context(rig))
        set_start_up_apart()
        return in_turn(turns, rounds)


def main() -> None:
    set_up_process()
    network = load_checkpoint("default")
    rows = [
        (name, *spread_cells(spread_mapping(turns)))
        for name, turns in measure_ways(network, ROUNDS, FRAMES_A_TURN).items()
    ]
    print(environment_sentence(environment(network.config.name)))
    print(name_of(measured_clip()))
    print(table(("found in", *SPREAD_HEADINGS), rows))


if __name__ == "__main__":
    main()

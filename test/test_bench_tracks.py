"""Sections 1 and 2 of the bench, really run on a small network, and the slow track that is kept busy."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
from stream_setup import INPUT_SIZE, moving_frames, stream_network, wait_until

from bench.clip import Pacer
from bench.modules import measure_modules
from bench.slow_work import WatchedSlowNetwork
from bench.tracks import (
    CASES,
    FULL,
    LOW_LATENCY,
    SETTLING_FRAMES,
    WAITING,
    Case,
    TimedFrame,
    TracksRig,
    begin_stream,
    frames_late,
    measure_tracks,
    warm_engine,
)
from lowlat_seg_ros.evaluation.module_times import FULL_NETWORK
from lowlat_seg_ros.runtime.threads import ThreadCounts
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack
from lowlat_seg_ros.stream.slow_lane import SlowJob
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

RATE_HZ = 15.0  # two key frames in a turn, by the periods of the node
FRAMES_A_TURN = 12


@pytest.fixture(scope="module")
def rig() -> Iterator[TracksRig]:
    """With a clock that only waiting moves: however slow the machine is, no frame is late."""
    waited = [0]

    def wait(nanoseconds: int) -> None:
        waited[0] += nanoseconds

    def pacer_of(period: int, count: int) -> Pacer:
        return Pacer(period, count, clock=lambda: waited[0], sleep=wait)

    with TracksRig(stream_network(), moving_frames(8), RATE_HZ, ThreadCounts(1, 1), 1, pacer_of) as made:
        yield made


def test_the_parts_of_a_small_network_are_measured() -> None:
    measured = measure_modules(stream_network(), INPUT_SIZE, threads=1, rounds=2)
    assert (measured["size"], measured["rounds"]) == ([*INPUT_SIZE], 2)
    shares = {row["module"]: row["share"] for row in measured["rows"]}
    assert shares[FULL_NETWORK] == 1
    assert {row["paper_share"] for row in measured["rows"]} >= {0.17, 0.83, None}


def test_all_cases_of_a_small_network_are_measured(rig: TracksRig) -> None:
    threads = torch.get_num_threads()
    tracks = measure_tracks(rig, rounds=2, frames_a_turn=FRAMES_A_TURN)
    assert json.loads(json.dumps(tracks)) == tracks
    assert [(row["system"], row["slow_track"]) for row in tracks["rows"]] == list(CASES)
    for row in tracks["rows"]:
        assert row["latency_ms"]["p50"] > 0
        assert row["latency_ms"]["count"] == 2 * (FRAMES_A_TURN - SETTLING_FRAMES)
        assert row["skipped"] == 0 and row["cpu_ms"] > 0
        assert row["frames_late"] is None or row["slow_track"] != "idle"
    assert len(tracks["timeline"]["frames"]) == FRAMES_A_TURN - SETTLING_FRAMES
    assert tracks["first_frame"]["first_ms"] > 0
    assert tracks["first_frame"]["later_first_frames"]["count"] == 2 * 4 - 1
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("system", [WAITING, LOW_LATENCY])
def test_an_idle_slow_track_runs_nothing(rig: TracksRig, system: str) -> None:
    turn = rig.turn(Case(system, "idle"), FRAMES_A_TURN)  # type: ignore[arg-type]
    assert not [frame for frame in turn.frames if frame.is_key_frame]
    assert turn.sh_runs == []
    assert turn.first_ms > 0


def test_waiting_key_frames_run_sh_within_their_own_call(rig: TracksRig) -> None:
    turn = rig.turn(Case(WAITING, "as scheduled"), FRAMES_A_TURN)
    keys = [frame for frame in turn.frames if frame.is_key_frame]
    assert len(keys) > 1
    assert not [run for run in turn.sh_runs if run.in_slow_track]
    for frame, run in zip(keys, turn.sh_runs, strict=True):
        assert frame.began < run.began < run.ended < frame.ended


def test_scheduled_key_frames_are_handed_to_the_slow_track(rig: TracksRig) -> None:
    turn = rig.turn(Case(LOW_LATENCY, "as scheduled"), FRAMES_A_TURN)
    # One at least: the test's pacer lets no time pass, and while Sh is at work the next one is put off.
    assert any(frame.is_key_frame for frame in turn.frames)
    assert not [frame for frame in turn.frames if frame.result and frame.result.waited_for_slow_track]
    assert not [frame for frame in turn.frames if frame.result and frame.result.evidence]  # megabytes of each frame


def test_lateness_is_counted_as_evaluate_counts_it() -> None:
    frames = moving_frames(16)
    network = stream_network()
    engine = warm_engine(network, InlineSlowTrack(network, delay_frames=3), frames[0])
    begin_stream(engine, frames[0])
    engine.policy = FixedInterval(5)
    period = round(1e9 / RATE_HZ)
    results = [engine.segment(frame, number * period) for number, frame in enumerate(frames, 1)]
    timed = [TimedFrame(number, 0, 0, 0, result) for number, result in enumerate(results)]
    assert frames_late(timed) == [3, 3, 3]


def test_the_full_network_has_no_key_frames(rig: TracksRig) -> None:
    turn = rig.turn(Case(FULL, "idle"), 4)
    assert [frame.result for frame in turn.frames] == [None] * len(turn.frames)
    assert turn.sh_runs == []


def test_no_frame_of_a_turn_is_handed_in_before_its_time() -> None:
    with TracksRig(stream_network(), moving_frames(8), RATE_HZ, ThreadCounts(1, 1), 1) as rig:
        turn = rig.turn(Case(LOW_LATENCY, "idle"), 6)
    assert len(turn.frames) + turn.skipped == 6
    assert all(frame.began >= frame.due for frame in turn.frames)
    assert all(frame.milliseconds_since_due >= frame.milliseconds for frame in turn.frames)


def test_a_busy_slow_track_begins_again_until_it_is_let_go(rig: TracksRig) -> None:
    watched = WatchedSlowNetwork(stream_network())
    with ThreadedSlowTrack(watched) as track:
        with watched.busy(track, rig.seen):
            wait_until(lambda: len(watched.runs) >= 5, "five runs of Sh")
        ended = len(watched.runs)
        assert all(run.in_slow_track and run.began < run.ended for run in watched.runs)
        track.open_lane().warm_up(SlowJob(rig.seen))
        assert len(watched.runs) == ended + 1

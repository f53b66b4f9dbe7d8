"""An idle slow track takes frames that are not due, as far as its share of the time allows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from stream_setup import STEP, GatedSlowNetwork, moving_frames, segment_all, stream_network, two_tracks, wait_until
from torch import Tensor

from lowlat_seg_ros.fast.frames import Answer, KeyFrame
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import PredictedDeviation, SinceKey
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack
from lowlat_seg_ros.stream.slow_track import LEAST_LESSON, ThreadedSlowTrack
from lowlat_seg_ros.stream.time_share import TimeShare

EAGER = PredictedDeviation(1.0, minimum_period=9.0, idle_threshold=0.0)
"""No frame is due for nine seconds, and every one is worth idle time."""


def inline_results(share: float, delay_frames: int = 1, policy: PredictedDeviation = EAGER) -> list[SegmentationResult]:
    network = stream_network()
    engine = StreamEngine(network, InlineSlowTrack(network, delay_frames, share), policy)
    return [engine.segment(frame, i * STEP) for i, frame in enumerate(moving_frames(41))]


def key_frames(results: list[SegmentationResult]) -> list[int]:
    return [result.sequence for result in results if result.is_key_frame]


class Deviating:
    """A policy's measure, by hand."""

    def predicted_deviation(self, key: float, current: float) -> float:
        return current - key


def reason(policy: PredictedDeviation, deviation: float, has_idle_time: bool) -> str:
    network, since_key = Deviating(), SinceKey(1, 0.0)
    arguments = (network, 0.0, deviation, since_key, lambda: has_idle_time)
    return policy.decide(*arguments).reason  # type: ignore[arg-type]


def test_the_policy_takes_a_frame_where_there_is_idle_time_and_it_deviates() -> None:
    policy = PredictedDeviation(0.5, minimum_interval=4, idle_threshold=0.1)
    assert reason(policy, 0.11, True) == "idle"
    assert reason(policy, 0.9, True) == "idle"  # the minimum holds for frames that are due
    assert reason(policy, 0.1, True) == reason(policy, 0.9, False) == ""
    assert reason(PredictedDeviation(0.5, idle_threshold=0.1), 0.6, True) == "deviation"


def test_a_threshold_of_one_is_never() -> None:
    assert reason(PredictedDeviation(2.0), 1.5, True) == ""
    for threshold in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="the idle threshold is .*; expected 0 to 1, where 1 is never"):
            PredictedDeviation(0.1, idle_threshold=threshold)


def test_an_idle_slow_track_takes_a_frame_and_a_busy_one_does_not() -> None:
    with two_tracks(EAGER) as tracks:
        frames = moving_frames(5)
        segment_all(tracks.engine, frames[:1])
        tracks.engine.policy = PredictedDeviation(1.0)
        wait_until(tracks.lane.has_idle_time, "the first run paid for")
        tracks.engine.policy = EAGER
        tracks.slow_network.shut()
        idle, *busy = segment_all(tracks.engine, frames[1:], first=1)
    assert (idle.is_key_frame, idle.key_reason) == (True, "idle")
    assert [result.is_key_frame for result in busy] == [False] * 3


def test_a_track_that_trains_is_not_idle() -> None:
    with ThreadedSlowTrack(stream_network(), share=1.0) as track:
        seen: list[bool] = []
        lane = track.open_lane(learn=lambda key, may_go_on: seen.append(track.has_idle_time()))
        engine = StreamEngine(stream_network(), track, EAGER)
        engine.slow_lane = lane
        engine.segment(moving_frames(1)[0], 0)
        wait_until(lambda: bool(seen), "the training")
        wait_until(track.has_idle_time, "its end")
    assert seen == [False]


def test_training_ends_when_the_share_is_spent_but_is_never_left_out() -> None:
    steps = []

    def learn(key: KeyFrame, may_go_on: object) -> None:
        assert callable(may_go_on)
        steps.append(1)
        while may_go_on():
            steps.append(1)

    with ThreadedSlowTrack(stream_network(), share=0.0) as track:
        lane = track.open_lane(learn=learn)
        engine = StreamEngine(stream_network(), track, EAGER)
        engine.slow_lane = lane
        engine.segment(moving_frames(1)[0], 0)
        wait_until(lambda: bool(steps), "the training")
    assert len(steps) == 1


def test_a_slow_track_that_has_overdrawn_its_share_still_teaches_for_a_part_of_the_runs_time() -> None:
    """Sh takes longer than its share from key frame to key frame: its lessons would end after one step for ever."""
    runs: list[float] = []
    lessons: list[float] = []

    class Slow(GatedSlowNetwork):
        def answer(self, image: Tensor, low: Tensor) -> Answer:
            began = time.monotonic()
            time.sleep(0.1)
            answer = super().answer(image, low)
            runs.append(time.monotonic() - began)
            return answer

    def learn(key: KeyFrame, may_go_on: Callable[[], bool]) -> None:
        began = time.monotonic()
        while may_go_on():
            time.sleep(0.001)
        lessons.append(time.monotonic() - began)

    with ThreadedSlowTrack(Slow(stream_network()), share=0.5) as track:
        engine = StreamEngine(stream_network(), track, EAGER)
        engine.slow_lane = track.open_lane(learn=learn)
        engine.segment(moving_frames(1)[0], 0)
        wait_until(lambda: bool(lessons), "the lesson")
    assert lessons[0] >= 0.5 * LEAST_LESSON * runs[0]


@pytest.mark.parametrize(("share", "every"), [(0.5, 2), (0.25, 4), (0.1, 10)])
def test_the_share_caps_idle_key_frames(share: float, every: int) -> None:
    keys = key_frames(inline_results(share))
    assert len(keys) <= 41 / every + 3  # and what was saved up
    assert np.diff(keys[3:]).tolist() == [every] * (len(keys) - 4)


def test_with_the_whole_time_every_frame_is_taken_that_finds_the_track_idle() -> None:
    for delay_frames in (1, 3):
        keys = key_frames(inline_results(1.0, delay_frames))
        assert np.diff(keys[2:]).tolist() == [delay_frames] * (len(keys) - 3)


def test_key_frames_that_are_due_are_never_refused() -> None:
    due = PredictedDeviation(0.0, idle_threshold=0.0)
    results = inline_results(0.0, policy=due)
    assert [result.key_reason for result in results[2:]] == ["deviation"] * 39
    assert len(key_frames(inline_results(0.0))) == 1  # and nothing else is taken


def test_a_key_frame_that_would_wait_is_not_taken_for_idleness() -> None:
    network = stream_network()
    engine = StreamEngine(network, InlineSlowTrack(network, share=1.0), EAGER, low_latency=False)
    results = [engine.segment(frame, i * STEP) for i, frame in enumerate(moving_frames(9))]
    assert key_frames(results) == [0]


def test_inline_runs_repeat() -> None:
    first, second = inline_results(0.3), inline_results(0.3)
    assert key_frames(first) == key_frames(second)
    assert all((a.labels == b.labels).all() for a, b in zip(first, second, strict=True))


def test_credit_and_debt_are_bounded() -> None:
    share = TimeShare(0.5)
    assert share.has_credit(10**9)
    share.spend_on_run(100, 10**9)
    assert not share.has_credit(10**9 + 199) and share.has_credit(10**9 + 200)
    for number in range(1000):
        share.spend_on_run(100, 10**9 + 300 + 100 * number)
    now = 10**9 + 300 + 99_900
    assert not share.has_credit(now + 399) and share.has_credit(now + 400)  # as much debt as two runs
    share.spend(200, 10**10)
    assert share.has_credit(10**10)  # no more credit than for two runs
    share.spend(1, 10**10)
    assert not share.has_credit(10**10)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="the slow track's share of the time is .*; expected 0 to 1"):
        TimeShare(share)

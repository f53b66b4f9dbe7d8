"""The slow track in simulated time: when each result is there, and whose turn it is."""

from __future__ import annotations

import pytest
import torch
from stream_setup import PlainSlowNetwork

from lowlat_seg_ros.fast.frames import LowFeatures, SeenFrame
from lowlat_seg_ros.stream.scheduled_slow_track import ScheduledLane, ScheduledSlowTrack
from lowlat_seg_ros.stream.slow_lane import SlowJob

DURATION, HAND_OVER = 100, 10


def slow_track() -> ScheduledSlowTrack:
    return ScheduledSlowTrack(PlainSlowNetwork(), DURATION, HAND_OVER)


def hand_in(lane: ScheduledLane, sequence: int, value: float = 0.0) -> None:
    nothing = torch.zeros(1, 1, 1, 1)
    low = LowFeatures(nothing, nothing, nothing)
    lane.submit(SlowJob(SeenFrame(sequence, sequence, torch.full((1, 1, 1, 1), value), low)))


def collected(lane: ScheduledLane) -> list[int]:
    return [result.key.frame.sequence for result in lane.collect() if result.key is not None]


def test_a_result_is_there_after_the_hand_over_and_sh_and_not_before() -> None:
    track = slow_track()
    lane = track.open_lane()
    track.advance(1000)
    hand_in(lane, 0)  # handed over at 1010
    track.advance(1109)
    assert collected(lane) == []
    track.advance(1110)
    assert collected(lane) == [0]
    assert lane.delays == [DURATION]


def test_what_waits_begins_when_the_track_is_free_and_the_newest_takes_the_place_of_others() -> None:
    track = slow_track()
    lane = track.open_lane()
    for sequence, time in ((0, 0), (1, 20), (2, 40)):
        track.advance(time)
        hand_in(lane, sequence)
    track.advance(110)  # frame 0 is done: handed over at 10
    assert collected(lane) == [0]
    assert lane.counts().busy
    assert not lane.counts().waiting
    track.advance(209)
    assert collected(lane) == []
    track.advance(210)
    assert collected(lane) == [2]
    assert lane.counts().discarded == 1
    assert lane.delays == [100, 160]  # frame 2 was handed over at 50


def test_a_job_is_done_at_its_own_time_however_late_one_asks() -> None:
    track = slow_track()
    lane = track.open_lane()
    hand_in(lane, 0)
    track.advance(40)
    hand_in(lane, 1)
    track.advance(100_000)
    assert lane.delays == [100, 160]
    hand_in(lane, 2)
    track.advance(100_000 + HAND_OVER + DURATION)
    assert lane.delays[-1] == DURATION


def test_cameras_take_turns_however_often_one_of_them_hands_in() -> None:
    track = slow_track()
    greedy, modest = track.open_lane(), track.open_lane()
    hand_in(greedy, 0)
    hand_in(modest, 0)  # both wait for the same track; handed over at 20
    hand_in(greedy, 1)
    served = []
    for time in range(30, 1000, 10):
        track.advance(time)
        for name, lane in (("greedy", greedy), ("modest", modest)):
            for sequence in collected(lane):
                served.append((name, time))
                track.advance(track.now)
                hand_in(lane, sequence + 10)
        if len(served) >= 6:
            break
    assert [name for name, _ in served[:6]] == ["greedy", "modest", "greedy", "modest", "greedy", "modest"]


def test_a_reset_drops_what_is_in_work_and_the_track_is_still_taken_by_it() -> None:
    track = slow_track()
    lane = track.open_lane()
    hand_in(lane, 0)
    lane.reset()
    track.advance(50)
    hand_in(lane, 1)
    track.advance(209)
    assert collected(lane) == []
    track.advance(210)
    assert collected(lane) == [1]
    assert lane.counts().discarded == 1


def test_a_failed_sh_is_reported_when_its_time_has_come() -> None:
    track = slow_track()
    lane = track.open_lane()
    hand_in(lane, 0, value=float("nan"))
    track.advance(HAND_OVER + DURATION)
    (result,) = lane.collect()
    assert result.key is None
    assert "nan" in result.error
    assert lane.counts().failed == 1


def test_a_result_is_owed_until_it_is_collected() -> None:
    track = slow_track()
    lane = track.open_lane()
    assert not lane.owes_result
    hand_in(lane, 0)
    assert lane.owes_result
    track.advance(HAND_OVER + DURATION)
    assert lane.owes_result
    assert collected(lane) == [0]
    assert not lane.owes_result


def test_training_goes_on_until_a_camera_waits() -> None:
    """As in the threaded track, so that a replay of several cameras shows no classifier that they could not have."""
    track, may_have_gone_on = slow_track(), list[bool]()
    trained = track.open_lane(learn=lambda key, may_go_on: may_have_gone_on.append(may_go_on()))
    other = track.open_lane()
    hand_in(trained, 0)
    track.advance(track.now + DURATION)
    hand_in(trained, 1)
    hand_in(other, 0)
    track.advance(track.now + 2 * DURATION)
    assert may_have_gone_on == [True, False]


def test_a_lesson_that_a_key_frame_interrupted_goes_on_once_none_waits() -> None:
    track, learned = slow_track(), list[str]()
    first = track.open_lane(
        learn=lambda key, may_go_on: learned.append(f"first, may go on: {may_go_on()}"),
        learn_more=lambda may_go_on: learned.append(f"first again, may go on: {may_go_on()}"),
    )
    second = track.open_lane(learn=lambda key, may_go_on: learned.append(f"second, may go on: {may_go_on()}"))
    hand_in(first, 0)
    hand_in(second, 0)
    track.advance(track.now + 4 * DURATION)
    assert learned == ["first, may go on: False", "second, may go on: True", "first again, may go on: True"]


def test_time_never_goes_back() -> None:
    track = slow_track()
    track.advance(5)
    with pytest.raises(ValueError, match="simulated time cannot go back from 5 to 4"):
        track.advance(4)

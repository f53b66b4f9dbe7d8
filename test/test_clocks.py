"""A camera is timed by the clock that can be believed, and what is wrong with the other is said."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from bag_parts import PERIOD, Recorded, image, label_map, labels, stamp_of, write_bag_of
from hypothesis import given, settings
from hypothesis import strategies as st

from lowlat_seg_ros.commands.bag import bag_info
from lowlat_seg_ros.replay.bags import open_bag
from lowlat_seg_ros.replay.clocks import Times, camera_clock, lost_frames, paired, usual_period

SECOND = 1_000_000_000
STEP = SECOND // 15
START = 1_600_000_000 * SECOND
BURSTS = Path(__file__).parents[2] / "shared" / "cases" / "burst_receive_times" / "bag"


def steady(count: int = 300, step: int = STEP, start: int = START) -> Times:
    return start + step * np.arange(count, dtype=np.int64)


def in_bursts(times: Times, size: int, within: int = 1_000_000) -> Times:
    """As a recorder receives them that looks once in a while: the times of a burst follow each other at once."""
    number = np.arange(len(times))
    last = times[np.minimum(number - number % size + size - 1, len(times) - 1)]
    return last + within * (number % size)


def some_late(times: Times, every: int, late: int) -> Times:
    return np.sort(times + late * (np.arange(len(times)) % every == 0))


RECEIVED = {
    "at once": lambda stamps: stamps,
    "four at a time": lambda stamps: in_bursts(stamps, 4),
    "all together": lambda stamps: np.full_like(stamps, stamps[-1]),
    "thirty at a time": lambda stamps: in_bursts(stamps, 30),
    "a tenth late": lambda stamps: some_late(stamps, 10, SECOND // 10),
    "with jitter": lambda stamps: np.sort(stamps + np.random.default_rng(1).integers(0, STEP, len(stamps))),
    "at a third of the speed": lambda stamps: stamps[0] + 3 * (stamps - stamps[0]),
    "years later": lambda stamps: stamps + 10**17,
    "after a stall": lambda stamps: np.maximum(stamps, stamps[120] * (stamps >= stamps[70])),
}


@pytest.mark.parametrize("how", RECEIVED)
def test_steady_stamps_give_rate_and_arrivals_however_they_were_received(how: str) -> None:
    stamps = steady()
    clock = camera_clock(stamps, RECEIVED[how](stamps))
    assert clock.source == "header stamps" and clock.lost == 0
    assert clock.rate_hz == pytest.approx(15)
    assert set(np.diff(clock.arrivals)) == {STEP}
    is_named = any("the receive times" in problem for problem in clock.problems)
    assert is_named == (how not in ("at once", "years later", "after a stall"))


@pytest.mark.parametrize("how", RECEIVED)
def test_frames_that_are_missing_are_counted_however_the_others_were_received(how: str) -> None:
    stamps = np.delete(steady(), [20, 50, 51, *range(90, 120)])
    assert camera_clock(stamps, RECEIVED[how](stamps)).lost == 33


@pytest.mark.parametrize("stamps", [np.zeros(300, np.int64), np.full(300, START), np.arange(300), np.arange(300) % 7])
def test_stamps_that_are_no_times_leave_it_to_the_receive_times(stamps: Times) -> None:
    received = np.delete(steady(301), 100)
    clock = camera_clock(stamps.astype(np.int64), received)
    assert (clock.source, clock.lost) == ("receive times", 1)
    assert clock.rate_hz == pytest.approx(15)
    assert np.array_equal(clock.arrivals, received)
    (problem,) = clock.problems
    assert problem.startswith("the header stamps are no times (")


def test_stamps_whose_nanoseconds_overflow_are_no_times(tmp_path: Path) -> None:
    """Some drivers write the time's lower 32 bits there, beside the right seconds."""
    drive = []
    for number in range(60):
        right = image(number, stamp=START + number * PERIOD, time=START + number * PERIOD)
        seconds, nanoseconds = divmod(START + number * PERIOD, SECOND)
        stamp = struct.pack("<II", seconds, (START + number * PERIOD) % 2**32)
        assert right.data[4:12] == struct.pack("<II", seconds, nanoseconds)
        drive.append(right._replace(data=right.data[:4] + stamp + right.data[12:]))
    with open_bag(write_bag_of(tmp_path / "drive", drive)) as bag:
        clock = bag.clock("/image")
    assert (clock.source, clock.lost, clock.rate_hz) == ("receive times", 0, pytest.approx(10))
    assert "have a second or more in their nanoseconds" in clock.problems[0]


def test_a_recorder_s_clock_that_is_set_is_named() -> None:
    received = steady()
    received[200:] += 3600 * SECOND
    clock = camera_clock(steady(), received)
    assert (clock.source, clock.lost, clock.rate_hz) == ("header stamps", 0, pytest.approx(15))
    assert "the receive times 66.7 to 3600066.7 ms" in clock.problems[0]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    stamps=st.lists(
        st.one_of(st.sampled_from([0, 1, START, -(2**61), 2**61]), st.integers(-(2**61), 2**61)), max_size=20
    ),
    steps=st.lists(st.one_of(st.sampled_from([0, 1, STEP]), st.integers(0, 2**57)), min_size=20, max_size=20),
)
def test_no_clock_is_absurd_whatever_the_times(stamps: list[int], steps: list[int]) -> None:
    received = np.cumsum(np.array(steps, np.int64))[: len(stamps)]
    clock = camera_clock(np.array(stamps, np.int64), received)
    assert (np.diff(clock.arrivals) >= 0).all() and clock.lost >= 0
    assert clock.rate_hz is None or 1 / 3600 <= clock.rate_hz <= 10_000
    assert len(stamps) < 2 or clock.source == "header stamps" or clock.problems


def test_receive_times_in_bursts_still_give_the_rate() -> None:
    clock = camera_clock(np.zeros(300, np.int64), in_bursts(steady(), 4))
    assert clock.rate_hz == pytest.approx(15, rel=0.03) and clock.lost == 0


def test_without_any_clock_nothing_is_timed() -> None:
    clock = camera_clock(np.zeros(40, np.int64), np.full(40, START))
    assert (clock.source, clock.rate_hz, clock.lost) == ("none", None, 0)
    assert (np.diff(clock.arrivals) > 0).all()  # no frame overtakes another
    assert "the rate is not known" in clock.problems[0]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_frames_are_timed_too(count: int) -> None:
    clock = camera_clock(steady(count), steady(count))
    assert np.array_equal(clock.arrivals, steady(count)) and clock.lost == 0
    assert clock.rate_hz == (pytest.approx(15) if count > 1 else None)


def test_stamps_out_of_order_keep_their_rate() -> None:
    """One frame in five changes places with the next: the stamps are a camera's all the same."""
    stamps = steady(30)
    for number in range(0, 30, 5):
        stamps[[number, number + 1]] = stamps[[number + 1, number]]
    clock = camera_clock(stamps, steady(30))
    assert (clock.source, clock.lost, clock.problems) == ("header stamps", 0, ())
    assert set(np.diff(clock.arrivals)) == {STEP}


@pytest.mark.parametrize("leap", [-40 * SECOND, 3600 * SECOND, 10**18, -START])
def test_a_clock_that_is_set_under_way_makes_no_gap(leap: int) -> None:
    stamps = steady()
    stamps[140:] += leap
    clock = camera_clock(stamps, steady())
    assert (clock.source, clock.lost) == ("header stamps", 0)
    assert np.array_equal(clock.arrivals, steady())
    assert any("the camera's clock was set" in problem for problem in clock.problems)


def test_a_pause_is_no_setting_of_the_clock() -> None:
    stamps = steady()
    stamps[140:] += 60 * SECOND
    clock = camera_clock(stamps, stamps + 5)
    assert (clock.lost, clock.problems) == (900, ())


def test_a_few_stray_stamps_cost_nothing() -> None:
    stamps = steady()
    stamps[[40, 41, 200]] = 0, 0, 2 * START
    clock = camera_clock(stamps, in_bursts(steady(), 4))
    assert (clock.source, clock.lost) == ("header stamps", 0) and clock.rate_hz == pytest.approx(15)
    assert "the header stamps of 3 frames" in clock.problems[0]


def test_two_drivers_whose_clocks_differ_are_timed_by_receiving() -> None:
    stamps = steady()
    stamps[::2] += 500 * SECOND
    clock = camera_clock(stamps, steady())
    assert clock.source == "receive times" and clock.rate_hz == pytest.approx(15)


def test_late_frames_are_no_lost_ones() -> None:
    assert lost_frames(some_late(steady(900), 10, SECOND // 10)) == 0
    assert lost_frames(np.delete(steady(60), [55, 56])) == lost_frames(np.delete(steady(60), [2, 3])) == 2
    assert usual_period([5, 5]) is None and usual_period([7]) is None


def test_the_nearest_is_paired_one_to_one() -> None:
    frames, others = steady(6), np.array([-87, STEP + 1, STEP + 40, 5 * STEP - STEP // 3, 9 * STEP]) + START
    assert paired(frames, frames, others, others, STEP / 2).tolist() == [0, 1, -1, -1, -1, 3]
    assert paired(frames, frames, others, others, 0).tolist() == [-1] * 6


# --- In bags ----------------------------------------------------------------------------------------------------------


def off_by(number: int, nanoseconds: int) -> Recorded:
    """Labels whose stamp went through a float."""
    recorded = labels(number)
    moved = image(number, stamp=stamp_of(number) + nanoseconds)
    return recorded._replace(data=moved.data[:12] + recorded.data[12:])


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", ["none", "message", "storage"])
def test_truth_with_rounded_stamps_is_paired(tmp_path: Path, storage: str, compression: str) -> None:
    if (storage, compression) == ("sqlite3", "storage"):
        return
    drive = [each for number in range(16) for each in (image(number), off_by(number, (number * 37) % 175 - 87))]
    with open_bag(write_bag_of(tmp_path / "drive", drive, storage, compression)) as bag:
        for number, frame in enumerate(bag.frames()):
            assert frame.labels is not None and np.array_equal(frame.labels, label_map(number))
        assert bag.problems == []


def test_what_is_not_paired_is_counted(tmp_path: Path) -> None:
    drive = [image(number) for number in range(8)] + [
        labels(2),
        labels(5),
        off_by(20, 0),
        off_by(6, PERIOD // 2 + 10**6),
    ]
    drive.append(image(7)._replace(time=stamp_of(8)))
    with open_bag(write_bag_of(tmp_path / "drive", sorted(drive, key=lambda each: each.time))) as bag:
        found = [number for number, frame in enumerate(bag.frames()) if frame.labels is not None]
        assert found == [2, 5, 7]
        assert bag.problems == [
            "6 of 9 frames on /image have no labels on /labels_truth; they are not scored.",
            "1 of 4 labels on /labels_truth have no frame on /image; they go unused.",
        ]


def test_truth_is_paired_by_receive_times_where_stamps_are_none(tmp_path: Path) -> None:
    drive = [image(number, stamp=0) for number in range(6)]
    drive += [labels(number)._replace(data=image(0, stamp=0).data[:12] + labels(number).data[12:]) for number in (1, 4)]
    with open_bag(write_bag_of(tmp_path / "drive", drive)) as bag:
        for number, frame in enumerate(bag.frames()):
            assert (frame.labels is not None) == (number in (1, 4))
            assert frame.labels is None or np.array_equal(frame.labels, label_map(number))


def test_info_says_by_which_clock(tmp_path: Path) -> None:
    drive = [image(number, time=stamp_of(8)) for number in range(8)]
    with open_bag(write_bag_of(tmp_path / "drive", drive)) as bag:
        lines = bag_info(bag)
    assert any("10.00 Hz by the header stamps, 8 frames, about 0 lost" in line for line in lines)
    assert any("the receive times 0.0 to 0.0 ms" in line for line in lines)
    with open_bag(write_bag_of(tmp_path / "one", [image(0)])) as bag:
        assert any("rate not known, 1 frames" in line for line in bag_info(bag))


@pytest.mark.skipif(not BURSTS.is_dir(), reason="the cases are not at hand")
def test_the_reported_burst_is_15_hz() -> None:
    with open_bag(BURSTS) as bag:
        summary = bag.camera_summary("/cam/image_raw")
    assert summary.rate_hz == pytest.approx(15) and (summary.lost_frames, summary.clock) == (0, "header stamps")

"""Bags replayed in simulated time with a real, small network: figures worked out by hand, bags that are not whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_parts import PERIOD, Recorded, image, labels, stamp_of, write_bag_of
from json_schema import violations
from stream_setup import stream_network
from test_replay_report import SCHEMA

from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.replay.bags import BagError
from lowlat_seg_ros.replay.messages import IMAGE, Header, serialized_image
from lowlat_seg_ros.replay.profile import Profile
from lowlat_seg_ros.replay.replay import Model, Outcome, replay_bag
from lowlat_seg_ros.replay.report import SystemReport
from lowlat_seg_ros.replay.settings import PolicySettings, ReplaySettings

# The cameras of these bags have a period of 100 ms.
QUICK = Profile("quick", fast_ms=40, key_frame_ms=45, slow_ms=120, full_ms=90, single_ms=20)
EVERY_THIRD = ReplaySettings(PolicySettings("fixed_interval", interval=3))


def replay(bag: Path, profile: Profile = QUICK, settings: ReplaySettings = EVERY_THIRD) -> Outcome:
    return replay_bag(bag, Model(stream_network(), "0" * 64), settings, profile)


def systems(outcome: Outcome, camera: int = 0) -> tuple[SystemReport, SystemReport, SystemReport]:
    two_tracks, full, single = outcome.report.cameras[camera].systems
    return two_tracks, full, single


def drive(count: int, with_truth: bool = False, **options: Any) -> list[Recorded]:
    frames = [image(number, **options) for number in range(count)]
    return [*frames, *(labels(number) for number in range(count))] if with_truth else frames


def text_without_timings(outcome: Outcome) -> str:
    mapping = outcome.report.to_mapping()
    del mapping["timings"]
    return json_text(mapping)


def test_a_bag_gives_the_same_report_twice_but_for_the_timings(tmp_path: Path) -> None:
    bag = write_bag_of(tmp_path / "bag", drive(8, with_truth=True))
    settings = ReplaySettings(PolicySettings("predicted_deviation", threshold=0.4))
    first, second = replay(bag, settings=settings), replay(bag, settings=settings)
    assert text_without_timings(first) == text_without_timings(second)
    assert first.pictures == second.pictures
    document = json.loads(json_text(first.report.to_mapping()))
    assert list(violations(document, SCHEMA, SCHEMA)) == []
    assert document["cameras"][0]["frames_with_truth"] == 8


def test_latencies_and_key_frames_are_those_of_the_profile(tmp_path: Path) -> None:
    two_tracks, full, single = systems(replay(write_bag_of(tmp_path / "bag", drive(7))))
    assert two_tracks.timeline["latency_ms"] == [45.0, 40.0, 40.0, 45.0, 40.0, 40.0, 45.0]
    assert two_tracks.timeline["key_reason"] == ["first frame", "", "", "interval", "", "", "interval"]
    # Sh is done with frame 0 at 165: until then there is no key frame.
    assert two_tracks.timeline["is_first"] == [True, True, False, False, False, False, False]
    assert (two_tracks.latency_ms.first_frames.count, two_tracks.latency_ms.first_frames.max) == (2, 45)
    assert two_tracks.latency_ms.key_frames.count == 2
    assert two_tracks.latency_ms.key_frames.max == 45
    assert two_tracks.latency_ms.other_frames.p50 == 40
    assert two_tracks.counts.key_frame_ratio == pytest.approx(3 / 7)
    assert full.timeline["latency_ms"] == [90.0] * 7
    assert single.latency_ms.all_frames.p99 == 20
    assert two_tracks.scores is None
    assert full.agreement is None


def test_a_slow_track_of_120_ms_serves_the_second_frame_after_the_key_frame(tmp_path: Path) -> None:
    # Key frame 3 arrives at 300, is handed over at 345 and done at 465: frame 4 at 400 still has the temporary key,
    # frame 5 at 500 the accurate one.
    two_tracks, _, _ = systems(replay(write_bag_of(tmp_path / "bag", drive(6))))
    assert two_tracks.timeline["key_is_accurate"] == [False, False, True, True, False, True]
    assert two_tracks.timeline["key_age_frames"] == [None, None, 2, 3, 1, 2]
    assert two_tracks.timeline["slow_track_busy"] == [True, True, False, True, True, False]
    assert two_tracks.slow_track is not None
    assert two_tracks.slow_track.delay_ms.max == 120
    assert two_tracks.slow_track.done == 2


def test_a_slow_track_that_is_slower_than_the_key_frames_come_takes_the_next_when_it_is_free(tmp_path: Path) -> None:
    # Frame 0 is in work from 45 to 395. Frame 4 is the next key frame, in work from 445 to 795; 5, 6 and 7 are put off
    # meanwhile, 8 follows from 845 to 1195, and 9 is put off.
    two_tracks, _, _ = systems(
        replay(
            write_bag_of(tmp_path / "bag", drive(10)),
            replace(QUICK, slow_ms=350),
            ReplaySettings(PolicySettings("fixed_interval", interval=1)),
        )
    )
    slow_track = two_tracks.slow_track
    assert slow_track is not None
    assert (slow_track.done, slow_track.discarded) == (3, 0)
    assert slow_track.delay_ms.max == pytest.approx(350)


def test_a_fast_track_slower_than_the_camera_drops_frames_and_misses_deadlines(tmp_path: Path) -> None:
    # 0 is there at 250; 2 (the newest by then) is taken then, 4 at 500 in the moment when 5 comes, 7 at 750, 8 at 1000.
    two_tracks, _, _ = systems(
        replay(
            write_bag_of(tmp_path / "bag", drive(9)),
            replace(QUICK, fast_ms=250, key_frame_ms=250),
            ReplaySettings(PolicySettings("fixed_interval", interval=100)),
        )
    )
    assert two_tracks.timeline["status"] == [
        "late", "dropped", "late", "dropped", "late", "dropped", "dropped", "late", "late"
    ]  # fmt: skip
    assert two_tracks.timeline["latency_ms"][0] == 250
    assert two_tracks.timeline["latency_ms"][2] == 300  # taken at 250, 50 after it came
    counts = two_tracks.counts
    assert (counts.frames_in, counts.labelled, counts.dropped, counts.late) == (9, 5, 4, 5)
    assert counts.deadline_misses == 9
    # Of camera frames. Sh is done with frame 0 at 370.
    assert two_tracks.timeline["key_age_frames"] == [None, None, None, None, 4, None, None, 7, 8]


def test_a_frame_is_late_from_the_first_moment_after_one_period(tmp_path: Path) -> None:
    bag = write_bag_of(tmp_path / "bag", drive(3))
    punctual = Profile("a period", fast_ms=100, key_frame_ms=100, slow_ms=1, full_ms=100.1, single_ms=1)
    two_tracks, full, _ = systems(replay(bag, punctual, ReplaySettings(PolicySettings("fixed_interval", interval=9))))
    assert two_tracks.timeline["status"] == ["labelled"] * 3
    assert full.timeline["status"] == ["late"] * 3
    two_tracks, full, _ = systems(replay(bag, replace(punctual, key_frame_ms=100.1, full_ms=100)))
    assert two_tracks.timeline["status"][0] == "late"
    assert full.timeline["status"] == ["labelled"] * 3


def test_two_cameras_share_the_worker_and_the_slow_track(tmp_path: Path) -> None:
    both = [
        message for number in range(12) for message in (image(number, "/left/image"), image(number, "/right/image"))
    ]
    outcome = replay(write_bag_of(tmp_path / "bag", both), replace(QUICK, slow_ms=300))
    left, right = (systems(outcome, camera)[0] for camera in (0, 1))
    # The left camera is served first, the right one when it is done.
    assert left.timeline["latency_ms"][:8] == [45, 40, 40, 40, 45, 40, 40, 40]
    assert right.timeline["latency_ms"][:8] == [90, 80, 80, 80, 85, 80, 80, 85]
    # The track does left 0 (handed over at 45) until 345, right 0 (90) until 645, left 4 (445) until 945, right 7 (785)
    # until 1245, left 10 (1045) until 1545. Right 10 is put off.
    assert left.slow_track is not None
    assert right.slow_track is not None
    assert (left.slow_track.delay_ms.count, left.slow_track.delay_ms.max) == (3, 500)
    assert (right.slow_track.delay_ms.count, right.slow_track.delay_ms.max) == (2, 555)
    assert (left.slow_track.discarded, right.slow_track.discarded) == (0, 0)


def test_waiting_for_sh_on_every_frame_gives_the_full_network_s_labels_and_its_latency(tmp_path: Path) -> None:
    settings = ReplaySettings(PolicySettings("fixed_interval", interval=1), low_latency=False)
    bag = write_bag_of(tmp_path / "bag", drive(5, with_truth=True))
    outcome = replay(bag, settings=settings)
    two_tracks, full, _ = systems(outcome)
    assert two_tracks.agreement is not None
    assert two_tracks.agreement.min == 1.0
    assert two_tracks.scores is not None
    assert full.scores is not None
    assert two_tracks.scores.confusion == full.scores.confusion
    assert two_tracks.timeline["latency_ms"] == [90.0] * 5
    assert list(outcome.pictures) == ["pictures/image_labelled.webm"]  # no frame differs


def test_streaming_accuracy_scores_dropped_frames_too(tmp_path: Path) -> None:
    bag = write_bag_of(tmp_path / "bag", drive(5, with_truth=True))
    _, full, single = systems(replay(bag, replace(QUICK, full_ms=190)))
    assert full.scores is not None
    assert full.scores.frames < 5
    assert full.scores.streaming_frames == 5
    assert single.scores is not None
    assert single.scores.frames == 5


# --- Bags that are not whole ------------------------------------------------------------------------------------------


def test_a_bag_that_lost_a_tenth_of_its_messages_is_evaluated_and_says_so(tmp_path: Path) -> None:
    kept = [message for number, message in enumerate(drive(20)) if number not in (7, 13)]
    outcome = replay(write_bag_of(tmp_path / "bag", kept))
    assert outcome.report.cameras[0].frames == 18
    assert outcome.report.cameras[0].period_ms == 100
    (problem,) = outcome.report.bag.problems
    assert "/image has lost about 2 of 20 frames" in problem


def test_a_bag_cut_in_the_middle_of_a_chunk_is_evaluated_as_far_as_it_goes(tmp_path: Path) -> None:
    bag = write_bag_of(tmp_path / "bag", drive(12, size=(160, 120)))
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    outcome = replay(bag)
    assert 2 <= outcome.report.cameras[0].frames < 12
    assert any("cut short" in problem for problem in outcome.report.bag.problems)


def test_a_bag_without_cameras_is_refused_in_one_line_that_says_what_it_has(tmp_path: Path) -> None:
    speech = Recorded("/speech", "std_msgs/msg/String", 1, b"\x00\x01\x00\x00\x02\x00\x00\x00a\x00")
    bag = write_bag_of(tmp_path / "bag", [speech])
    with pytest.raises(BagError) as refusal:
        replay(bag)
    assert "no camera images" in str(refusal.value)
    assert "/speech (std_msgs/msg/String)" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_camera_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    bag = write_bag_of(tmp_path / "bag", drive(2))
    with pytest.raises(BagError, match="no images on a topic /rear; it has them on /image"):
        replay(bag, settings=ReplaySettings(cameras=("/rear",)))


def test_only_the_cameras_that_were_asked_for_are_replayed(tmp_path: Path) -> None:
    both = [*drive(3, topic="/left/image"), *drive(3, topic="/right/image")]
    outcome = replay(write_bag_of(tmp_path / "bag", both), settings=ReplaySettings(cameras=("right/image",)))
    assert [camera.topic for camera in outcome.report.cameras] == ["/right/image"]


def test_a_depth_camera_beside_a_real_one_is_named_and_left_out(tmp_path: Path) -> None:
    depth = serialized_image(np.zeros((12, 16), np.uint8), "16UC1", Header(stamp_of(0), "depth"))
    messages = [*drive(3), Recorded("/depth", IMAGE, stamp_of(0), depth)]
    outcome = replay(write_bag_of(tmp_path / "bag", messages))
    assert [camera.topic for camera in outcome.report.cameras] == ["/image"]
    assert any("/depth" in problem and "16UC1" in problem for problem in outcome.report.bag.problems)


def test_a_clock_that_jumps_back_starts_the_stream_anew(tmp_path: Path) -> None:
    laps = [image(number, time=stamp_of(number), stamp=stamp_of(number % 8)) for number in range(16)]
    outcome = replay(write_bag_of(tmp_path / "bag", laps))
    two_tracks, _, _ = systems(outcome)
    assert [number for number, first in enumerate(two_tracks.timeline["is_first"]) if first] == [0, 1, 8, 9]
    assert [number for number, why in enumerate(two_tracks.timeline["key_reason"]) if why == "first frame"] == [0, 8]
    (problem,) = outcome.report.cameras[0].problems
    assert "the stamp went back by 0.700 s" in problem


def test_stamps_that_go_back_a_little_cost_those_frames_as_in_the_node(tmp_path: Path) -> None:
    """One frame in five comes after the next one: it is dropped, and the stream goes on."""
    order = [number + (number % 5 == 1) - (number % 5 == 2) for number in range(15)]
    swapped = [image(number, time=stamp_of(place)) for place, number in enumerate(order)]
    outcome = replay(write_bag_of(tmp_path / "bag", swapped))
    two_tracks, full_network, _ = systems(outcome)
    assert [place for place, status in enumerate(two_tracks.timeline["status"]) if status == "dropped"] == [2, 7, 12]
    assert (two_tracks.counts.labelled, full_network.counts.labelled) == (12, 15)
    assert two_tracks.timeline["key_reason"].count("first frame") == 1
    (problem,) = outcome.report.cameras[0].problems
    assert "stamp is before the last one's are dropped, as the node drops them (3 times in all)" in problem


def test_a_truth_with_ids_that_the_model_does_not_have_is_left_out_and_named(tmp_path: Path) -> None:
    foreign = serialized_image(np.full((12, 16), 40, np.uint8), "mono8", Header(stamp_of(0), "front"))
    messages = [*drive(3), labels(1), Recorded("/labels_truth", IMAGE, stamp_of(0), foreign)]
    outcome = replay(write_bag_of(tmp_path / "bag", messages))
    assert outcome.report.cameras[0].frames_with_truth == 1
    assert any("class id 40" in problem for problem in outcome.report.bag.problems)


def test_a_single_frame_has_no_deadline(tmp_path: Path) -> None:
    outcome = replay(write_bag_of(tmp_path / "bag", drive(1)))
    assert outcome.report.cameras[0].period_ms is None
    assert systems(outcome)[0].counts.late == 0


def test_progress_counts_every_frame(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    bag = write_bag_of(tmp_path / "bag", drive(3))
    replay_bag(
        bag, Model(stream_network(), ""), EVERY_THIRD, QUICK, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_stamp_of_the_first_frame_keeps_its_nanoseconds(tmp_path: Path) -> None:
    stamps = [1_700_000_000_000_000_007 + number * PERIOD for number in range(2)]
    bag = write_bag_of(tmp_path / "bag", [image(n, time=stamp, stamp=stamp) for n, stamp in enumerate(stamps)])
    assert replay(bag).report.cameras[0].first_stamp == "1700000000.000000007"

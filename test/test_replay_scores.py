"""Streaming accuracy, scores by distance, temporal consistency and the worst frames, worked out by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lowlat_seg_ros.data.clips import open_clip
from lowlat_seg_ros.evaluation.optical_flow import FlowField, grey_for_flow
from lowlat_seg_ros.replay.disagreements import APART, FRAMES_KEPT, Disagreements, file_stem
from lowlat_seg_ros.replay.frames import ReplayFrame
from lowlat_seg_ros.replay.labelled_video import MOST_FRAMES, LabelledVideo
from lowlat_seg_ros.replay.tally import StreamingScore, TruthScores

COLOURS = ((255, 0, 0), (0, 255, 0))


def labels(*values: int) -> NDArray[np.uint8]:
    return np.array([values], np.uint8)


def test_streaming_accuracy_scores_the_labels_that_are_there_at_the_time_of_the_truth() -> None:
    score = StreamingScore(2)
    score.truth_at(0, labels(0, 1))  # nothing is there yet: both wrong
    score.labels_available_at(90, labels(0, 1))
    score.truth_at(89, labels(0, 1))  # one too early: both wrong
    score.truth_at(90, labels(0, 1))  # there now: both right
    score.labels_available_at(190, labels(1, 1))
    score.truth_at(180, labels(0, 0))  # the world has moved on, the old labels count: one right
    # Class 0: 5 true pixels, of which 2 right, none wrongly predicted; class 1: 3 true, 1 right, 1 wrongly predicted.
    assert score.matrix.class_iou().tolist() == pytest.approx([2 / 5, 1 / 4])
    assert score.matrix.mean_iou() == pytest.approx((2 / 5 + 1 / 4) / 2)
    assert score.matrix.frames == 4


def test_streaming_accuracy_takes_the_newest_of_many_labels_without_keeping_them_all() -> None:
    score = StreamingScore(2)
    for number in range(100):
        score.labels_available_at(10 * number, labels(number % 2, 0))
    score.truth_at(990, labels(1, 0))
    assert score.matrix.mean_iou() == 1.0
    assert len(score._coming) <= 2


def test_a_truth_of_another_size_than_the_labels_is_all_wrong() -> None:
    score = StreamingScore(2)
    score.labels_available_at(0, labels(0, 1))
    score.truth_at(1, np.zeros((2, 2), np.uint8))
    assert score.matrix.mean_iou() == 0.0


def test_scores_are_told_apart_by_the_distance_from_the_key_frame() -> None:
    scores = TruthScores(2)
    truth = labels(0, 0, 1, 1)
    for time, (given, distance) in enumerate(((truth, 0), (labels(0, 0, 0, 1), 3), (labels(1, 1, 0, 0), 3))):
        scores.streaming.truth_at(time, truth)
        scores.add(given, truth, distance)
    report = scores.report()
    assert report is not None
    assert [(each.distance, each.frames) for each in report.by_distance] == [(0, 1), (3, 2)]
    assert report.by_distance[0].mean_iou == 1.0
    # At distance 3 there are 4 true pixels of either class: 2 of class 0 are right and 3 wrongly predicted, …
    assert report.by_distance[1].mean_iou == pytest.approx((2 / 7 + 1 / 6) / 2)
    assert report.confusion == [[4, 2, 0], [3, 3, 0]]
    assert report.frames == 3


def test_without_truth_there_are_no_scores() -> None:
    scores = TruthScores(2)
    scores.streaming.labels_available_at(0, labels(0, 1))
    assert scores.report() is None


# --- Optical flow -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    index: int
    grey: NDArray[np.uint8]


def test_labels_are_carried_to_where_their_pixels_have_moved() -> None:
    random = np.random.default_rng(0)
    blobs = cv2.GaussianBlur(random.random((120, 200)), (0, 0), 3)
    scene = np.interp(blobs, (blobs.min(), blobs.max()), (0, 255)).astype(np.uint8)
    places = np.tile(np.arange(200) // 20 % 10, (120, 1)).astype(np.uint8)
    before, now = Shown(0, scene[:, 6:166].copy()), Shown(1, scene[:, :160].copy())  # moved 6 pixels to the right
    carried = FlowField().carried(np.ascontiguousarray(places[:, 6:166]), before, now)
    inner = np.s_[20:100, 20:140]
    assert np.mean(carried[inner] == places[:, :160][inner]) > 0.98
    assert np.mean(places[:, 6:166][inner] == places[:, :160][inner]) < 0.75  # so that standing still would not do
    assert np.mean(carried[:, :3] == 255) > 0.5  # these came from outside


def test_large_frames_are_compared_at_a_smaller_size() -> None:
    assert grey_for_flow(np.zeros((720, 1280, 3), np.uint8)).shape == (270, 480)
    assert grey_for_flow(np.zeros((60, 80, 3), np.uint8)).shape == (60, 80)


# --- The worst frames -------------------------------------------------------------------------------------------------


def offer(kept: Disagreements, index: int, arrival: int, agreement: float) -> None:
    full = np.zeros((4, 10), np.uint8)
    given = full.copy()
    given.reshape(-1)[: round(40 * (1 - agreement))] = 1
    image = np.full((4, 10, 3), 200, np.uint8)
    kept.offer(ReplayFrame("/a", index, arrival, arrival, image, None, lambda _: full), given, agreement, 2)


def test_the_worst_frames_are_kept_one_of_each_scene() -> None:
    kept = Disagreements("/front/image", COLOURS)
    for index, agreement in enumerate((0.9, 0.5, 0.6, 1.0)):  # one scene
        offer(kept, index, index * APART // 10, agreement)
    for index in range(10, 20):
        offer(kept, index, index * APART, 0.7 + index / 100)
    entries, files = kept.report(first_arrival=0)
    assert [entry.frame for entry in entries] == [1, 10, 11, 12, 13, 14]
    assert len(entries) == FRAMES_KEPT
    assert entries[0].time_s == 0.1
    assert entries[0].key_age_frames == 2
    assert entries[0].picture == "pictures/front.image_000001_picture.jpg"
    assert len(files) == 4 * FRAMES_KEPT


def test_no_two_cameras_share_their_files() -> None:
    """`/a/b` and `/a_b` were one, so that one camera's pictures replaced the other's."""
    cameras = ["/a/b", "/a_b", "/a__b", "/a.b", "a.b", "a/b", "//a/b", "/a/b/", "/a//b", "/A/b", "/é", "/e\u0301"]
    cameras += ["", "/", "..", "/../x", "/" + "a" * 5000, "/" + "a" * 5001, "/a\nb", "/\udcff", "/camera_1"]
    stems = [file_stem(camera) for camera in cameras]
    assert len(set(stems)) == len(stems)
    assert all(re.fullmatch(r"\w[\w.]{0,99}", stem, re.ASCII) and ".." not in stem for stem in stems)
    assert stems[:2] == ["a.b", "a_b"]


def test_the_difference_shows_only_the_pixels_that_differ() -> None:
    kept = Disagreements("/a", COLOURS)
    offer(kept, 0, 0, 0.75)
    entries, files = kept.report(0)
    picture = cv2.imdecode(np.frombuffer(files[entries[0].difference], np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    assert np.array_equal(picture[0], np.tile(COLOURS[1], (10, 1)))
    assert not picture[1:].any()


def test_a_long_drive_becomes_a_short_video_of_evenly_spaced_frames(tmp_path: Path) -> None:
    video = LabelledVideo(COLOURS)
    for number in range(3 * MOST_FRAMES):
        grey = np.full((24, 32, 3), number * 255 // (3 * MOST_FRAMES), np.uint8)
        video.offer(grey, np.full((24, 32), 255, np.uint8))
    content = video.content(15.0)
    assert video.every == 4 and content is not None
    (tmp_path / "drive.webm").write_bytes(content)
    shades = [int(frame[0].mean()) for frame in open_clip(tmp_path / "drive.webm").frames()]
    assert shades == pytest.approx(
        list(np.arange(0, 3 * MOST_FRAMES, 4) * 255 / (3 * MOST_FRAMES)), abs=8
    )  # of a lossy picture


def test_frames_of_another_size_are_not_stretched(tmp_path: Path) -> None:
    video = LabelledVideo(COLOURS)
    for height, width in ((24, 32), (32, 16), (24, 32)):
        video.offer(np.full((height, width, 3), 200, np.uint8), np.full((height, width), 255, np.uint8))
    content = video.content(15.0)
    assert content is not None
    (tmp_path / "drive.webm").write_bytes(content)
    first, odd, last = open_clip(tmp_path / "drive.webm").frames()
    assert first.shape == odd.shape and first.min() > 100 and last.min() > 100
    assert odd[:, 11:21].min() > 60 and odd[:, :8].max() < 60 and odd[:, 24:].max() < 60  # 12 columns in the middle


def test_a_video_needs_two_frames() -> None:
    video = LabelledVideo(COLOURS)
    assert video.content(15.0) is None
    video.offer(np.zeros((24, 32, 3), np.uint8), np.zeros((24, 32), np.uint8))
    assert video.content(15.0) is None


def test_frames_that_agree_are_no_disagreements() -> None:
    kept = Disagreements("/a", COLOURS)
    offer(kept, 0, 0, 1.0)
    assert kept.report(0) == ([], {})

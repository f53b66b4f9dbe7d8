"""The camera player as a process: every frame once, in order, with the stamps of the times they were due."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from node_setup import KEEP_ALL, PATIENCE, TestBench, own_namespace
from sensor_msgs.msg import Image
from stream_setup import moving_frames

from lowlat_seg_ros.data.image_message import image_to_rgb
from lowlat_seg_ros.ros.conversions import nanoseconds
from lowlat_seg_ros.ros.player import Schedule

FRAMES = moving_frames(6, (40, 30))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    for number, frame in enumerate(FRAMES):
        cv2.imwrite(str(folder / f"{number}.png"), frame[..., ::-1])
    return folder


@pytest.fixture
def bench() -> Iterator[TestBench]:
    bench = TestBench(own_namespace("player"))
    yield bench
    bench.close()


def player(bench: TestBench, *arguments: str, **pipes: Any) -> subprocess.Popen[str]:
    namespace = ("--ros-args", "-r", f"__ns:={bench.namespace}")
    command = [sys.executable, "-m", "lowlat_seg_ros.ros.camera_player", *arguments, *namespace]
    return subprocess.Popen(command, text=True, **pipes)


def images_on(bench: TestBench, topic: str) -> list[Image]:
    received: list[Image] = []
    bench.node.create_subscription(Image, topic, received.append, KEEP_ALL)
    return received


@pytest.mark.parametrize("encoding", ["bgr8", pytest.param("rgba8", marks=pytest.mark.slow)])
def test_every_frame_arrives_once_and_in_order(bench: TestBench, clip: Path, encoding: str) -> None:
    received = images_on(bench, "front")
    process = player(bench, str(clip), "--topic", "front", "--encoding", encoding, "--rate", "20", "--frame-id", "lens")
    bench.spin_until(lambda: process.poll() is not None and len(received) >= len(FRAMES), "all frames")
    assert process.returncode == 0
    assert _frames(received) == [frame.tobytes() for frame in FRAMES]
    assert {(image.encoding, image.header.frame_id) for image in received} == {(encoding, "lens")}
    # Multiples of the period, also where a frame was put off; never less than one.
    steps = np.diff([nanoseconds(image.header.stamp) for image in received])
    assert (steps >= 50_000_000).all()


def test_a_supervised_player_waits_for_its_sign_and_reports_what_it_sent(bench: TestBench, clip: Path) -> None:
    received = images_on(bench, "image")
    process = player(bench, str(clip), "--supervised", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    bench.spin_until(lambda: len(received) >= len(FRAMES), "all frames")
    process.stdin.close()
    *sent, end = [json.loads(line) for line in process.stdout]
    assert [each["stamp"] for each in sent] == [nanoseconds(image.header.stamp) for image in received]
    assert end["sent"] == len(FRAMES)
    assert end["longest_delay"] >= 0 and end["put_off"] >= 0
    assert process.wait(PATIENCE) == 0


def test_frames_held_in_memory_are_played_in_rounds_at_every_sign_and_on_every_topic(
    bench: TestBench, clip: Path
) -> None:
    front, rear = images_on(bench, "front"), images_on(bench, "rear")
    topics = ("--topic", "front", "--topic", "rear")
    given = (str(clip), *topics, "--rate", "20", "--rounds", "2", "--in-memory", "--supervised")
    process = player(bench, *given, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    for plays in (1, 2):
        process.stdin.write("\n")
        process.stdin.flush()
        whole = 2 * plays * len(FRAMES)
        bench.spin_until(lambda: len(front) >= whole and len(rear) >= whole, "all rounds")  # noqa: B023
    process.stdin.close()
    ends = [event for event in map(json.loads, process.stdout) if "sent" in event]
    assert [end["sent"] for end in ends] == [2 * len(FRAMES)] * 2
    assert process.wait(PATIENCE) == 0
    for received in (front, rear):
        assert _frames(received) == [frame.tobytes() for frame in FRAMES] * 4
    stamps = [nanoseconds(image.header.stamp) for image in front]
    assert stamps == sorted(set(stamps)) == [nanoseconds(image.header.stamp) for image in rear]


def test_a_clip_that_cannot_be_read_is_one_sentence(bench: TestBench, tmp_path: Path) -> None:
    process = player(bench, str(tmp_path / "nothing.mp4"), stderr=subprocess.PIPE)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    (line,) = errors.splitlines()
    assert line.startswith("camera_player: The clip ") and "does not exist" in line


def test_frames_are_due_one_period_apart_however_late_they_are_sent() -> None:
    schedule = Schedule(tolerated_delay=100)
    due = []
    for number, late in enumerate((0, 30, 99, 5)):
        due.append(schedule.due(100 * number))
        schedule.sent(late)
    assert due == [0, 100, 200, 300]
    assert (schedule.put_off, schedule.latest) == (0, 99)


def test_a_player_that_falls_behind_sends_no_burst() -> None:
    schedule = Schedule(tolerated_delay=100)
    schedule.sent(0)
    schedule.sent(350 - schedule.due(100))
    assert schedule.due(200) == 450
    assert schedule.put_off == 250


def _frames(images: list[Image]) -> list[bytes]:
    return [image_to_rgb(image).tobytes() for image in images]

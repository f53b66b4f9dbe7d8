"""Several cameras in one node, and a camera whose network fails, over real DDS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from node_setup import FakeCamera, TestBench, own_namespace, running_node
from stream_setup import moving_frames

NAMES = ("front", "vehicle/rear", "")


@pytest.fixture(scope="module")
def cameras(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Iterator[dict[str, FakeCamera]]:
    namespace = own_namespace("cameras")
    # Nobody publishes /clock: simulated time stands still, and diagnostics must come all the same.
    parameters = {"model": checkpoint, "cameras": list(NAMES), "policy": "fixed_interval", "interval": 2}
    parameters["use_sim_time"] = True
    parameters["low_latency"] = False  # which frame is a key frame then does not depend on how long Sh takes
    with running_node(tmp_path_factory.mktemp("log") / "log", namespace, parameters):
        bench = TestBench(namespace)
        cameras = {name: FakeCamera(bench, name) for name in NAMES}
        for camera in cameras.values():
            camera.connect()
        yield cameras
        bench.close()


def test_every_camera_has_its_own_topics(cameras: dict[str, FakeCamera]) -> None:
    """Frames of other sizes, so that an exchange would show."""
    for number, camera in enumerate(cameras.values()):
        (frame,) = moving_frames(1, (40 + number, 30), seed=number)
        assert camera.label_ids(camera.segment(frame)).shape == (30, 40 + number)


def test_every_camera_has_its_own_stream(cameras: dict[str, FakeCamera]) -> None:
    """The rear camera's frames between the front camera's neither count as its frames nor become its key."""
    front, rear = cameras["front"], cameras["vehicle/rear"]
    front_frames, rear_frames = moving_frames(4, seed=1), moving_frames(4, seed=2)
    front.segment(front_frames[0], stamp=10)
    rear.segment(rear_frames[0], stamp=20)
    for front_frame, rear_frame in zip(front_frames[1:], rear_frames[1:], strict=True):
        front.segment(front_frame)
        rear.segment(rear_frame)
    for camera, first_stamp in ((front, 10), (rear, 20)):
        newest = sorted(camera.key_frames)[-3:]
        assert [camera.key_frames[stamp].is_key_frame for stamp in newest] == [False, True, False]
        assert camera.key_frames[newest[0]].key_stamp.nanosec == first_stamp


def test_labels_are_those_of_a_camera_alone(cameras: dict[str, FakeCamera]) -> None:
    frame = moving_frames(1, seed=5)[0]
    labels = [camera.label_ids(camera.segment(frame, stamp=1)) for camera in cameras.values()]
    assert all(np.array_equal(each, labels[0]) for each in labels)


def test_diagnostics_have_a_line_for_each(cameras: dict[str, FakeCamera]) -> None:
    front = cameras["front"]
    bench = front.bench
    bench.diagnostics.clear()
    segmented = {name: int(bench.newest_status(each.image_topic)["images segmented"]) for name, each in cameras.items()}
    front.segment(moving_frames(1)[0])
    expected = str(segmented["front"] + 1)
    bench.spin_until(lambda: bench.newest_status("front/image")["images segmented"] == expected, "the count")
    assert bench.newest_status("image")["images segmented"] == str(segmented[""])

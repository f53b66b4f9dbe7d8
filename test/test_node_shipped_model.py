"""The model that ships, in the node, over real DDS: a road where there is a road."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from node_setup import FakeCamera, TestBench, own_namespace, running_node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from lowlat_seg_ros.data.classes import CAMVID_CLASSES, ROAD, SKY
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet


def test_the_street_has_its_classes_on_key_frames_and_between(tmp_path: Path) -> None:
    street = SyntheticStreet(size=(640, 480), frame_count=6)
    namespace = own_namespace("shipped")
    waiting = {"device": "cpu", "policy": "fixed_interval", "interval": 3, "low_latency": False}
    with running_node(tmp_path / "log", namespace, waiting):
        bench = TestBench(namespace)
        camera = FakeCamera(bench).connect()
        confusion = ConfusionMatrix(len(CAMVID_CLASSES))
        key_frames = []
        for shown in (street[index] for index in range(len(street))):
            stamp = camera.segment(np.ascontiguousarray(shown.image[..., ::-1]), "bgr8")
            key_frames.append(camera.key_frames[stamp].is_key_frame)
            confusion.add(camera.label_ids(stamp), shown.labels)
        names = _latched_classes(bench)
        bench.close()
    assert key_frames == [True, False, False, True, False, False]
    assert names == list(CAMVID_CLASSES)
    assert confusion.class_iou()[[ROAD, SKY]].min() > 0.7
    assert confusion.pixel_accuracy() > 0.6


def _latched_classes(bench: TestBench) -> list[str]:
    """As a subscriber hears them that comes long after the node."""
    heard: list[String] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    bench.node.create_subscription(String, "lowlat_seg/classes", heard.append, latched)
    bench.spin_until(lambda: bool(heard), "the classes")
    return [entry["name"] for entry in json.loads(heard[0].data)]

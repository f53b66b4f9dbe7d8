"""The examples, with made data over real DDS."""

from __future__ import annotations

import importlib.util
import json
from array import array
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from node_setup import TestBench, own_namespace
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header, String

from lowlat_seg_ros.ros.conversions import image_message, stamp_of

EXAMPLE = Path(__file__).parents[1] / "examples" / "paint_point_cloud.py"


def test_a_point_cloud_is_painted_with_the_labels_of_its_stamp() -> None:
    """Whichever comes first; labels and clouds of other stamps are not mixed up."""
    spec = importlib.util.spec_from_file_location("paint_point_cloud", EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    bench = TestBench(own_namespace("painter"))
    painter = example.PointCloudPainter(namespace=bench.namespace, context=bench.context)
    bench.executor.add_node(painter)
    found: dict[int, PointCloud2] = {}
    bench.node.create_subscription(
        PointCloud2, "point_cloud_painter/painted", lambda message: found.update({message.header.stamp.sec: message}), 5
    )
    clouds = bench.node.create_publisher(PointCloud2, "points", 5)
    labels = bench.node.create_publisher(Image, "labels", 5)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    classes = bench.node.create_publisher(String, "classes", latched)
    classes.publish(String(data=json.dumps([{"id": 0, "colour": [1, 2, 3]}, {"id": 1, "colour": [200, 100, 50]}])))
    bench.spin_until(
        lambda: all(each.get_subscription_count() for each in (clouds, labels, classes)), "the painter at its topics"
    )
    bench.spin_until(lambda: bool((painter._colours[1] == [200, 100, 50]).all()), "the classes")
    points = np.arange(2 * 3 * 3, dtype=np.float32).reshape(2, 3, 3)
    fields = [PointField(name=name, offset=4 * index, datatype=7, count=1) for index, name in enumerate("xyz")]
    ids = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)

    def header(second: int) -> Header:
        return Header(stamp=stamp_of(second * 1_000_000_000), frame_id="front_camera")

    def cloud(second: int) -> PointCloud2:
        message = PointCloud2(header=header(second), height=2, width=3, fields=fields, point_step=12, row_step=36)
        message.data = array("B", points.tobytes())
        return message

    clouds.publish(cloud(1))
    labels.publish(image_message(1 - np.minimum(ids, 1), "mono8", header(2)))
    labels.publish(image_message(ids, "mono8", header(1)))
    bench.spin_until(lambda: 1 in found, "the first cloud")
    clouds.publish(cloud(2))
    bench.spin_until(lambda: 2 in found, "the second cloud")
    kind = np.dtype([("xyz", "<f4", 3), ("b", "u1"), ("g", "u1"), ("r", "u1"), ("none", "u1")])
    read = np.frombuffer(found[1].data, kind).reshape(2, 3)
    assert [field.name for field in found[1].fields] == ["x", "y", "z", "rgb"] and found[1].point_step == 16
    assert np.array_equal(read["xyz"], points)
    colours = np.array([[1, 2, 3], [200, 100, 50]])
    expected = np.where(ids[..., None] == 255, 128, colours[np.minimum(ids, 1)])
    assert np.array_equal(np.stack([read["r"], read["g"], read["b"]], axis=-1), expected)
    assert np.frombuffer(found[2].data, kind)["r"][1] == 1
    bench.executor.remove_node(painter)
    painter.destroy_node()
    bench.close()

"""Paints a camera's aligned point cloud with the node's labels: `points` in, `~/painted` out, synchronised by stamp.

    python examples/paint_point_cloud.py --ros-args -r points:=/camera/depth/points -r labels:=/lowlat_seg/labels \\
        -r classes:=/lowlat_seg/classes

The cloud has a point for every pixel of the label image (organised, as depth cameras publish it). Whichever of the two
comes first waits for the other; a cloud without labels is left out.
"""

from __future__ import annotations

import contextlib
import json
from array import array
from collections import OrderedDict
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import String

WAITING = 10  # messages that are kept until their counterpart comes
UNLABELLED_COLOUR = (128, 128, 128)


class PointCloudPainter(Node):
    """Pairs clouds and labels of one stamp."""

    def __init__(self, **options: Any) -> None:
        super().__init__("point_cloud_painter", **options)
        self._colours = np.tile(np.array(UNLABELLED_COLOUR, np.uint8), (256, 1))
        self._clouds: OrderedDict[tuple[int, int], PointCloud2] = OrderedDict()
        self._labels: OrderedDict[tuple[int, int], Image] = OrderedDict()
        self._painted = self.create_publisher(PointCloud2, "~/painted", 5)
        self.create_subscription(PointCloud2, "points", self._on_cloud, qos_profile_sensor_data)
        self.create_subscription(Image, "labels", self._on_labels, qos_profile_sensor_data)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, "classes", self._on_classes, latched)

    def _on_classes(self, message: String) -> None:
        for each in json.loads(message.data):
            self._colours[each["id"]] = each["colour"]

    def _on_cloud(self, cloud: PointCloud2) -> None:
        labels = self._labels.pop(_stamp(cloud), None)
        if labels is None:
            _keep(self._clouds, cloud)
        else:
            self._paint(cloud, labels)

    def _on_labels(self, labels: Image) -> None:
        cloud = self._clouds.pop(_stamp(labels), None)
        if cloud is None:
            _keep(self._labels, labels)
        else:
            self._paint(cloud, labels)

    def _paint(self, cloud: PointCloud2, labels: Image) -> None:
        if (cloud.width, cloud.height) != (labels.width, labels.height):
            self.get_logger().warning(
                f"a cloud of {cloud.width}x{cloud.height} points and labels of {labels.width}x{labels.height} pixels; "
                "expected a point for every pixel",
                throttle_duration_sec=10.0,
            )
            return
        ids = np.frombuffer(labels.data, np.uint8).reshape(labels.height, labels.step)[:, : labels.width]
        self._painted.publish(painted(cloud, self._colours[ids]))


def painted(cloud: PointCloud2, colours: NDArray[np.uint8]) -> PointCloud2:
    """The cloud with colours, (H, W, 3) uint8 RGB, as a last field `rgb`, packed as PCL and RViz read it."""
    rows = np.frombuffer(cloud.data, np.uint8).reshape(cloud.height, cloud.row_step)
    points = rows[:, : cloud.width * cloud.point_step].reshape(cloud.height, cloud.width, cloud.point_step)
    packed = np.zeros((cloud.height, cloud.width, 4), np.uint8)
    packed[..., :3] = colours[..., ::-1]  # blue first: 0x00rrggbb, little-endian
    if cloud.is_bigendian:
        packed = packed[..., ::-1]
    data = np.ascontiguousarray(np.concatenate([points, packed], axis=2))
    fields = [field for field in cloud.fields if field.name != "rgb"]
    fields.append(PointField(name="rgb", offset=cloud.point_step, datatype=PointField.FLOAT32, count=1))
    message = PointCloud2(
        header=cloud.header,
        height=cloud.height,
        width=cloud.width,
        fields=fields,
        is_bigendian=cloud.is_bigendian,
        point_step=data.shape[2],
        row_step=data[0].size,
        is_dense=cloud.is_dense,
    )
    message.data = array("B", data.tobytes())
    return message


def _stamp(message: Any) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec


def _keep(waiting: OrderedDict[tuple[int, int], Any], message: Any) -> None:
    waiting[_stamp(message)] = message
    if len(waiting) > WAITING:
        waiting.popitem(last=False)


def main() -> None:
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt):
        rclpy.spin(PointCloudPainter())


if __name__ == "__main__":
    main()

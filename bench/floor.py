"""What the floor under the node does: bench.floor_node runs it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lowlat_seg_ros.msg import KeyFrameDiagnostics
from rclpy.node import Node
from sensor_msgs.msg import Image

from lowlat_seg_ros.ros.conversions import image_message, nanoseconds
from lowlat_seg_ros.ros.endpoints import newest_only, output
from lowlat_seg_ros.ros.losses import Arrival, LossCounter


class Floor:
    """Copies an image's bytes and publishes an empty label image of its size."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._sequence = 0
        self._losses = LossCounter()
        self._copy = np.empty(0, np.uint8)
        self._labels = np.empty((0, 0), np.uint8)
        self._publisher = self._node.create_publisher(Image, "~/labels", output())
        self._key_frames = self._node.create_publisher(KeyFrameDiagnostics, "~/keyframe", output())
        self._diagnostics = self._node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._images = self._node.create_subscription(Image, "image", self._on_image, newest_only())
        self._node.create_timer(1.0, self._publish_diagnostics)

    def _on_image(self, message: Image, information: dict[str, Any]) -> None:
        entry = time.perf_counter()
        age = self._node.get_clock().now().nanoseconds - nanoseconds(message.header.stamp)
        copied = self._copied(message)
        self._publisher.publish(image_message(self._labels, "mono8", message.header))
        total = time.perf_counter() - entry
        self._losses.received(Arrival.of(information, nanoseconds(message.header.stamp)), publisher_count=1)
        self._key_frames.publish(
            KeyFrameDiagnostics(
                header=message.header,
                sequence=self._sequence,
                age_ms=age / 1e6,
                low_ms=copied * 1000,
                total_ms=total * 1000,
                frames_dropped=self._losses.total or 0,
            )
        )
        self._sequence += 1

    def _copied(self, message: Image) -> float:
        """Seconds of the memory copy that stands for a network."""
        if self._copy.size != len(message.data):
            self._copy = np.empty(len(message.data), np.uint8)
            self._labels = np.zeros((message.height, message.width), np.uint8)
        began = time.perf_counter()
        np.copyto(self._copy, np.frombuffer(message.data, np.uint8))
        return time.perf_counter() - began

    def _publish_diagnostics(self) -> None:
        connections = {
            "image publishers": self._images.get_publisher_count(),
            "labels subscribers": self._publisher.get_subscription_count(),
            "keyframe subscribers": self._key_frames.get_subscription_count(),
        }
        values = [KeyValue(key=key, value=str(value)) for key, value in connections.items()]
        name = f"{self._node.get_fully_qualified_name()}: {self._images.topic_name}"
        status = DiagnosticStatus(name=name, message="copying", hardware_id="cpu", values=values)
        self._diagnostics.publish(DiagnosticArray(status=[status]))

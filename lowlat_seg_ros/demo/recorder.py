"""What the node published during the demo, kept with as little work as possible: the node needs the cores."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from lowlat_seg_ros.msg import KeyFrameDiagnostics
from lowlat_seg_ros.ros.conversions import nanoseconds

DEEP: Final = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)

FASTEST_COMPRESSION: Final = 1
"""Of zlib: a label image shrinks to a few percent in a millisecond or two."""

CONNECTIONS: Final = ("image publishers", "labels subscribers", "keyframe subscribers")


@dataclass
class Recording:
    """Label images and key frame messages by the stamp (nanoseconds) of their image."""

    key_frames: dict[int, KeyFrameDiagnostics] = field(default_factory=dict)
    _compressed: dict[int, tuple[tuple[int, int], bytes]] = field(default_factory=dict)

    def add_labels(self, message: Image) -> None:
        shape = (message.height, message.width)
        self._compressed[nanoseconds(message.header.stamp)] = shape, zlib.compress(message.data, FASTEST_COMPRESSION)

    def add_key_frame(self, message: KeyFrameDiagnostics) -> None:
        self.key_frames[nanoseconds(message.header.stamp)] = message

    def labels(self, stamp: int) -> NDArray[np.uint8] | None:
        """The labels of the image of that stamp, (H, W), if there are any."""
        if stamp not in self._compressed:
            return None
        shape, data = self._compressed[stamp]
        return np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape)

    @property
    def labelled_count(self) -> int:
        return len(self._compressed)

    @property
    def dropped_count(self) -> int:
        """Images that the node said were lost on their way to it."""
        newest = max(self.key_frames.values(), key=lambda message: message.sequence, default=None)
        return 0 if newest is None else int(newest.frames_dropped)

    def is_complete(self, sent_stamps: list[int]) -> bool:
        """Whether the last image that was sent has all its messages, and with it every one before that ever will."""
        return bool(sent_stamps) and sent_stamps[-1] in self._compressed and sent_stamps[-1] in self.key_frames


class Recorder:
    """Subscribes to everything the node publishes but the overlay."""

    def __init__(
        self,
        node: Node,
        camera_topic: str,
        labels_topic: str,
        key_frame_topic: str,
        recording: Recording | None = None,
    ) -> None:
        """``recording``: what the messages are kept in, by their stamps unless given."""
        self.recording = Recording() if recording is None else recording
        self._camera_topic = camera_topic
        self._status: DiagnosticStatus | None = None
        self._subscriptions = [
            node.create_subscription(Image, labels_topic, self.recording.add_labels, DEEP),
            node.create_subscription(KeyFrameDiagnostics, key_frame_topic, self.recording.add_key_frame, DEEP),
        ]
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def is_connected(self) -> bool:
        """Whether camera, node and recorder have found each other, seen from both ends of every connection."""
        return self._node_sees_all() and all(each.get_publisher_count() for each in self._subscriptions)

    @property
    def device(self) -> str:
        """Where the node says it runs; empty before its first word."""
        return "" if self._status is None else str(self._status.hardware_id)

    @property
    def diagnostics(self) -> dict[str, str]:
        """The node's newest word on the camera."""
        return {} if self._status is None else {pair.key: pair.value for pair in self._status.values}

    def _node_sees_all(self) -> bool:
        return all(self.diagnostics.get(name, "0") != "0" for name in CONNECTIONS)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(f": {self._camera_topic}"):
                self._status = status


@contextmanager
def recorder_node(namespace: str) -> Iterator[tuple[Node, SingleThreadedExecutor]]:
    """A ROS node for recorders within the block, and the executor that lets them work."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("recorder", namespace=namespace)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        yield node, executor
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()

"""What a node publishes, kept by another process with as little work as possible: the node needs the cores."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from lowlat_seg_ros.msg import KeyFrameDiagnostics
from lowlat_seg_ros.ros.conversions import nanoseconds

DEEP: Final = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)

FASTEST_COMPRESSION: Final = 1
"""Of zlib: a label image shrinks to a few percent in a millisecond or two."""


class ArrivedLabels(NamedTuple):
    """One label image as it came."""

    stamp: int  # nanoseconds, of its header
    arrived: int  # nanoseconds on the monotonic clock, which all processes of a machine share
    by_clock: int  # nanoseconds of the system's clock, as a camera's stamps are
    shape: tuple[int, int]  # height, width
    compressed: bytes  # none where the labels are let go


@dataclass(frozen=True)
class Answer:
    """The node's labels of one image, and what it said about them."""

    image: ArrivedLabels
    key_frame: KeyFrameDiagnostics

    def labels(self) -> NDArray[np.uint8]:
        """(H, W) class ids."""
        return np.frombuffer(zlib.decompress(self.image.compressed), np.uint8).reshape(self.image.shape)


@dataclass
class Recording:
    """One camera's label images and key frame messages in the order in which they came."""

    keeps_labels: bool = True
    _labels: list[ArrivedLabels] = field(default_factory=list)
    _messages: list[KeyFrameDiagnostics] = field(default_factory=list)

    def add_labels(self, message: Image) -> None:
        times = time.monotonic_ns(), time.time_ns()
        compressed = zlib.compress(message.data, FASTEST_COMPRESSION) if self.keeps_labels else b""
        shape = (message.height, message.width)
        self._labels.append(ArrivedLabels(nanoseconds(message.header.stamp), *times, shape, compressed))

    def add_key_frame(self, message: KeyFrameDiagnostics) -> None:
        self._messages.append(message)

    @property
    def labelled_count(self) -> int:
        return min(len(self._labels), len(self._messages))

    @property
    def dropped_count(self) -> int:
        """Images that the node said were lost on their way to it; 0 where it does not know."""
        dropped = int(self._messages[-1].frames_dropped) if self._messages else 0
        return 0 if dropped == KeyFrameDiagnostics.FRAMES_DROPPED_NOT_KNOWN else dropped

    def accounts_for(self, sent_count: int) -> bool:
        """Whether that many images have their labels or were reported lost."""
        return len(self._labels) == len(self._messages) and self.labelled_count + self.dropped_count >= sent_count

    def has_answered(self, stamp: int) -> bool:
        """Whether the image of that stamp (nanoseconds) has all its messages and is the newest one that has."""
        return len(self._labels) == len(self._messages) > 0 and self._labels[-1].stamp == stamp

    def answers(self, stamps: Sequence[int]) -> list[Answer | None]:
        """The answer to each image sent, by their stamps in the order of sending; None to those that were lost."""
        # Publisher and subscriber keep the order, so the next answer belongs to the next image of its stamp. Not by a
        # dictionary: a bag in a loop repeats its stamps.
        known = set(stamps)
        pairs = zip(self._labels, self._messages, strict=False)
        pending = [Answer(labels, message) for labels, message in pairs if labels.stamp in known][::-1]
        return [pending.pop() if pending and pending[-1].image.stamp == stamp else None for stamp in stamps]


class Recorder:
    """Subscribes to everything that a node publishes for one camera, but the overlay."""

    def __init__(self, node: Node, image: str, outputs: str, recording: Recording, image_publishers: int = 1) -> None:
        """
        Args:
            node: this process's.
            image: the camera's own topic, fully qualified.
            outputs: what precedes "/labels" and "/keyframe".
            recording: what the messages are kept in.
            image_publishers: how many the node must see.
        """
        self.recording = recording
        self._image = image
        self._image_publishers = image_publishers
        self._status: DiagnosticStatus | None = None
        self._subscriptions = [
            node.create_subscription(Image, f"{outputs}/labels", recording.add_labels, DEEP),
            node.create_subscription(KeyFrameDiagnostics, f"{outputs}/keyframe", recording.add_key_frame, DEEP),
        ]
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def is_connected(self) -> bool:
        """Whether players, node and recorder have found each other, seen from both ends of every connection."""
        told = self.diagnostics
        return (
            int(told.get("image publishers", "0")) >= self._image_publishers
            and all(told.get(name, "0") != "0" for name in ("labels subscribers", "keyframe subscribers"))
            and all(each.get_publisher_count() for each in self._subscriptions)
        )

    @property
    def device(self) -> str:
        """Where the node says it runs; empty before its first word."""
        return "" if self._status is None else str(self._status.hardware_id)

    @property
    def diagnostics(self) -> dict[str, str]:
        """The node's newest word on the camera."""
        return {} if self._status is None else {pair.key: pair.value for pair in self._status.values}

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(f": {self._image}"):
                self._status = status

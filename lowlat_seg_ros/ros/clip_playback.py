"""Sending the frames of a clip as a camera would: each once, when it is due."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lowlat_seg_ros.data.clips import Clip
from lowlat_seg_ros.ros.conversions import NANOSECONDS_A_SECOND, image_message, stamp_of

FROM_RGB: Final[dict[str, int | None]] = {
    "bgr8": cv2.COLOR_RGB2BGR,
    "rgb8": None,
    "bgra8": cv2.COLOR_RGB2BGRA,
    "rgba8": cv2.COLOR_RGB2RGBA,
    "mono8": cv2.COLOR_RGB2GRAY,
}
"""The encodings that a clip can be sent in, and OpenCV's way to each."""

RELIABLE: Final = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Takes nothing from best-effort subscribers, and lets reliable ones (RViz) connect."""

SECONDS_TO_BE_TAKEN: Final = 1.0
"""The last image lies in this process's shared memory until the subscriber has taken it."""


@dataclass(frozen=True)
class PlaybackOptions:
    """How a clip is sent."""

    topic: str = "image"
    encoding: str = "bgr8"
    frame_id: str = "camera"
    loop: bool = False
    supervised: bool = False


@dataclass
class Schedule:
    """When frames are due, in nanoseconds after the first.

    A camera that falls behind sends no burst to catch up: from one period of delay on the later frames are put off.
    """

    period: int
    due: int = 0
    put_off: int = 0  # in all
    latest: int = 0  # the longest that a frame was sent after it was due

    def sent(self, now: int) -> None:
        """The frame that was due went out; the next one follows after a period."""
        late = now - self.due
        self.latest = max(self.latest, late)
        if late > self.period:
            self.put_off += late
            self.due += late
        self.due += self.period


class ClipPlayback:
    """Publishes the frames of a clip, each when it is due."""

    def __init__(self, node: Node, clip: Clip, options: PlaybackOptions) -> None:
        self._node = node
        self._clip = clip
        self._options = options
        self._publisher = node.create_publisher(Image, options.topic, RELIABLE)
        self._schedule = Schedule(period=round(NANOSECONDS_A_SECOND / clip.rate_hz))
        self._sent = 0

    def play(self) -> None:
        """Wait for a subscriber, send the clip, report; raises ClipError for a frame that cannot be read."""
        self._wait_for_subscriber()
        if self._options.supervised:
            sys.stdin.readline()
        self._first_stamp = self._node.get_clock().now().nanoseconds
        self._first_sent = time.monotonic_ns()
        self._play_once()
        while self._options.loop:
            self._play_once()
        self._report()
        self._stay()

    def _wait_for_subscriber(self) -> None:
        log = self._node.get_logger()
        log.info(
            f"{self._clip.name}: {self._clip.size[0]}x{self._clip.size[1]} at {self._clip.rate_hz:g} Hz, "
            f"waiting for a subscriber on {self._publisher.topic_name}"
        )
        while self._publisher.get_subscription_count() == 0:
            time.sleep(0.02)

    def _play_once(self) -> None:
        for frame in self._clip.frames():
            pixels = _encoded(frame, self._options.encoding)
            _sleep_until(self._first_sent + self._schedule.due)
            self._send(pixels)

    def _send(self, pixels: NDArray[np.uint8]) -> None:
        stamp = self._first_stamp + self._schedule.due
        header = Header(stamp=stamp_of(stamp), frame_id=self._options.frame_id)
        self._publisher.publish(image_message(pixels, self._options.encoding, header))
        self._schedule.sent(time.monotonic_ns() - self._first_sent)
        self._sent += 1
        if self._options.supervised:
            print(json.dumps({"stamp": stamp}), flush=True)

    def _report(self) -> None:
        log = self._node.get_logger()
        log.info(f"sent {self._sent} frames")
        if self._schedule.put_off:
            log.warning(
                f"could not keep {self._clip.rate_hz:g} Hz: frames were put off {self._schedule.put_off / 1e6:.0f} ms "
                f"in all and by {self._schedule.latest / 1e6:.0f} ms at most; none was left out"
            )

    def _stay(self) -> None:
        if self._options.supervised:
            print(json.dumps({"sent": self._sent}), flush=True)
            sys.stdin.read()
        else:
            time.sleep(SECONDS_TO_BE_TAKEN)


def _sleep_until(nanoseconds: int) -> None:
    """On the monotonic clock."""
    time.sleep(max(0, nanoseconds - time.monotonic_ns()) / NANOSECONDS_A_SECOND)


def _encoded(frame: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    conversion = FROM_RGB[encoding]
    return frame if conversion is None else cv2.cvtColor(frame, conversion).astype(np.uint8, copy=False)

"""Sending the frames of a clip as a camera would: each once, when it is due."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator
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

    topics: tuple[str, ...] = ("image",)  # a frame goes out on each of them
    encoding: str = "bgr8"
    frame_id: str = "camera"
    rounds: int | None = 1  # how often the clip is played; None: again and again
    in_memory: bool = False  # frames become messages before the first is due: sending then costs what a driver's does
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
        self._publishers = [node.create_publisher(Image, topic, RELIABLE) for topic in options.topics]

    def play(self) -> None:
        """Wait for subscribers, send the clip, report; raises ClipError for a frame that cannot be read.

        Where it is supervised, every line on standard input plays the clip, until standard input is closed.
        """
        messages = list(self._messages()) if self._options.in_memory else None
        self._wait_for_subscribers()
        if not self._options.supervised:
            self._play_rounds(messages)
            time.sleep(SECONDS_TO_BE_TAKEN)
            return
        while sys.stdin.readline():
            self._play_rounds(messages)

    def _wait_for_subscribers(self) -> None:
        log = self._node.get_logger()
        log.info(
            f"{self._clip.name}: {self._clip.size[0]}x{self._clip.size[1]} at {self._clip.rate_hz:g} Hz, "
            f"waiting for a subscriber on {', '.join(publisher.topic_name for publisher in self._publishers)}"
        )
        while any(publisher.get_subscription_count() == 0 for publisher in self._publishers):
            time.sleep(0.02)

    def _messages(self) -> Iterator[Image]:
        """The frames as messages, but for their stamps."""
        header = Header(frame_id=self._options.frame_id)
        for frame in self._clip.frames():
            yield image_message(_encoded(frame, self._options.encoding), self._options.encoding, header)

    def _play_rounds(self, messages: list[Image] | None) -> None:
        """``messages``: the clip's, where they are held in memory."""
        self._schedule = Schedule(period=round(NANOSECONDS_A_SECOND / self._clip.rate_hz))
        self._first_stamp = self._node.get_clock().now().nanoseconds
        self._first_sent = time.monotonic_ns()
        self._sent = 0
        rounds = itertools.count() if self._options.rounds is None else range(self._options.rounds)
        for _ in rounds:
            self._play_once(self._messages() if messages is None else messages)
        self._report()

    def _play_once(self, messages: Iterable[Image]) -> None:
        for message in messages:
            _sleep_until(self._first_sent + self._schedule.due)
            self._send(message)

    def _send(self, message: Image) -> None:
        stamp = self._first_stamp + self._schedule.due
        message.header = Header(stamp=stamp_of(stamp), frame_id=self._options.frame_id)
        for publisher in self._publishers:
            publisher.publish(message)
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
        if self._options.supervised:
            delays = {"longest_delay": self._schedule.latest, "put_off": self._schedule.put_off}
            print(json.dumps({"sent": self._sent, **delays}), flush=True)


def _sleep_until(nanoseconds: int) -> None:
    """On the monotonic clock."""
    time.sleep(max(0, nanoseconds - time.monotonic_ns()) / NANOSECONDS_A_SECOND)


def _encoded(frame: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    conversion = FROM_RGB[encoding]
    return frame if conversion is None else cv2.cvtColor(frame, conversion).astype(np.uint8, copy=False)

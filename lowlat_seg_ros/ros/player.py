"""Playing a clip or a recorded drive as cameras would: every frame once, each when it is due."""

from __future__ import annotations

import heapq
import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lowlat_seg_ros.data.clips import Clip
from lowlat_seg_ros.replay.bags import Bag, BagFrame
from lowlat_seg_ros.ros.conversions import NANOSECONDS_A_SECOND, image_message, stamp_of
from lowlat_seg_ros.ros.stop_signals import Stopped, StopSignals

FROM_RGB: Final[dict[str, int | None]] = {
    "bgr8": cv2.COLOR_RGB2BGR,
    "rgb8": None,
    "bgra8": cv2.COLOR_RGB2BGRA,
    "rgba8": cv2.COLOR_RGB2RGBA,
    "mono8": cv2.COLOR_RGB2GRAY,
}
"""The encodings that a clip can be sent in, and OpenCV's way to each."""

SECONDS_TO_BE_TAKEN: Final = 1.0
"""The last image lies in this process's shared memory until the subscriber has taken it."""

CLOCK_PERIOD: Final = NANOSECONDS_A_SECOND // 40
"""Nanoseconds between two clock messages at most: `ros2 bag play` sends 40 a second."""

TOLERATED_DELAY: Final = 20_000_000
"""Nanoseconds that a bag's frames may be late before the later ones are put off."""

SIGN_OF_LIFE: Final = NANOSECONDS_A_SECOND
"""A supervised player that waits for the next frame says so once in as many nanoseconds: recordings have pauses."""

LONGEST_PAUSE: Final = 5 * NANOSECONDS_A_SECOND
"""Nanoseconds of the drive. Where a recording, or a damaged receive time, says more, the rest is left out."""

PAUSE_OF_SINGLE_FRAMES: Final = NANOSECONDS_A_SECOND // 10
"""Nanoseconds between the rounds of a bag whose frames show no rate."""


class DueImage(NamedTuple):
    """An image to be sent, and when."""

    due: int  # nanoseconds after the first one of the play
    message: Image
    camera: str | None = None  # the topic of a bag that it goes to, with its recorded stamp; None: to all, stamped anew
    drive_time: int = 0  # nanoseconds on the drive's clock when it is due


class Source(Protocol):
    """What is played."""

    description: str
    topics: dict[str, str]  # where each camera is published
    rate: float  # seconds of its own time that pass in one second
    rate_in_words: str
    tolerated_delay: int  # nanoseconds
    left_out: int  # nanoseconds of pauses that were not played in the last play

    def images(self) -> Iterator[DueImage]:
        """Those of one play, in order."""
        ...


@dataclass(frozen=True)
class ClipOptions:
    """How a clip is sent."""

    topics: tuple[str, ...] = ("image",)  # a frame goes out on each of them
    encoding: str = "bgr8"
    frame_id: str = "camera"
    rounds: int | None = 1  # how often the clip is played; None: again and again
    in_memory: bool = False  # frames become messages before the first is due: sending then costs what a driver's does


class ClipSource:
    """A clip in a camera's place, with the stamps of the times that its frames are due."""

    rate, left_out = 1.0, 0

    def __init__(self, clip: Clip, options: ClipOptions) -> None:
        """Raises ClipError for a frame that cannot be read, where all are held in memory; else `images` does."""
        self._clip = clip
        self._options = options
        self._held = list(self._timed_messages()) if options.in_memory else None
        self.topics = {topic: topic for topic in options.topics}
        self.description = f"{clip.name}: {clip.size[0]}x{clip.size[1]} at {clip.rate_hz:g} Hz"
        self.rate_in_words = f"{clip.rate_hz:g} Hz"
        self.tolerated_delay = self._period = round(NANOSECONDS_A_SECOND / clip.rate_hz)

    def images(self) -> Iterator[DueImage]:
        rounds = itertools.count() if self._options.rounds is None else range(self._options.rounds)
        begin = 0  # of the round
        for _ in rounds:
            due = begin
            for time_in_clip, message in self._timed_messages() if self._held is None else self._held:
                due = begin + time_in_clip
                yield DueImage(due, message)
            begin = due + self._period

    def _timed_messages(self) -> Iterable[tuple[int, Image]]:
        header, encoding = Header(frame_id=self._options.frame_id), self._options.encoding
        conversion = FROM_RGB[encoding]
        for time_in_clip, frame in self._clip.timed_frames():
            encoded = frame if conversion is None else np.asarray(cv2.cvtColor(frame, conversion), np.uint8)
            yield time_in_clip, image_message(encoded, encoding, header)


class BagSource:
    """A recorded drive: each picture when it is due by its receive time, stamps as recorded."""

    rate_in_words, tolerated_delay = "the rate", TOLERATED_DELAY

    def __init__(self, bag: Bag, cameras: tuple[str, ...], rate: float = 1.0, rounds: int = 1) -> None:
        """``cameras`` are the bag's topics; ``rate`` is the drive's seconds that are played in one second."""
        self._bag = bag
        self._rounds = rounds
        self.rate = rate
        self.left_out = 0
        self.topics = {camera: played_topic(camera) for camera in cameras}
        self.description = bag.name

    def images(self) -> Iterator[DueImage]:
        self.left_out = 0
        begin = 0  # of the round, nanoseconds of the drive's own pace
        for _ in range(self._rounds):
            first = last = None
            count = left_out = 0
            for frame in frames_in_order(self._bag, tuple(self.topics)):
                first = frame.arrival if first is None else first
                left_out += 0 if last is None else max(0, frame.arrival - last - LONGEST_PAUSE)
                due = begin + frame.arrival - first - left_out
                header = Header(stamp=stamp_of(frame.stamp), frame_id=frame.frame_id)
                message = image_message(frame.image, "rgb8", header)
                yield DueImage(round(due / self.rate), message, frame.topic, frame.arrival)
                last, count = frame.arrival, count + 1
            self.left_out += left_out
            duration = 0 if first is None or last is None else last - first - left_out
            begin += duration + (duration // (count - 1) if duration else PAUSE_OF_SINGLE_FRAMES)


def played_topic(camera: str) -> str:
    """Where a camera is played: the bag's own topic, but within the player's namespace, and decoded."""
    return camera.removesuffix("/compressed").lstrip("/")


def frames_in_order(bag: Bag, cameras: tuple[str, ...]) -> Iterator[BagFrame]:
    """The frames of these cameras by their arrival."""
    return heapq.merge(*(bag.frames(camera) for camera in cameras), key=lambda frame: frame.arrival)


@dataclass
class Schedule:
    """How far behind its schedule a player is, in nanoseconds.

    A camera that falls behind sends no burst to catch up: from the tolerated delay on the later frames are put off.
    """

    tolerated_delay: int
    put_off: int = 0  # in all
    latest: int = 0  # the longest that a frame was sent after it was due

    def due(self, planned: int) -> int:
        """When a frame is due now that was planned for then."""
        return planned + self.put_off

    def sent(self, late: int) -> None:
        """A frame went out so long after it was due."""
        self.latest = max(self.latest, late)
        if late > self.tolerated_delay:
            self.put_off += late


class Player:
    """Publishes what a source has, each image when it is due."""

    def __init__(
        self,
        node: Node,
        source: Source,
        is_supervised: bool,
        has_clock: bool = False,
        reliability: str = "reliable",
    ) -> None:
        """
        Args:
            node: of this process.
            source: what is played.
            is_supervised: play at every line on standard input until it is closed, and tell of every frame.
            has_clock: publish the drive's time on /clock.
            reliability: that the images are offered with. "reliable" takes nothing from best-effort subscribers, and
                lets reliable ones (RViz) connect.
        """
        self._node = node
        self._source = source
        self._is_supervised = is_supervised
        offered = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])
        self._publishers = {
            camera: node.create_publisher(Image, topic, offered) for camera, topic in source.topics.items()
        }
        self._clock = node.create_publisher(Clock, "/clock", 10) if has_clock else None

    def run(self) -> None:
        """Wait for subscribers, then play; raises what the source does for a frame that cannot be read."""
        topics = ", ".join(publisher.topic_name for publisher in self._publishers.values())
        self._node.get_logger().info(f"{self._source.description}, waiting for a subscriber on {topics}")
        while not all(publisher.get_subscription_count() for publisher in self._publishers.values()):
            time.sleep(0.02)
        if not self._is_supervised:
            self._play()
            time.sleep(SECONDS_TO_BE_TAKEN)
            return
        while sys.stdin.readline():
            self._play()

    def _play(self) -> None:
        schedule = Schedule(self._source.tolerated_delay)
        first_stamp, begin = self._node.get_clock().now().nanoseconds, time.monotonic_ns()
        count = 0
        for image in self._source.images():
            due = schedule.due(image.due)
            self._wait_until(begin + due, image.drive_time)
            if image.camera is None:
                stamp = first_stamp + due
                image.message.header.stamp = stamp_of(stamp)
            schedule.sent(self._send(image) - begin - due)
            count += 1
        self._report(count, schedule)

    def _send(self, image: DueImage) -> int:
        """Returns when, in nanoseconds on the monotonic clock."""
        now = time.monotonic_ns()
        stamp = image.message.header.stamp
        told: dict[str, object] = {"stamp": stamp.sec * NANOSECONDS_A_SECOND + stamp.nanosec}
        if image.camera is None:
            for publisher in self._publishers.values():
                publisher.publish(image.message)
        else:
            self._publishers[image.camera].publish(image.message)
            told.update(camera=image.camera, sent=now)
        self._tell(told)
        return now

    def _wait_until(self, due: int, drive_time: int) -> None:
        """Sleep until ``due`` on the monotonic clock, when it is ``drive_time`` on the drive's."""
        last_sign = time.monotonic_ns()
        while (left := due - time.monotonic_ns()) > 0:
            if time.monotonic_ns() - last_sign > SIGN_OF_LIFE:
                last_sign = time.monotonic_ns()
                self._tell({"waiting": left})
            self._publish_clock(drive_time - round(left * self._source.rate))
            time.sleep(min(left, CLOCK_PERIOD) / NANOSECONDS_A_SECOND)
        self._publish_clock(drive_time)

    def _publish_clock(self, drive_time: int) -> None:
        if self._clock is not None:
            self._clock.publish(Clock(clock=stamp_of(max(0, drive_time))))

    def _report(self, count: int, schedule: Schedule) -> None:
        log = self._node.get_logger()
        log.info(f"sent {count} frames, each at most {schedule.latest / 1e6:.1f} ms after it was due")
        if schedule.put_off:
            log.warning(
                f"could not keep {self._source.rate_in_words}: frames were put off {schedule.put_off / 1e6:.0f} ms "
                f"in all and by {schedule.latest / 1e6:.0f} ms at most; none was left out"
            )
        delays = {"longest_delay": schedule.latest, "put_off": schedule.put_off, "left_out": self._source.left_out}
        self._tell({"sent": count, **delays})

    def _tell(self, event: dict[str, object]) -> None:
        if self._is_supervised:
            print(json.dumps(event), flush=True)


@contextmanager
def player_node(name: str, arguments: list[str], signals: StopSignals) -> Iterator[Node]:
    """A ROS node for the block, which a signal to stop ends early and well."""
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(name)
    try:
        yield node
    except Stopped:
        pass
    finally:
        signals.ignore()
        node.destroy_node()
        rclpy.try_shutdown()

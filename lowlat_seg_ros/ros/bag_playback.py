"""Sending a recorded drive as its cameras did: each picture when it is due by its receive time, stamps as recorded."""

from __future__ import annotations

import heapq
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lowlat_seg_ros.replay.bags import Bag, BagFrame
from lowlat_seg_ros.ros.clip_playback import RELIABLE, SECONDS_TO_BE_TAKEN
from lowlat_seg_ros.ros.conversions import NANOSECONDS_A_SECOND, image_message, stamp_of

CLOCK_PERIOD: Final = NANOSECONDS_A_SECOND // 40
"""Nanoseconds between two clock messages at most: `ros2 bag play` sends 40 a second."""

TOLERATED_DELAY: Final = 20_000_000
"""Nanoseconds. Behind by more than this a player puts the rest off, so that no burst follows."""

SIGN_OF_LIFE: Final = NANOSECONDS_A_SECOND
"""A supervised player that waits for the next frame says so once in as many nanoseconds: recordings have pauses."""

LONGEST_PAUSE: Final = 5 * NANOSECONDS_A_SECOND
"""Nanoseconds of the drive. Where a recording, or a damaged receive time, says more, the rest is left out."""

PAUSE_OF_SINGLE_FRAMES: Final = NANOSECONDS_A_SECOND // 10
"""Nanoseconds between the rounds of a bag whose frames show no rate."""


@dataclass(frozen=True)
class BagPlaybackOptions:
    """How a bag is sent."""

    cameras: tuple[str, ...]  # the bag's topics
    rate: float = 1.0  # seconds of the drive played in one second
    rounds: int = 1
    clock: bool = False  # publish /clock, the drive's time
    supervised: bool = False


def played_topic(camera: str) -> str:
    """Where a camera is played: the bag's own topic, but within the player's namespace, and decoded."""
    return camera.removesuffix("/compressed").lstrip("/")


def frames_in_order(bag: Bag, cameras: tuple[str, ...]) -> Iterator[BagFrame]:
    """The frames of these cameras by their receive times."""
    return heapq.merge(*(bag.frames(camera) for camera in cameras), key=lambda frame: frame.received)


@dataclass
class Lateness:
    """How far behind its schedule a player was, in nanoseconds."""

    longest: int = 0  # of a single frame
    put_off: int = 0  # that later frames were shifted by, in all
    left_out: int = 0  # of the drive's pauses, in all


class BagPlayback:
    """Publishes the frames of a bag's cameras, each when it is due."""

    def __init__(self, node: Node, bag: Bag, options: BagPlaybackOptions) -> None:
        self._node = node
        self._bag = bag
        self._options = options
        self._publishers = {
            camera: node.create_publisher(Image, played_topic(camera), RELIABLE) for camera in options.cameras
        }
        self._clock = node.create_publisher(Clock, "/clock", 10) if options.clock else None
        self._lateness = Lateness()
        self._sent = 0

    def play(self) -> None:
        """Wait for a subscriber to every camera, send the bag, report."""
        self._wait_for_subscribers()
        if self._options.supervised:
            sys.stdin.readline()
        begin = time.monotonic_ns()
        for _ in range(self._options.rounds):
            begin = self._play_round(begin)
        self._report()
        self._stay()

    def _wait_for_subscribers(self) -> None:
        topics = ", ".join(publisher.topic_name for publisher in self._publishers.values())
        self._node.get_logger().info(f"{self._bag.name}: waiting for subscribers on {topics}")
        while not all(publisher.get_subscription_count() for publisher in self._publishers.values()):
            time.sleep(0.02)

    def _play_round(self, begin: int) -> int:
        """Play all once, the first frame at `begin` on the monotonic clock; returns when the next round is due."""
        first = last = None
        count = left_out = 0
        for frame in frames_in_order(self._bag, self._options.cameras):
            first = frame.received if first is None else first
            left_out += 0 if last is None else max(0, frame.received - last - LONGEST_PAUSE)
            due = begin + round((frame.received - first - left_out) / self._options.rate)
            self._wait_until(due, frame.received)
            begin += self._send(frame, due)
            last, count = frame.received, count + 1
        self._lateness.left_out += left_out
        duration = 0 if first is None or last is None else last - first - left_out
        pause = duration / (count - 1) if duration else PAUSE_OF_SINGLE_FRAMES
        return begin + round((duration + pause) / self._options.rate)

    def _wait_until(self, due: int, drive_time: int) -> None:
        """Sleep until `due` on the monotonic clock, when it is `drive_time` on the drive's."""
        last_sign = time.monotonic_ns()
        while (left := due - time.monotonic_ns()) > 0:
            if self._options.supervised and time.monotonic_ns() - last_sign > SIGN_OF_LIFE:
                last_sign = time.monotonic_ns()
                print(json.dumps({"waiting": left}), flush=True)
            self._publish_clock(drive_time - round(left * self._options.rate))
            time.sleep(min(left, CLOCK_PERIOD) / NANOSECONDS_A_SECOND)
        self._publish_clock(drive_time)

    def _publish_clock(self, drive_time: int) -> None:
        if self._clock is not None:
            self._clock.publish(Clock(clock=stamp_of(max(0, drive_time))))

    def _send(self, frame: BagFrame, due: int) -> int:
        """Send a frame that was due at `due`; returns by how many nanoseconds the rest has to be put off."""
        message = image_message(frame.image, "rgb8", Header(stamp=stamp_of(frame.stamp), frame_id=frame.frame_id))
        now = time.monotonic_ns()
        self._publishers[frame.topic].publish(message)
        self._sent += 1
        if self._options.supervised:
            print(json.dumps({"camera": frame.topic, "stamp": frame.stamp, "sent": now}), flush=True)
        late = now - due
        self._lateness.longest = max(self._lateness.longest, late)
        if late <= TOLERATED_DELAY:
            return 0
        self._lateness.put_off += late
        return late

    def _report(self) -> None:
        log = self._node.get_logger()
        log.info(f"sent {self._sent} frames, each at most {self._lateness.longest / 1e6:.1f} ms after it was due")
        if self._lateness.put_off:
            log.warning(f"could not keep the rate: frames were put off by {self._lateness.put_off / 1e6:.0f} ms in all")

    def _stay(self) -> None:
        if self._options.supervised:
            late = self._lateness
            ending = {"longest_delay": late.longest, "put_off": late.put_off, "left_out": late.left_out}
            print(json.dumps(ending), flush=True)
            sys.stdin.read()
        else:
            time.sleep(SECONDS_TO_BE_TAKEN)

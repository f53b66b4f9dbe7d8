"""`/diagnostics` once a second, from the first second on, whatever keeps the executor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile

from lowlat_seg_ros.ros.diagnostics import ERROR, OK, WARN
from lowlat_seg_ros.ros.endpoints import publisher

PERIOD_SECONDS: Final = 1.0

LATE_SECONDS: Final = 1.5
"""Since the last report, after which a thread of its own speaks in the executor's place."""

LONGEST_START_SECONDS: Final = 60.0
ERROR_SECONDS: Final = 10.0
"""A callback that takes longer may never return."""


class Heartbeat:
    """Publishes what the executor's timer collects; while nothing does, says from a thread what keeps it."""

    def __init__(self, node: Node, collect: Callable[[], list[DiagnosticStatus]]) -> None:
        """`collect` is called in the executor's thread; the first status that it gives is the node's own."""
        self._node = node
        self._collect = collect
        self._publisher = publisher(node, DiagnosticArray, "/diagnostics", QoSProfile(depth=10))
        self._newest: list[DiagnosticStatus] = []
        self._reported = time.monotonic()
        self._published = -LATE_SECONDS
        self._work, self._work_began = "Node starting up", time.monotonic()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._stand_in, name="heartbeat", daemon=True)
        self._thread.start()
        # On a steady clock: simulated time may stand still, and diagnostics are then wanted most.
        node.create_timer(PERIOD_SECONDS, self.report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def report(self) -> None:
        """Collect and publish."""
        self._work = ""
        statuses = self._collect()
        self._newest, self._reported = statuses, time.monotonic()
        self._publish(statuses)

    @contextmanager
    def at_work(self, work: str) -> Iterator[None]:
        """What keeps the executor for the block, in words."""
        self._work, self._work_began = work, time.monotonic()
        try:
            yield
        finally:
            self._work, self._reported = "", time.monotonic()

    def close(self) -> None:
        """Publish nothing more; comes before the node is destroyed."""
        self._is_over.set()
        self._thread.join()

    def _stand_in(self) -> None:
        while not self._is_over.is_set():
            if time.monotonic() - self._published >= LATE_SECONDS:
                try:
                    self._publish(self._statuses_of_kept_executor())
                except Exception as error:  # the context is being shut down, or there is no memory for now
                    self._node.get_logger().debug(f"no heartbeat: {error}")
            self._is_over.wait(PERIOD_SECONDS / 4)

    def _statuses_of_kept_executor(self) -> list[DiagnosticStatus]:
        now, work = time.monotonic(), self._work
        if work:
            seconds = now - self._work_began
            level, message = (OK if seconds < LONGEST_START_SECONDS else WARN), f"{work} ({seconds:.0f} s)"
        else:
            seconds = now - self._reported
            level = ERROR if seconds >= ERROR_SECONDS else WARN
            message = f"one callback has kept the node for {seconds:.0f} s"
        own = DiagnosticStatus(name=own_status_name(self._node))
        return [
            DiagnosticStatus(
                level=bytes([level]),
                name=status.name,
                message=message,
                hardware_id=status.hardware_id,
                values=status.values,
            )
            for status in self._newest or [own]
        ]

    def _publish(self, statuses: list[DiagnosticStatus]) -> None:
        self._published = time.monotonic()
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


def own_status_name(node: Node) -> str:
    """Of the status that tells of the node itself, beside those of its cameras."""
    return f"{node.get_fully_qualified_name()}: node"

"""The boundary around every callback and around the executor: a fault costs one image or one request, not the node."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from rclpy.executors import ExternalShutdownException

from lowlat_seg_ros.errors import Error, printable
from lowlat_seg_ros.ros.repeated_warnings import RepeatedWarnings

if TYPE_CHECKING:
    from rclpy.executors import Executor

MOST_IN_A_ROW: Final = 100
"""The same exception from `spin_once` so many times in a row means that no message is to blame."""

PAUSE_SECONDS: Final = 0.01
"""After a second exception in a row, so that a hundred of them last longer than a moment without memory."""

LONGEST_WAIT_SECONDS: Final = 0.2
"""Python runs signal handlers only between waits."""

REMEMBERED_PLACES: Final = 100
TRACEBACK_LINES: Final = 60


class Fatal(Error):
    """What the process cannot go on after: CUDA's or ROS' own context is lost, or the executor fails for ever."""


class Faults:
    """Exceptions that nobody expected: counted, each place's traceback logged once, its repetitions now and then."""

    def __init__(self, log: Callable[[str], object]) -> None:
        self.count = 0
        self.newest = ""  # in one line
        self.newest_at = 0.0  # on the monotonic clock
        self._log = log
        self._repetitions = RepeatedWarnings(log, time.monotonic)
        self._places: set[tuple[str, int, str]] = set()

    def note(self, what: str, error: Exception) -> None:
        """`what` was lost to that exception, which must not be a Fatal."""
        self.count += 1
        self.newest_at = time.monotonic()
        self.newest = f"{what} was lost: {describe(error)}"
        place = place_of(error)
        if place in self._places:
            self._repetitions.warn(self.newest)
            return
        if len(self._places) < REMEMBERED_PLACES:
            self._places.add(place)
        lines = "".join(traceback.format_exception(error)).splitlines()[-TRACEBACK_LINES:]
        self._log("\n".join([f"{self.newest}; this is said once:", *(printable(line) for line in lines)]))

    def guarded(self, callback: Callable[..., Any], what: str) -> Callable[..., Any]:
        """`callback`, whose exceptions cost `what` and nothing else."""

        @functools.wraps(callback)  # rclpy looks at the signature
        def call(*arguments: Any) -> Any:
            try:
                return callback(*arguments)
            except Fatal:
                raise
            except Exception as error:
                self.note(what, error)
                return None

        return call


def describe(error: Exception) -> str:
    """An exception in one line."""
    return printable(f"{type(error).__name__}: {error}")


def place_of(error: Exception) -> tuple[str, int, str]:
    """Where it was raised, and of what kind it is: the same for the same fault."""
    frames = traceback.extract_tb(error.__traceback__)
    file, line = (frames[-1].filename, frames[-1].lineno or 0) if frames else ("", 0)
    return file, line, type(error).__name__


def spin_guarded(executor: Executor, faults: Faults, is_over: Callable[[], bool]) -> None:
    """Spin until `is_over`; what an exception out of `spin_once` costs is the message that it was about.

    Raises:
        Fatal: ROS' context is lost, or the same exception came MOST_IN_A_ROW times in a row.
    """
    place, in_a_row = None, 0
    while not is_over():
        try:
            executor.spin_once(timeout_sec=LONGEST_WAIT_SECONDS)
            in_a_row = 0
        except Fatal:
            raise
        except ExternalShutdownException as error:
            raise Fatal("ROS' context was shut down from outside") from error
        except Exception as error:
            if not executor.context.ok():
                raise Fatal(f"ROS' context is lost: {describe(error)}") from error
            in_a_row = in_a_row + 1 if place_of(error) == place else 1
            place = place_of(error)
            faults.note("a message or a request", error)
            if in_a_row >= MOST_IN_A_ROW:
                raise Fatal(f"the same error came {MOST_IN_A_ROW} times in a row: {describe(error)}") from error
            if in_a_row > 1:
                time.sleep(PAUSE_SECONDS)

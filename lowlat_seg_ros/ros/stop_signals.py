"""How SIGINT and SIGTERM end a process of this package: promptly, and without a traceback."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Final


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived. No Exception, like KeyboardInterrupt, so that nothing on its way catches it."""


class StopSignals:
    """Raises Stopped in the main thread when a signal to stop arrives, once."""

    NUMBERS: Final = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.arrived = False
        for number in self.NUMBERS:
            signal.signal(number, self._stop)
        sys.unraisablehook = _be_silent_of_stopped

    def ignore(self) -> None:
        """From now on: what ends the process is under way (and `ros2 launch` repeats the terminal's Ctrl-C)."""
        for number in self.NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def raise_if_arrived(self) -> None:
        """Where the exception itself was lost on its way, raise another one."""
        if self.arrived:
            raise Stopped

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.arrived = True  # for the case that the exception is lost in a destructor, where Python drops it
        self.ignore()
        raise Stopped


def _be_silent_of_stopped(unraisable: sys.UnraisableHookArgs) -> None:
    """Python tells of every exception that it drops in a destructor; this one was not an error."""
    if not issubclass(unraisable.exc_type, Stopped):
        sys.__unraisablehook__(unraisable)

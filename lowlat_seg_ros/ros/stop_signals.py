"""How SIGINT and SIGTERM end a process of this package: promptly, and without a traceback."""

from __future__ import annotations

import signal
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

    def ignore(self) -> None:
        """From now on: what ends the process is under way (and `ros2 launch` repeats the terminal's Ctrl-C)."""
        for number in self.NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.arrived = True  # for the case that the exception is lost in a destructor, where Python drops it
        self.ignore()
        raise Stopped

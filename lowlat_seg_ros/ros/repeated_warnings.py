"""Trouble that repeats with every frame, logged so that the log stays readable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

REPEAT_SECONDS: Final = 10.0


class RepeatedWarnings:
    """Logs each kind of trouble at once, and its repetitions at most every `repeat_seconds`, with their number.

    rclpy's own throttle goes by the line of code that logs, so that one bad image would hide another kind of bad image.
    """

    def __init__(
        self, log: Callable[[str], object], clock: Callable[[], float], repeat_seconds: float = REPEAT_SECONDS
    ) -> None:
        """`clock` gives seconds on a steady clock."""
        self._log = log
        self._clock = clock
        self._repeat_seconds = repeat_seconds
        self._kinds: dict[str, _Repetition] = {}

    def warn(self, kind: str, sentence: str) -> None:
        """Log `sentence`, unless trouble of this `kind` was logged a moment ago."""
        now = self._clock()
        repetition = self._kinds.get(kind)
        if repetition is not None and now - repetition.logged < self._repeat_seconds:
            repetition.silent += 1
            return
        silent = repetition.silent if repetition is not None else 0
        self._kinds[kind] = _Repetition(logged=now)
        self._log(f"{sentence} ({silent} more like it since the last such line)" if silent else sentence)


@dataclass
class _Repetition:
    logged: float
    silent: int = 0

"""Trouble that repeats with every frame, logged so that the log stays readable."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lowlat_seg_ros.errors import printable

REPEAT_SECONDS: Final = 10.0

REMEMBERED_KINDS: Final = 100
"""There are far fewer, unless somebody sends nonsense on purpose."""

_NUMBER: Final = re.compile(r"\d+")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")

LONGEST: Final = 500
"""Characters of a line: what it quotes may have come from anybody."""


class RepeatedWarnings:
    """Logs each kind of trouble at once, and its repetitions at most every `repeat_seconds`, with their number.

    Two sentences are of one kind if they differ in nothing but numbers and what they quote. rclpy's own throttle goes
    by the line of code that logs, so that one bad image would hide another kind of bad image.
    """

    def __init__(
        self, log: Callable[[str], object], clock: Callable[[], float], repeat_seconds: float = REPEAT_SECONDS
    ) -> None:
        """`clock` gives seconds on a steady clock."""
        self._log = log
        self._clock = clock
        self._repeat_seconds = repeat_seconds
        self._kinds: dict[str, _Repetition] = {}

    def warn(self, sentence: str) -> None:
        """Log `sentence`, unless one of its kind was logged a moment ago."""
        sentence = printable(sentence, LONGEST)
        now, kind = self._clock(), _NUMBER.sub("#", _QUOTED.sub("''", sentence))
        repetition = self._kinds.get(kind)
        if repetition is not None and now - repetition.logged < self._repeat_seconds:
            repetition.silent += 1
            return
        silent = repetition.silent if repetition is not None else 0
        if len(self._kinds) >= REMEMBERED_KINDS:
            self._kinds.clear()
        self._kinds[kind] = _Repetition(logged=now)
        self._log(f"{sentence} ({silent} more like it since the last such line)" if silent else sentence)


@dataclass
class _Repetition:
    logged: float
    silent: int = 0

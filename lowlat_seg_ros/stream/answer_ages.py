"""How old the newest accurate key frame is, and for how long a newer one has been due: a slow track that lags shows."""

from __future__ import annotations

import math


class AnswerAges:
    """Fed by the engine with each frame; all times are nanoseconds on a clock that never goes back.

    Ages are up to the last frame: a camera that is silent is no fault of the slow track.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """As before the first frame."""
        self._now = 0
        self._newest_answer: int | None = None
        self._due_since: int | None = None

    def frame_arrived(self, now: int) -> None:
        self._now = now

    def key_due(self) -> None:
        """The frame that has just arrived should become a key frame."""
        if self._due_since is None:
            self._due_since = self._now

    def answered(self, arrived: int) -> None:
        """The slow network's answer for the frame that arrived then is in use."""
        self._newest_answer, self._due_since = arrived, None

    @property
    def key_age(self) -> float:
        """Seconds from the newest accurate key frame to the last frame; nan where there is none."""
        return math.nan if self._newest_answer is None else (self._now - self._newest_answer) / 1e9

    @property
    def overdue(self) -> float:
        """Seconds for which a key frame has been due, and without its answer; 0 where none is."""
        return 0.0 if self._due_since is None else (self._now - self._due_since) / 1e9

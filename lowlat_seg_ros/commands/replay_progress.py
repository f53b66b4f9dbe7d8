"""The progress bar of a replay: all bags in one, however long each is."""

from __future__ import annotations

import sys
from types import TracebackType

from tqdm import tqdm

FORM = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class ReplayProgress:
    """A bar of as many parts as there are bags; a part fills with its bag's frames. Nothing where no one looks."""

    def __init__(self, bags: int) -> None:
        self._bags = bags
        self._done = 0
        self._shares: dict[int, float] = {}  # of the running bags, by their jobs' numbers
        self._frames: dict[int, int] = {}
        self._bar = tqdm(total=bags, bar_format=FORM, disable=not sys.stderr.isatty())

    def __enter__(self) -> ReplayProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def frames_done(self, job: int, done: int, total: int) -> None:
        """A job has done ``done`` of about ``total`` frames."""
        self._frames[job] = done
        self._shares[job] = min(1.0, done / max(1, total))
        self._show()

    def bag_done(self) -> None:
        """One more bag has ended, well or not."""
        self._done += 1
        self._show()

    def _show(self) -> None:
        # A bag that failed never fills its part, and one on a cluster tells nothing until it ends.
        self._bar.n = max(self._done, sum(self._shares.values()))
        self._bar.set_postfix_str(f"{self._done} of {self._bags} bags, {sum(self._frames.values())} frames")

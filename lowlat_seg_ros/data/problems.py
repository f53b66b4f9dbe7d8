"""What is wrong with data, in words: DataError if they cannot be used, Problems if the good part of them was."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from lowlat_seg_ros.errors import Error, printable

LONGEST_LINE: Final = 600  # characters
NOTEWORTHY_SHARE = 0.01  # of what was given: figures that leave out more than this end with a warning
WARNING: Final = "WARNING:"  # a line's first word


class DataError(Error):
    """A data set that is not as it should be; the message is one sentence that names the folder or file."""


class Problems:
    """What was found wrong while the good part was read: one line a kind, however often it is met."""

    def __init__(self) -> None:
        self._found: dict[Hashable, tuple[str, set[Hashable]]] = {}
        self._left_out: dict[str, tuple[int, int]] = {}

    def add(self, kind: Hashable, sentence: str, message: Hashable = None) -> None:
        """Note a problem; of one `kind` the first `sentence` is kept, and how often it was met.

        `message` says where it was met, so that reading the same twice does not count it twice.
        """
        self._found.setdefault(kind, (sentence, set()))[1].add(message)

    def __contains__(self, kind: Hashable) -> bool:
        return kind in self._found

    def lines(self) -> list[str]:
        """One line for each kind of problem, in the order in which they were met first."""
        return [_line(sentence, len(messages)) for sentence, messages in self._found.values()]

    def include(self, other: Problems) -> None:
        """Note also what another reader has found."""
        for kind, (sentence, messages) in other._found.items():
            self._found.setdefault(kind, (sentence, set()))[1].update(messages)
        for what, (count, given) in other._left_out.items():
            so_far = self._left_out.get(what, (0, 0))
            self._left_out[what] = so_far[0] + count, so_far[1] + given

    def leave_out(self, what: str, count: int, given: int) -> None:
        """So many of the `given` things named `what` have no part in the figures."""
        self._left_out[what] = (count, given)

    def report_lines(self) -> list[str]:
        """All lines, and where more than a hundredth was left out the warning as the last."""
        warning = self.warning()
        return self.lines() if warning is None else [*self.lines(), warning]

    def warning(self) -> str | None:
        """The last line of figures that leave out more than a hundredth of what was given."""
        told = [
            f"{count} of {given} {what} ({count / given:.1%})"
            for what, (count, given) in self._left_out.items()
            if given and count / given > NOTEWORTHY_SHARE
        ]
        return f"{WARNING} these figures leave out {' and '.join(told)}; the problems say why." if told else None


def _line(sentence: str, times: int) -> str:
    sentence = printable(sentence, LONGEST_LINE)  # topics, frame ids and names of files may be anything
    return f"{sentence}." if times == 1 else f"{sentence} ({times} times in all)."

"""What is wrong with a bag, in words: BagError if nothing can be read, Problems if the good part was."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from lowlat_seg_ros.errors import Error, printable

LONGEST_LINE: Final = 600  # characters


class BagError(Error):
    """A bag that cannot be used; the message is one sentence that names it and what was expected."""

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence, LONGEST_LINE))


class DamagedMessage(Exception):
    """One message that cannot be read; says why, in half a sentence. Others of the bag may be whole."""


class Problems:
    """What was found wrong while the good part of a bag was read: one line a kind, however often it is met."""

    def __init__(self) -> None:
        self._found: dict[Hashable, tuple[str, set[Hashable]]] = {}

    def add(self, kind: Hashable, sentence: str, message: Hashable = None) -> None:
        """Note a problem; of one `kind` the first `sentence` is kept, and how often it was met.

        `message` says where it was met, so that reading a bag twice does not count it twice.
        """
        self._found.setdefault(kind, (sentence, set()))[1].add(message)

    def __contains__(self, kind: Hashable) -> bool:
        return kind in self._found

    def lines(self) -> list[str]:
        """One line for each kind of problem, in the order in which they were met first."""
        return [_line(sentence, len(messages)) for sentence, messages in self._found.values()]


def _line(sentence: str, times: int) -> str:
    sentence = printable(sentence, LONGEST_LINE)  # topics, frame ids and encodings may be anything
    return f"{sentence}." if times == 1 else f"{sentence} ({times} times in all)."

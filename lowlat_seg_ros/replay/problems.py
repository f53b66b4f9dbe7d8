"""What is wrong with a bag, in words: BagError if nothing can be read, Problems if the good part was."""

from __future__ import annotations

from lowlat_seg_ros.data.problems import LONGEST_LINE, Problems
from lowlat_seg_ros.errors import Error, printable

__all__ = ["LONGEST_LINE", "BagError", "DamagedMessage", "Problems"]


class BagError(Error):
    """A bag that cannot be used; the message is one sentence that names it and what was expected."""

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence, LONGEST_LINE))


class DamagedMessage(Exception):
    """One message that cannot be read; says why, in half a sentence. Others of the bag may be whole."""

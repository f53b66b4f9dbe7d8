"""PNG by its chunks, before a decoder believes what they claim."""

from __future__ import annotations

from typing import Final

PNG_START: Final = b"\x89PNG\r\n\x1a\n"

_HEAD_BYTES: Final = 8  # of a chunk: length, kind
_CRC_BYTES: Final = 4


def is_cut_png(content: bytes) -> bool:
    """Whether a chunk of a PNG claims more bytes than there are.

    OpenCV takes that memory and fills it, which costs seconds, before it finds the file too short.
    """
    if not content.startswith(PNG_START):
        return False
    place = len(PNG_START)
    while place + _HEAD_BYTES <= len(content):
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + _HEAD_BYTES]
        place += _HEAD_BYTES + length + _CRC_BYTES
        if kind == b"IEND":
            break
    return place > len(content)

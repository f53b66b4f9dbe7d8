"""PNG by its chunks: what decoders believe, or make up, without a word."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

PNG_START: Final = b"\x89PNG\r\n\x1a\n"

_HEAD_BYTES: Final = 8  # of a chunk: length, kind
_CRC_BYTES: Final = 4
_HEADER: Final = struct.Struct(">IIBBxxB")  # width, height, bits a channel, colour type, interlacing
_HEADER_AT: Final = 16
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PASSES: Final = ((0, 0, 1, 1),)
_PASSES_INTERLACED: Final = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
"""Of Adam7: the first column and row of each pass, and from one to the next."""


def is_cut_png(content: bytes) -> bool:
    """Whether a chunk of a PNG claims more bytes than there are.

    OpenCV takes that memory and fills it, which costs seconds, before it finds the file too short.
    """
    end = max((start + length + _CRC_BYTES for _, start, length in _chunks(content)), default=0)
    return end > len(content)


def lacks_samples(content: bytes) -> bool:
    """Whether the samples of a PNG end before its last row: Pillow takes the rest for zeros."""
    width, height, bits, colour_type, is_interlaced = _HEADER.unpack_from(content, _HEADER_AT)
    bits *= _CHANNELS.get(colour_type, 1)
    expected = 0
    for left, top, right_by, down_by in _PASSES_INTERLACED if is_interlaced else _PASSES:
        columns, rows = -(-(width - left) // right_by), -(-(height - top) // down_by)
        expected += rows * (1 + -(-columns * bits // 8)) if columns > 0 else 0
    unpacking, found = zlib.decompressobj(), 0
    for kind, start, length in _chunks(content):
        if kind == b"IDAT" and found < expected:
            found += len(unpacking.decompress(content[start : start + length], expected - found))
    return found < expected


def palette_of(content: bytes) -> list[tuple[int, int, int]]:
    """The colours of a PNG's palette, by index; none of what has no palette."""
    for kind, start, length in _chunks(content):
        if kind == b"PLTE":
            values = content[start : start + length]
            return [(values[at], values[at + 1], values[at + 2]) for at in range(0, len(values) - 2, 3)]
    return []


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and stated length of the data of each chunk of a PNG, to its end; none of what is no PNG."""
    place = len(PNG_START)
    while content.startswith(PNG_START) and place + _HEAD_BYTES <= len(content):
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + _HEAD_BYTES]
        yield kind, place + _HEAD_BYTES, length
        place += _HEAD_BYTES + length + _CRC_BYTES
        if kind == b"IEND":
            break

"""Where a JPEG ends and how large its picture is, by its markers (ITU-T T.81, annex B).

Decoders fill the missing part of a JPEG that was cut short with grey and report success; what follows a whole one (zero
padding, the film of a motion photo, a second picture) is not theirs to judge. Of one that is damaged between its
markers the grey is all that tells.
"""

from __future__ import annotations

import re
import struct
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.errors import Error

JPEG_START: Final = b"\xff\xd8"

_FRAME_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those that state the picture's size
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, restarts, start of image
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9

# Any number of 0xFF may stand before a marker's code. In a scan 0xFF00 is a byte of data, and restarts are part of it.
_MARKER: Final = re.compile(rb"\xff+([\x01-\xfe])")
_MARKER_AFTER_SCAN: Final = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")


MISSING: Final = 128
"""What every decoder puts into each channel where a JPEG's data, damaged or lost in transit, end before the picture."""

_LAST_BLOCK: Final = 16  # pixels: the largest that is decoded as one


class JpegError(Error):
    """A JPEG that is not whole; the message is half a sentence, such as "is cut short"."""


class JpegExtent(NamedTuple):
    """The picture's size in pixels, and how many bytes it takes from the start marker to the end marker."""

    width: int
    height: int
    bytes: int


def jpeg_extent(content: bytes) -> JpegExtent:
    """Follow the markers of a JPEG from its start to its own end; raises JpegError."""
    if not content.startswith(JPEG_START):
        raise JpegError("is no JPEG")
    size: tuple[int, int] | None = None
    position, pattern = len(JPEG_START), _MARKER
    while (found := pattern.search(content, position)) is not None:
        code, position = found[1][0], found.end()
        if code == _END_OF_IMAGE:
            if size is None:
                raise JpegError("is damaged: no picture lies before its end marker")
            return JpegExtent(*size, bytes=position)
        if code in _WITHOUT_LENGTH:
            continue
        if len(content) < position + 2:
            break
        length = struct.unpack_from(">H", content, position)[0]
        if code in _FRAME_MARKERS and size is None and len(content) >= position + 7:
            height, width = struct.unpack_from(">HH", content, position + 3)
            size = width, height
        position += length
        pattern = _MARKER_AFTER_SCAN if code == _START_OF_SCAN else _MARKER
    raise JpegError("is cut short")


def ends_in_grey(picture: NDArray[np.uint8]) -> bool:
    """Whether the lower right corner of a JPEG's picture, (H, W, 3), is what decoders put where data are missing."""
    return bool((picture[-_LAST_BLOCK:, -_LAST_BLOCK:] == MISSING).all())

"""JPEG by its markers (ITU-T T.81, annexes B and G) and by its decoder's complaints.

Decoders fill what a JPEG lacks with grey, or with what lies elsewhere in it, and report success. Its markers tell where
it ends and which scans it has; what follows a whole one (zero padding, the film of a motion photo, a second picture) is
not theirs to judge. Damage within a scan is told by the decoder alone, which warns of it: simplejpeg hands that on.
JPEGs have no checksum: of what is damaged and still decodes to as many pixels nothing tells.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Literal, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from lowlat_seg_ros.errors import Error

JPEG_START: Final = b"\xff\xd8"

_FRAME_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those that state the picture's size
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, restarts, start of image
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_FRAME_HEADER: Final = struct.Struct(">xHHB")  # behind its length: height, width, components; then 3 bytes for each
_COEFFICIENTS: Final = 64  # of a block
_ALL_BITS: Final = 16  # more than a scan can leave for later ones

# Any number of 0xFF may stand before a marker's code. In a scan 0xFF00 is a byte of data, and restarts are part of it.
# Spelt so that each begins with a plain byte, which is sought ten times as fast as a class of them.
_MARKER: Final = re.compile(rb"\xff\xff*([\x01-\xfe])")
_MARKER_AFTER_SCAN: Final = re.compile(rb"\xff\xff*([\x01-\xcf\xd8-\xfe])")

# How libjpeg's warnings of such begin, after which it goes on.
_OF_DAMAGE: Final = ("Corrupt JPEG data", "Premature end of JPEG file", "Inconsistent progression")
DAMAGED: Final = "is damaged: JPEG data are missing, and parts of it are grey or out of place"
PADDED: Final = "has bytes among its JPEG data that belong to no pixel: a camera's padding, or damage"
LACKS_SCANS: Final = "lacks scans, as progressive JPEGs do that lost some: it is coarser or paler than it was taken"
UNCHECKED: Final = "is a JPEG of a rare kind, whose data cannot be checked for damage"


class JpegError(Error):
    """A JPEG that is not whole; the message is half a sentence, such as "is cut short"."""


class JpegExtent(NamedTuple):
    """The picture's size in pixels, and how many bytes it takes from the start marker to the end marker."""

    width: int
    height: int
    bytes: int
    lacks_scans: bool = False  # some coefficients of a component were never sent, or not to their last bit


class _Segment(NamedTuple):
    code: int
    content: bytes  # without its length
    end: int  # where the next marker may begin


def jpeg_extent(content: bytes) -> JpegExtent:
    """Follow the markers of a JPEG from its start to its own end; raises JpegError."""
    if not content.startswith(JPEG_START):
        raise JpegError("is no JPEG")
    frame: _Segment | None = None
    scans: list[bytes] = []
    for segment in _segments(content):
        if segment.code == _START_OF_SCAN:
            scans.append(segment.content)
        elif segment.code in _FRAME_MARKERS and frame is None and len(segment.content) >= _FRAME_HEADER.size:
            frame = segment
        elif segment.code == _END_OF_IMAGE:
            if frame is None:
                raise JpegError("is damaged: no picture lies before its end marker")
            height, width, _ = _FRAME_HEADER.unpack_from(frame.content)
            return JpegExtent(width, height, segment.end, _lacks_scans(frame, scans))
    raise JpegError("is cut short")


def _segments(content: bytes) -> Iterator[_Segment]:
    """Every marker with what it brings along, to the end marker, or as far as the content goes."""
    position, pattern = len(JPEG_START), _MARKER
    while (found := pattern.search(content, position)) is not None:
        code, position = found[1][0], found.end()
        if code == _END_OF_IMAGE:
            yield _Segment(code, b"", position)
            return
        if code in _WITHOUT_LENGTH:
            continue
        if len(content) < position + 2:
            return
        length = struct.unpack_from(">H", content, position)[0]
        segment, position = content[position + 2 : position + length], position + length
        yield _Segment(code, segment, position)
        pattern = _MARKER_AFTER_SCAN if code == _START_OF_SCAN else _MARKER


def _lacks_scans(frame: _Segment, scans: list[bytes]) -> bool:
    """Whether a component has no scan, or, of a progressive JPEG, its coefficients have not come to their last bit."""
    header = frame.content
    components = header[_FRAME_HEADER.size :: 3][: header[_FRAME_HEADER.size - 1]]
    missing = {component: np.full(_COEFFICIENTS, _ALL_BITS) for component in components}
    for scan in scans:
        count = scan[0] if scan else 0
        if len(scan) < 2 * count + 4:
            continue
        first, last, bits = scan[2 * count + 1 : 2 * count + 4]
        if frame.code not in _PROGRESSIVE:  # whose scans are whole, whatever is written there
            first, last, bits = 0, _COEFFICIENTS - 1, 0
        for component in scan[1 : 2 * count + 1 : 2]:
            if component in missing:
                coefficients = missing[component][first : last + 1]
                before, after = bits >> 4 or _ALL_BITS, bits & 15  # how many bits are still to come
                coefficients[coefficients == before] = after
    return any(each.any() for each in missing.values())


def decode_jpeg(
    content: bytes, extent: JpegExtent, order: Literal["RGB", "BGR"] = "RGB"
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The picture as stored, (H, W, 3) uint8 in that order of channels or (H, W) of grey; and what is amiss with it.

    `extent` is what `jpeg_extent` found. Each note is the end of a sentence "X ...". Raises JpegError.
    """
    notes: tuple[str, ...] = (LACKS_SCANS,) if extent.lacks_scans else ()
    channels: str = order
    try:
        if simplejpeg.decode_jpeg_header(content)[2] == "Gray":
            channels = "GRAY"
        picture = simplejpeg.decode_jpeg(content, channels)
    except ValueError as error:
        amiss = _in_words(str(error))
        picture, notes = _what_is_left(content, channels, amiss), (*notes, amiss)
    return picture[..., 0] if channels == "GRAY" and picture.ndim == 3 else picture, notes


def _what_is_left(content: bytes, channels: str, amiss: str) -> NDArray[np.uint8]:
    """As far as a decoder goes. After an error simplejpeg may hand out memory as it was; OpenCV prints to stderr."""
    if amiss != UNCHECKED:
        with suppress(ValueError):  # there was no error, unless it lies in the header, which it gives up at
            return np.asarray(simplejpeg.decode_jpeg(content, channels, strict=False))
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            picture = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    except Exception as error:  # Pillow has a dozen kinds for damaged files
        raise JpegError("cannot be decoded: it is damaged or of a rare kind") from error
    return np.ascontiguousarray(picture[..., ::-1]) if picture.ndim == 3 and channels == "BGR" else picture


def _in_words(warning: str) -> str:
    """What libjpeg's first warning says, or its error. Others than these leave open what came behind."""
    if "extraneous bytes" in warning:
        return PADDED
    return DAMAGED if warning.startswith(_OF_DAMAGE) else UNCHECKED

"""Reading one picture whole, as a viewer would show it, or saying in one sentence why it cannot be read."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin

from lowlat_seg_ros.data.image_message import eight_bits
from lowlat_seg_ros.data.jpeg import JPEG_START, JpegError, decode_jpeg, jpeg_extent
from lowlat_seg_ros.data.picture_bounds import has_too_many_pixels
from lowlat_seg_ros.data.png import PNG_START, is_cut_png
from lowlat_seg_ros.data.problems import Problems
from lowlat_seg_ros.errors import Error

EXIF_ORIENTATION: Final = 0x0112
UPRIGHT: Final = 1

# What turns the stored picture upright, by EXIF's number: a mirroring first, then a rotation.
_TURNS: Final[dict[int, tuple[int | None, int | None]]] = {
    2: (1, None),
    3: (None, cv2.ROTATE_180),
    4: (0, None),
    5: (1, cv2.ROTATE_90_COUNTERCLOCKWISE),
    6: (None, cv2.ROTATE_90_CLOCKWISE),
    7: (1, cv2.ROTATE_90_CLOCKWISE),
    8: (None, cv2.ROTATE_90_COUNTERCLOCKWISE),
}

_TURNED_BY_OPENCV: Final = "TIFF"  # whatever it is told
_WITH_THUMBNAILS: Final = "MPO"  # a JPEG with others behind its end, which are no further pictures of the drive

_OF_ONE_LIBRARY: Final = (JPEG_START, PNG_START, b"RIFF")
"""How formats begin that OpenCV and Pillow leave to the same library (RIFF: WebP). Of all others each knows variants
that the other misreads: BMPs with channels in another order, PGMs whose white is not 255, transparent TIFFs."""

_WIDEST_DIFFERENCE: Final = 8  # between two decoders' samples of one lossy picture; of lossless ones it is 0

_OF_NO_CAMERA: Final = ("F", "I")  # Pillow's modes of 32 bits a sample, floats or whole numbers ...
_SIXTEEN_BITS: Final = ("I", "I;16", "I;16B", "I;16L")  # ... and of greys of 16, the first of them that of PGMs
_TIFF_BITS, _TIFF_MEANING = 258, 262  # tags
_WHITE_IS_ZERO, _IS_RGB = 0, 2
_BMP_HEADER: Final = struct.Struct("<10xII")  # ... where the pixels begin, the size of the second header
_SRGB: Final = "sRGB"
FEWEST_BITS_USED: Final = 12  # of 16: cameras write 10 or 12 bits as they are, and the picture is nearly black then


class ImageFileError(Error):
    """An image file that cannot be read; the message is one sentence that names the file."""


class PictureFacts(NamedTuple):
    """What a picture's header says beside its pixels."""

    orientation: int = UPRIGHT  # EXIF's number, where OpenCV has not heeded it
    notes: tuple[str, ...] = ()  # what is left out of it or assumed, each as the end of "X ..."


def read_rgb(path: Path, problems: Problems | None = None) -> NDArray[np.uint8]:
    """The picture in `path` as (H, W, 3) uint8 RGB, whatever its own format.

    It is turned upright by its EXIF; 16-bit values are scaled to 8; of several pictures in one file it is the first.
    What is left out or assumed so is noted in `problems`. Raises ImageFileError; also where OpenCV and Pillow read
    different pictures.
    """
    content = read_bytes(path)
    stored, facts = _decoded(path, content)
    if problems is not None:
        for note in (*facts.notes, *_notes_on_depth(stored)):
            problems.add(("picture", note), f"{path} {note}", path)
    upright = _upright(cv2.cvtColor(eight_bits(stored), cv2.COLOR_BGR2RGB), facts.orientation)
    rgb = upright.astype(np.uint8, copy=False)
    if not content.startswith(_OF_ONE_LIBRARY):
        _require_agreement(path, content, rgb)
    return rgb


def read_bytes(path: Path) -> bytes:
    """A file's content; raises ImageFileError where it cannot be opened or is empty."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageFileError(f"The image {path} cannot be opened: {error.strerror or error}.") from error
    if not content:
        raise ImageFileError(f"The image {path} is empty.")
    return content


def _decoded(path: Path, content: bytes) -> tuple[NDArray[Any], PictureFacts]:
    """The stored picture, (H, W, 3) BGR in 8 or 16 bits, not turned yet."""
    if is_cut_png(content) or _points_astray(content):
        raise ImageFileError(f"The image {path} cannot be decoded: it is cut short or damaged.")
    facts = _facts_of(path, content)
    if content.startswith(JPEG_START):
        picture, amiss = _decoded_jpeg(path, content)
        return picture, facts._replace(notes=facts.notes + amiss)
    try:
        image = cv2.imdecode(
            np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error:
        image = None
    if image is None:
        raise ImageFileError(f"The image {path} cannot be decoded: it is damaged or not an image.")
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageFileError(f"The image {path} has samples of {image.dtype}; expected unsigned ones of 8 or 16 bits.")
    return image, facts


def _decoded_jpeg(path: Path, content: bytes) -> tuple[NDArray[Any], tuple[str, ...]]:
    try:
        extent = jpeg_extent(content)
        _require_size(path, extent.width, extent.height, content)
        image, amiss = decode_jpeg(content, extent, "BGR")
    except JpegError as error:
        raise ImageFileError(f"The image {path} {error}.") from error
    return (image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)), amiss


def _require_size(path: Path, width: int, height: int, content: bytes) -> None:
    """Raises ImageFileError for a size that no camera has."""
    if has_too_many_pixels(width, height, len(content)):
        raise ImageFileError(f"The image {path} claims {width} x {height} pixels in {len(content)} bytes.")


def _points_astray(content: bytes) -> bool:
    """Whether a BMP says that its pixels begin within its headers or behind its end: decoders start elsewhere then."""
    if not content.startswith(b"BM") or len(content) < _BMP_HEADER.size:
        return False
    start, header_bytes = _BMP_HEADER.unpack_from(content)
    return not _BMP_HEADER.size - 4 + header_bytes <= start < len(content)


def _facts_of(path: Path, content: bytes) -> PictureFacts:
    """By Pillow, which reads headers alone; nothing of a format that it does not know."""
    try:
        with Image.open(io.BytesIO(content)) as header:
            form, mode, size = header.format, header.mode, header.size
            orientation = header.getexif().get(EXIF_ORIENTATION, UPRIGHT)
            has_alpha = mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in header.info
            has_profile = _is_of_other_colours(header.info.get("icc_profile"))
            pictures = 1 if form == _WITH_THUMBNAILS else getattr(header, "n_frames", 1)
    except Image.DecompressionBombError as error:
        raise ImageFileError(f"The image {path} claims more pixels than any camera has.") from error
    except Exception:  # whatever a damaged header makes of Pillow: OpenCV decides whether the picture can be read
        return PictureFacts()
    _require_size(path, *size, content)
    if mode in _OF_NO_CAMERA and form != "PPM":
        raise ImageFileError(f"The image {path} has samples of 32 bits; expected 8 or 16 bits, as cameras have.")
    notes = []
    if orientation in _TURNS:
        notes.append("is turned upright, as its EXIF says, and so must its labels be")
    if has_alpha:
        notes.append("has an alpha channel, which is ignored")
    if mode == "CMYK":
        notes.append("is in CMYK, and turned into RGB without a colour profile")
    if has_profile:
        notes.append("has a colour profile that is not named sRGB; it is ignored")
    if pictures > 1:
        notes.append("holds several pictures, of which the first is taken")
    return PictureFacts(UPRIGHT if form == _TURNED_BY_OPENCV else orientation, tuple(notes))


def _is_of_other_colours(profile: bytes | None) -> bool:
    return profile is not None and not any(_SRGB.encode(encoding) in profile for encoding in ("ascii", "utf-16-be"))


def _require_agreement(path: Path, content: bytes, rgb: NDArray[np.uint8]) -> None:
    """Raises ImageFileError where Pillow reads another picture than OpenCV's, (H, W, 3), or may not be asked."""
    bits, meaning = _tiff_samples(content)
    if bits > 8 and meaning == _IS_RGB:
        return  # which Pillow does not read
    if bits > 8 and meaning == _WHITE_IS_ZERO:
        raise ImageFileError(f"The image {path} has {bits} bits a sample, with 0 for white; expected 0 for black.")
    try:
        with Image.open(io.BytesIO(content)) as image:
            other = _as_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow has a dozen kinds for damaged files
        raise ImageFileError(f"The image {path} cannot be decoded: it is damaged, or of a rare kind.") from error
    if other.shape != rgb.shape or cv2.norm(rgb, other, cv2.NORM_INF) > _WIDEST_DIFFERENCE:
        raise ImageFileError(
            f"The image {path} is of a rare kind, and OpenCV and Pillow read different pictures in it; expected PNG or "
            "JPEG."
        )


def _tiff_samples(content: bytes) -> tuple[int, int]:
    """The bits of a TIFF's samples and what they mean, by its first picture's tags; zeros for what is no TIFF."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(content[:8])
        file = io.BytesIO(content)
        file.seek(tags.next)
        tags.load(file)
        return max(tags.get(_TIFF_BITS, (1,))), tags.get(_TIFF_MEANING, _WHITE_IS_ZERO)
    except Exception:  # likewise
        return 0, 0


def _as_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _SIXTEEN_BITS:
        grey = eight_bits(np.asarray(image).astype(np.uint16))
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)
    return np.asarray(image.convert("RGB"))


def _notes_on_depth(stored: NDArray[Any]) -> list[str]:
    if stored.dtype == np.uint8:
        return []
    notes = ["has 16 bits a channel, which are scaled to 8"]
    if stored.max() < 1 << FEWEST_BITS_USED:
        notes.append(f"has 16 bits a channel and uses less than {FEWEST_BITS_USED} of them: it is nearly black")
    return notes


def _upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    mirroring, rotation = _TURNS.get(orientation, (None, None))
    if mirroring is not None:
        image = cv2.flip(image, mirroring)
    return image if rotation is None else cv2.rotate(image, rotation)

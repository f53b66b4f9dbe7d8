"""Reading one image file whole, or saying in one sentence why it cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.png import is_cut_png
from lowlat_seg_ros.errors import Error

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
TRAILER_BYTES = 4096  # cameras append notes after a JPEG's end marker; a whole file has the marker this near its end


class ImageFileError(Error):
    """An image file that cannot be read; the message is one sentence that names the file."""


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Return the picture in `path` as (H, W, 3) uint8 RGB, whatever its own format; raises ImageFileError."""
    return cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def read_unchanged(path: Path) -> NDArray[Any]:
    """Return the values in `path` as stored, (H, W) or (H, W, C), in the file's own type; raises ImageFileError."""
    return _decode(path, cv2.IMREAD_UNCHANGED)


def _decode(path: Path, mode: int) -> NDArray[Any]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageFileError(f"The image {path} cannot be opened: {error.strerror or error}.") from error
    if not content:
        raise ImageFileError(f"The image {path} is empty.")
    # OpenCV fills the missing part of a truncated JPEG with grey and reports success.
    if content.startswith(JPEG_START) and JPEG_END not in content[-TRAILER_BYTES:]:
        raise ImageFileError(f"The image {path} is cut short.")
    if is_cut_png(content):
        raise ImageFileError(f"The image {path} is cut short or damaged.")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), mode)
    except cv2.error:
        image = None
    if image is None:
        raise ImageFileError(f"The image {path} cannot be decoded: it is damaged or not an image.")
    return image

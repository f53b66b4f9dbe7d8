"""The pixels of compressed image messages, whoever made them: rclpy, or a bag read without ROS."""

from __future__ import annotations

import struct
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.image_message import BadImage, colourless, demosaiced, eight_bits, is_bayer
from lowlat_seg_ros.data.jpeg import JPEG_START, JpegError, decode_jpeg, jpeg_extent
from lowlat_seg_ros.data.picture_bounds import has_too_many_pixels
from lowlat_seg_ros.data.png import PNG_START, is_cut_png
from lowlat_seg_ros.errors import shown

PNG_SIZE_AT: Final = 16


class CompressedImageMessage(Protocol):
    """The fields of sensor_msgs/msg/CompressedImage; `data` is any buffer of bytes."""

    format: str
    data: Any


def compressed_image_to_rgb(message: CompressedImageMessage, notes: list[str] | None = None) -> NDArray[np.uint8]:
    """The picture of a compressed image, a JPEG or PNG, as (H, W, 3) uint8 RGB; 16 bits a channel are scaled to 8.

    `format` is "jpeg" or "png", or as image_transport writes it: "bgr8; jpeg compressed bgr8", what the camera gave in
    front and what was compressed behind. "compressed rgb8" says that red and blue were exchanged before, and
    "bayer_rggb8; jpeg compressed " that the picture is the sensor's mosaic. What a decoder made up where a JPEG's data
    are missing is told in `notes`, each the end of a sentence "X ...".

    Raises:
        BadImage: no JPEG or PNG, damaged, cut short, larger than any camera's, or not a picture but depths.
    """
    given, compressed = _encodings(message.format)
    if "compressedDepth" in message.format:
        raise BadImage(f"the format {shown(message.format)} is a depth image; expected a colour or mono picture")
    if not compressed and colourless(given):
        raise BadImage(
            f"the format {shown(message.format)} says nothing of colours (a depth image or raw data); "
            "expected a colour or mono picture"
        )
    content = message.data.tobytes()
    is_exchanged = compressed.startswith("rgb")
    picture, amiss = _decoded(content, is_exchanged)
    if notes is not None:
        notes += amiss
    if picture.ndim == 3:
        return picture
    mosaic = compressed or given
    if is_bayer(mosaic):
        return demosaiced(picture, mosaic)
    return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def _encodings(message_format: str) -> tuple[str, str]:
    """What the camera gave and what was compressed; empty where the format does not say."""
    given, _, rest = message_format.partition(";")
    return (given.strip(), rest.partition("compressed")[2].strip()) if rest else ("", "")


def _decoded(content: bytes, is_exchanged: bool) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """(H, W) of grey or a mosaic, or (H, W, 3) RGB, whichever of red and blue comes first in it; and what is amiss."""
    # Notes about the camera's attitude do not turn the picture: an Image of the same camera would not be turned.
    if content.startswith(JPEG_START):
        return _decoded_jpeg(content, is_exchanged)
    if not content.startswith(PNG_START) or len(content) < PNG_SIZE_AT + 8:
        raise BadImage("the data are no picture; expected a JPEG or PNG")
    return _decoded_png(content, is_exchanged), ()


def _decoded_jpeg(content: bytes, is_exchanged: bool) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    try:
        extent = jpeg_extent(content)
        _require_size(extent.width, extent.height, content)
        return decode_jpeg(content, extent, "BGR" if is_exchanged else "RGB")
    except JpegError as error:
        raise BadImage(f"the picture {error}") from error


def _decoded_png(content: bytes, is_exchanged: bool) -> NDArray[np.uint8]:
    if is_cut_png(content):
        raise BadImage("the picture is cut short or damaged")
    width, height = struct.unpack_from(">II", content, PNG_SIZE_AT)
    _require_size(width, height, content)
    try:
        stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        stored = None
    if stored is None:
        raise BadImage("the picture cannot be decoded: it is damaged")
    picture = eight_bits(stored)
    if picture.ndim == 2:
        return picture
    if is_exchanged:
        return np.ascontiguousarray(picture[..., :3])
    conversion = cv2.COLOR_BGR2RGB if picture.shape[2] == 3 else cv2.COLOR_BGRA2RGB
    return cv2.cvtColor(picture, conversion).astype(np.uint8, copy=False)


def _require_size(width: int, height: int, content: bytes) -> None:
    """Raise BadImage for a size that no camera has."""
    if has_too_many_pixels(width, height, len(content)):
        raise BadImage(f"the picture claims {width}x{height} pixels in {len(content)} bytes")

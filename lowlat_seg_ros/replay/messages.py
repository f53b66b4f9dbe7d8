"""The messages that a camera's bag is made of: from bytes to frames and their labels, and from frames to bytes."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from lowlat_seg_ros.data.image_file import JPEG_END, JPEG_START, TRAILER_BYTES
from lowlat_seg_ros.data.image_message import BadImage, class_ids, image_to_rgb
from lowlat_seg_ros.data.png import PNG_START, is_cut_png
from lowlat_seg_ros.replay.clocks import NANOSECONDS_A_SECOND
from lowlat_seg_ros.replay.decompression import ZSTD_START, CompressionError, decompress
from lowlat_seg_ros.replay.problems import DamagedMessage
from lowlat_seg_ros.replay.storage_file import LARGEST_MESSAGE

IMAGE: Final = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE: Final = "sensor_msgs/msg/CompressedImage"
CAMERA_TYPES: Final = (IMAGE, COMPRESSED_IMAGE)

CDR: Final = "cdr"

CDR_HEAD: Final = 4  # bytes that say how the rest is encoded
LONGEST_FRAME_ID: Final = 256  # bytes of it that are compared

PNG_SIZE_AT: Final = 16
JPEG_FRAME_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those that state the picture's size

LARGEST_PICTURE: Final = 1 << 27
"""Pixels. A hundred-byte PNG can claim a gigapixel, and would be given the memory for it."""


class Header(NamedTuple):
    """std_msgs/msg/Header, the stamp in nanoseconds."""

    stamp: int
    frame_id: str


@cache
def typestore() -> Typestore:
    """The message types of ROS 2; those that a bag brings along are never parsed."""
    return get_typestore(Stores.ROS2_KILTED)


def without_compression(data: bytes) -> bytes:
    """A message as it was before the bag's recorder compressed it; raises DamagedMessage."""
    if not data.startswith(ZSTD_START):  # no message in CDR begins so
        return data
    try:
        unpacked = decompress(data, "zstd", LARGEST_MESSAGE)
    except CompressionError as error:
        raise DamagedMessage(str(error)) from error
    if not unpacked.is_whole:
        raise DamagedMessage("its zstd data are cut short")
    return unpacked.data


def deserialize(data: bytes, message_type: str) -> Any:
    """The message, with the fields that its .msg file names; raises DamagedMessage if the bytes are none."""
    try:
        return typestore().deserialize_cdr(data, message_type)
    except SerdeError as error:
        raise DamagedMessage(f"it is no {message_type}") from error


def header_of(message: Any) -> Header:
    """The header of a deserialized message."""
    stamp = message.header.stamp
    return Header(stamp.sec * NANOSECONDS_A_SECOND + stamp.nanosec, message.header.frame_id)


def header_at_start(data: bytes) -> Header:
    """The header that a serialized message of a stamped type begins with; raises DamagedMessage."""
    order = "<" if data[1:2] == b"\1" else ">"
    try:
        seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", data, CDR_HEAD)
    except struct.error as error:
        raise DamagedMessage("it is too short for a header") from error
    text = data[CDR_HEAD + 12 : CDR_HEAD + 12 + min(length, LONGEST_FRAME_ID)]
    return Header(seconds * NANOSECONDS_A_SECOND + nanoseconds, text.rstrip(b"\0").decode(errors="replace"))


def frame_of(message: Any, message_type: str) -> NDArray[np.uint8]:
    """The picture of a deserialized Image or CompressedImage, (H, W, 3) uint8 RGB, writable; raises DamagedMessage."""
    try:
        frame = image_to_rgb(message) if message_type == IMAGE else compressed_image_to_rgb(message)
    except BadImage as error:
        raise DamagedMessage(str(error)) from error
    return frame if frame.flags.writeable else frame.copy()


def labels_of(message: Any) -> NDArray[np.uint8]:
    """The class ids of a deserialized Image, (H, W) uint8; raises DamagedMessage."""
    try:
        return class_ids(message).copy()
    except BadImage as error:
        raise DamagedMessage(str(error)) from error


def compressed_image_to_rgb(message: Any) -> NDArray[np.uint8]:
    """The picture of a CompressedImage, a JPEG or PNG, as (H, W, 3) uint8 RGB.

    `format` is "jpeg" or "png", or as image_transport writes it: "bgr8; jpeg compressed bgr8", where "compressed rgb8"
    says that red and blue were exchanged before compressing. Raises BadImage.
    """
    if "compressedDepth" in message.format:
        raise BadImage(f"the format {message.format!r} is a depth image; expected a colour or mono picture")
    content = message.data.tobytes()
    _check_picture(content)
    try:
        # Notes about the camera's attitude do not turn the picture: an Image of the same camera would not be turned.
        picture = cv2.imdecode(message.data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        picture = None
    if picture is None:
        raise BadImage("the picture cannot be decoded: it is damaged")
    if "compressed rgb" in message.format:
        return picture.astype(np.uint8, copy=False)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _check_picture(content: bytes) -> None:
    """Raise BadImage for what is no JPEG or PNG, is cut short, or claims a size that no camera has."""
    if content.startswith(JPEG_START):
        # OpenCV fills the missing part of a truncated JPEG with grey and reports success.
        if JPEG_END not in content[-TRAILER_BYTES:]:
            raise BadImage("the picture is cut short")
        height, width = _jpeg_size(content)
    elif content.startswith(PNG_START) and len(content) >= PNG_SIZE_AT + 8:
        if is_cut_png(content):
            raise BadImage("the picture is cut short or damaged")
        width, height = struct.unpack_from(">II", content, PNG_SIZE_AT)
    else:
        raise BadImage("the data are no picture; expected a JPEG or PNG")
    if width * height > LARGEST_PICTURE:
        raise BadImage(f"the picture claims {width}x{height} pixels")


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Height and width as the first frame header of a JPEG states them; raises BadImage if there is none."""
    position = len(JPEG_START)
    while position + 9 <= len(content) and content[position] == 0xFF:
        if content[position + 1] in JPEG_FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", content, position + 5)
            return height, width
        position += 2 + struct.unpack_from(">H", content, position + 2)[0]
    raise BadImage("the picture cannot be decoded: it is damaged")


def serialized_image(pixels: NDArray[np.uint8], encoding: str, header: Header) -> bytes:
    """`pixels`, (H, W) or (H, W, channels), which already are in `encoding`, as a serialized Image with that header."""
    types = typestore().types
    seconds, nanoseconds = divmod(header.stamp, NANOSECONDS_A_SECOND)
    stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
    message = types[IMAGE](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=header.frame_id),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels[0].size,
        data=np.ascontiguousarray(pixels).reshape(-1),
    )
    return bytes(typestore().serialize_cdr(message, IMAGE))

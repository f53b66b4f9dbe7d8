"""The messages that a camera's bag is made of: from bytes to frames and their labels, and from frames to bytes."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from lowlat_seg_ros.data.compressed_image import compressed_image_to_rgb
from lowlat_seg_ros.data.image_message import BadImage, class_ids, image_to_rgb
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


class Header(NamedTuple):
    """std_msgs/msg/Header, the stamp in nanoseconds."""

    stamp: int
    frame_id: str
    is_overflowing: bool = False  # a second or more is in its nanoseconds, which no clock writes


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
    return _header(stamp.sec, stamp.nanosec, message.header.frame_id)


def header_at_start(data: bytes) -> Header:
    """The header that a serialized message of a stamped type begins with; raises DamagedMessage."""
    order = "<" if data[1:2] == b"\1" else ">"
    try:
        seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", data, CDR_HEAD)
    except struct.error as error:
        raise DamagedMessage("it is too short for a header") from error
    text = data[CDR_HEAD + 12 : CDR_HEAD + 12 + min(length, LONGEST_FRAME_ID)]
    return _header(seconds, nanoseconds, text.rstrip(b"\0").decode(errors="replace"))


def _header(seconds: int, nanoseconds: int, frame_id: str) -> Header:
    return Header(seconds * NANOSECONDS_A_SECOND + nanoseconds, frame_id, nanoseconds >= NANOSECONDS_A_SECOND)


def frame_of(message: Any, message_type: str, notes: list[str] | None = None) -> NDArray[np.uint8]:
    """The picture of a deserialized Image or CompressedImage, (H, W, 3) uint8 RGB, writable; raises DamagedMessage.

    What is amiss with it is added to `notes`.
    """
    try:
        frame = image_to_rgb(message) if message_type == IMAGE else compressed_image_to_rgb(message, notes)
    except BadImage as error:
        raise DamagedMessage(str(error)) from error
    return frame if frame.flags.writeable else frame.copy()


def labels_of(message: Any) -> NDArray[np.uint8]:
    """The class ids of a deserialized Image, (H, W) uint8; raises DamagedMessage."""
    try:
        return class_ids(message).copy()
    except BadImage as error:
        raise DamagedMessage(str(error)) from error


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

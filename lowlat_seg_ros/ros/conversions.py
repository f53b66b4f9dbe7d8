"""Every conversion between ROS messages and arrays."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from typing import Any, Final, Literal

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lowlat_seg_ros.msg import KeyFrameDiagnostics
from lowlat_seg_ros.stream.engine import SegmentationResult

NANOSECONDS_A_SECOND: Final = 1_000_000_000

_TO_RGB: Final[dict[str, tuple[int, int | None]]] = {
    "rgb": (3, None),
    "bgr": (3, cv2.COLOR_BGR2RGB),
    "rgba": (4, cv2.COLOR_RGBA2RGB),
    "bgra": (4, cv2.COLOR_BGRA2RGB),
    "mono": (1, cv2.COLOR_GRAY2RGB),
    # ROS names a Bayer pattern after its first row, OpenCV after its second: https://docs.opencv.org/4.x/de/d25/
    "bayer_rggb": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg": (1, cv2.COLOR_BayerGB2RGB),
}
"""Channels, and OpenCV's way to RGB, of the encodings that also exist with 16 bits a channel (rgb8, rgb16, …)."""

_YUV_TO_RGB: Final = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}
"""Two bytes a pixel, so never 16 bits a channel."""

_COLOURLESS: Final = re.compile(r"(8|16|32|64)[USF]C?[1-4]?")
"""OpenCV's own types (16UC1, 32FC1, 8UC3, …): depth images and raw data, whose channels have no agreed meaning."""


class BadImage(Exception):
    """An image message that cannot be used; the message is one sentence with what was wrong and what was expected."""


def image_to_rgb(message: Image) -> NDArray[np.uint8]:
    """The pixels of `message` as (H, W, 3) uint8 RGB; 16-bit channels are scaled to 8.

    Row padding (`step`) and, for 16-bit channels, `is_bigendian` are honoured. The array is a view of the message's
    own data for rgb8, a new array for everything else. Encodings that are not known here go through cv_bridge.

    Raises:
        BadImage: no pixels, a `step` or data length that does not fit, an encoding without colours or an unknown one.
    """
    if message.width == 0 or message.height == 0:
        raise BadImage(f"the image is {message.width}x{message.height}; expected at least one pixel")
    if message.encoding in _YUV_TO_RGB:
        return _converted(_pixels(message, np.dtype(np.uint8), 2), _YUV_TO_RGB[message.encoding])
    family, depth = _family_and_depth(message.encoding)
    if family in _TO_RGB:
        channels, conversion = _TO_RGB[family]
        return _converted(_eight_bits(_pixels(message, depth, channels)), conversion)
    if _COLOURLESS.fullmatch(message.encoding):
        raise BadImage(
            f"the encoding {message.encoding} says nothing of colours (a depth image or raw data); "
            "expected a colour or mono encoding such as bgr8 or mono8"
        )
    return _through_cv_bridge(message)


def image_message(pixels: NDArray[np.uint8], encoding: str, header: Header) -> Image:
    """`pixels`, (H, W) or (H, W, channels), which already are in `encoding`, as a message with that header.

    The message refers to the pixels until it is published: do not change them before.
    """
    message = Image(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.step = pixels[0].size
    _set_data(message, np.ascontiguousarray(pixels))
    return message


@dataclass(frozen=True)
class ChainTimes:
    """Seconds of one image's way through the node, outside the stream engine and in all."""

    decode: float
    publish: float
    total: float  # callback entry to the return of the labels' publish call


def key_frame_message(
    result: SegmentationResult, header: Header, times: ChainTimes, frames_dropped: int
) -> KeyFrameDiagnostics:
    """What the two tracks did with the image of that header."""
    return KeyFrameDiagnostics(
        header=header,
        sequence=result.sequence,
        is_key_frame=result.is_key_frame,
        key_reason=result.key_reason,
        predicted_deviation=result.deviation,
        threshold=result.threshold,
        key_stamp=stamp_of(result.key_stamp),
        key_age_frames=result.key_age_frames,
        key_is_accurate=result.key_is_accurate,
        waited_for_slow_track=result.waited_for_slow_track,
        slow_track_busy=result.slow_track.busy,
        slow_track_done=result.slow_track.done,
        slow_track_failed=result.slow_track.failed,
        decode_ms=times.decode * 1000,
        low_ms=result.milliseconds.low,
        schedule_ms=result.milliseconds.schedule,
        propagate_ms=result.milliseconds.propagate,
        labels_ms=result.milliseconds.labels,
        publish_ms=times.publish * 1000,
        total_ms=times.total * 1000,
        slow_track_ms=result.slow_track.last_milliseconds,
        frames_dropped=frames_dropped,
    )


def nanoseconds(stamp: Time) -> int:
    """A message's stamp in nanoseconds."""
    return int(stamp.sec) * NANOSECONDS_A_SECOND + int(stamp.nanosec)


def stamp_of(stamp_nanoseconds: int) -> Time:
    """The stamp of a message; the reverse of `nanoseconds`."""
    seconds, rest = divmod(stamp_nanoseconds, NANOSECONDS_A_SECOND)
    return Time(sec=seconds, nanosec=rest)


def _family_and_depth(encoding: str) -> tuple[str, np.dtype[Any]]:
    """`bgr16` is ("bgr", uint16); an encoding that ends in neither 8 nor 16 is no member of a family."""
    for ending, depth in (("16", np.uint16), ("8", np.uint8)):
        if encoding.endswith(ending):
            return encoding.removesuffix(ending), np.dtype(depth)
    return encoding, np.dtype(np.uint8)


def _pixels(message: Image, depth: np.dtype[Any], channels: int) -> NDArray[Any]:
    """The message's data as (H, W, channels), or (H, W) for one channel; a view that leaves the row padding out."""
    _check_layout(message, channels * depth.itemsize)
    shape: tuple[int, ...] = (message.height, message.width, channels)
    strides: tuple[int, ...] = (message.step, channels * depth.itemsize, depth.itemsize)
    if channels == 1:
        shape, strides = shape[:2], strides[:2]
    return np.ndarray(shape, depth.newbyteorder(_byte_order(message)), buffer=message.data, strides=strides)


def _check_layout(message: Image, pixel_bytes: int) -> None:
    row_bytes = message.width * pixel_bytes
    if message.step < row_bytes:
        raise BadImage(
            f"step is {message.step} bytes; expected {row_bytes} or more for {message.width} px of {message.encoding}"
        )
    _check_length(message)


def _check_length(message: Image) -> None:
    if len(message.data) != message.step * message.height:
        raise BadImage(
            f"the data are {len(message.data)} bytes; "
            f"expected {message.step * message.height} ({message.height} rows of {message.step})"
        )


def _byte_order(message: Image) -> Literal["<", ">"]:
    return ">" if message.is_bigendian else "<"


def _eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype.itemsize == 1:
        return pixels
    native = pixels.astype(np.uint16)
    return cv2.convertScaleAbs(native, alpha=255 / 65535).astype(np.uint8, copy=False)


def _converted(pixels: NDArray[np.uint8], conversion: int | None) -> NDArray[np.uint8]:
    return pixels if conversion is None else cv2.cvtColor(pixels, conversion).astype(np.uint8, copy=False)


def _through_cv_bridge(message: Image) -> NDArray[np.uint8]:
    try:
        # Imported when a camera needs it: most do not, and it is the one dependency with two builds that differ.
        from cv_bridge import CvBridge
    except ImportError as error:
        raise BadImage(f"the encoding {message.encoding!r} needs cv_bridge, which is not installed") from error
    _check_length(message)
    try:
        pixels = CvBridge().imgmsg_to_cv2(message, "rgb8")
    except Exception as error:  # both builds let TypeError, KeyError, cv2.error and others through as they come
        raise BadImage(f"the encoding {message.encoding!r} is not known; expected bgr8, rgb8, mono8, …") from error
    return np.asarray(pixels, np.uint8)


def _set_data(message: Image, pixels: NDArray[np.uint8]) -> None:
    """`message.data = pixels` would check byte by byte (400 ms for 720p); what publishes it takes any buffer."""
    if hasattr(message, "_data"):
        message._data = pixels
    else:
        message.data = array("B", pixels.tobytes())

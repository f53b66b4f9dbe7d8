"""The pixels of image messages, whoever made them: rclpy, or a bag read without ROS.

Only the fields of a message are used, so nothing of ROS is imported.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.errors import Error, shown

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

_SEMIPLANAR_TO_RGB: Final = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
"""A plane of brightness, and one of two colours for every two by two pixels. V4L2 names them."""

_NV24: Final = "nv24"
"""Likewise, with colours for every pixel."""

_COLOURLESS: Final = re.compile(r"(8|16|32|64)[USF]C?[1-4]?")
"""OpenCV's own types (16UC1, 32FC1, 8UC3, …): depth images and raw data, whose channels have no agreed meaning."""

LABEL_ENCODINGS: Final = ("mono8", "8UC1")
"""Of a message whose pixels are class ids."""


class ImageMessage(Protocol):
    """The fields of sensor_msgs/msg/Image; `data` is any buffer of bytes."""

    height: int
    width: int
    encoding: str
    is_bigendian: Any  # a number in one message class, a bool in the other
    step: int
    data: Any


class BadImage(Error):
    """An image message that cannot be used; the message is one sentence with what was wrong and what was expected."""


class UnknownEncoding(BadImage):
    """An image message whose encoding is not one of those known here."""


def image_to_rgb(message: ImageMessage) -> NDArray[np.uint8]:
    """The pixels of `message` as (H, W, 3) uint8 RGB; 16-bit channels are scaled to 8.

    Row padding (`step`) and, for 16-bit channels, `is_bigendian` are honoured. The array is a view of the message's
    own data for rgb8, a new array for everything else.

    Raises:
        BadImage: no pixels, a `step` or data length that does not fit, an encoding without colours.
        UnknownEncoding: an encoding that is not in the tables above.
    """
    family, depth = _family_and_depth(message.encoding)
    _check_encoding(message.encoding, family)
    _check_size(message)
    if message.encoding in _YUV_TO_RGB:
        return _converted(_pixels(message, np.dtype(np.uint8), 2), _YUV_TO_RGB[message.encoding])
    if message.encoding in _SEMIPLANAR_TO_RGB:
        return _semiplanar_to_rgb(message)
    if message.encoding == _NV24:
        return _nv24_to_rgb(message)
    channels, conversion = _TO_RGB[family]
    return _converted(eight_bits(_pixels(message, depth, channels)), conversion)


def colourless(encoding: str) -> bool:
    """Whether these are depths or raw data, whose channels have no agreed meaning."""
    return _COLOURLESS.fullmatch(encoding) is not None


def is_bayer(encoding: str) -> bool:
    """Whether these are a sensor's mosaic."""
    return encoding.startswith("bayer_") and _family_and_depth(encoding)[0] in _TO_RGB


def demosaiced(mosaic: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """A sensor's mosaic, (H, W), of one of the encodings that ``is_bayer`` knows, as (H, W, 3) RGB; raises BadImage."""
    return _converted(mosaic, _TO_RGB[_family_and_depth(encoding)[0]][1])


def _check_encoding(encoding: str, family: str) -> None:
    """Before any length is judged: what is not known has no expected length."""
    if family in _TO_RGB or encoding in _YUV_TO_RGB or encoding in _SEMIPLANAR_TO_RGB or encoding == _NV24:
        return
    if colourless(encoding):
        raise BadImage(
            f"the encoding {encoding} says nothing of colours (a depth image or raw data); "
            "expected a colour or mono encoding such as bgr8 or mono8"
        )
    names = ", ".join(["bgr8, rgb8, mono8, bayer_rggb8 and their kin", *_YUV_TO_RGB, *_SEMIPLANAR_TO_RGB, _NV24])
    raise UnknownEncoding(f"the encoding {shown(encoding)} is not known; expected one of {names}")


def _semiplanar_to_rgb(message: ImageMessage) -> NDArray[np.uint8]:
    """NV12 or NV21: H rows of brightness, then H / 2 of colours, all of ``step`` bytes."""
    height, width = message.height, message.width
    if height % 2 or width % 2:
        raise BadImage(f"{width}x{height} pixels do not fit the encoding; expected even lengths for YUV 4:2:0")
    planes = _planes(message, height + height // 2)
    return _converted(planes, _SEMIPLANAR_TO_RGB[message.encoding])


def _nv24_to_rgb(message: ImageMessage) -> NDArray[np.uint8]:
    """H rows of brightness, then the colours of H rows, two bytes a pixel."""
    height, width = message.height, message.width
    planes = _planes(message, 3 * height)
    if planes.strides[0] != width:
        raise BadImage(f"step is {message.step} bytes; expected {width} for {width} px of {message.encoding}")
    colours = planes[height:].reshape(height, 2 * width)
    # Of a picture of twice the size these would be NV12's colours, whose conversion OpenCV has.
    brightness = planes[:height].repeat(2, axis=0).repeat(2, axis=1)
    twice = _converted(np.concatenate([brightness, colours]), cv2.COLOR_YUV2RGB_NV12)
    return np.ascontiguousarray(twice[::2, ::2])


def _planes(message: ImageMessage, rows: int) -> NDArray[np.uint8]:
    """All planes, (rows, W), as a view. In some drivers ``step`` is that of the brightness, in others of all planes."""
    height, width, step = message.height, message.width, message.step
    of_all = rows * width
    if step > width and step * height == of_all:
        step = width
    if step < width:
        raise BadImage(f"step is {step} bytes; expected {width} or more for {width} px of {message.encoding}")
    if len(message.data) != rows * step:
        raise BadImage(
            f"the data are {len(message.data)} bytes; expected {rows * step} of {message.encoding} "
            f"({rows} rows of {step}: brightness and colours)"
        )
    return np.ndarray((rows, width), np.uint8, buffer=message.data, strides=(step, 1))


def class_ids(message: ImageMessage) -> NDArray[np.uint8]:
    """The class ids that a label image carries, (H, W) uint8, as a view of the message's own data; raises BadImage."""
    _check_size(message)
    if message.encoding not in LABEL_ENCODINGS:
        raise BadImage(
            f"the encoding is {shown(message.encoding)}; expected class ids as {' or '.join(LABEL_ENCODINGS)}"
        )
    return _pixels(message, np.dtype(np.uint8), 1)


def check_data_length(message: ImageMessage) -> None:
    """Raise BadImage unless the data are as long as `height` rows of `step` bytes."""
    if len(message.data) != message.step * message.height:
        raise BadImage(
            f"the data are {len(message.data)} bytes; "
            f"expected {message.step * message.height} ({message.height} rows of {message.step})"
        )


def _check_size(message: ImageMessage) -> None:
    if message.width == 0 or message.height == 0:
        raise BadImage(f"the image is {message.width}x{message.height}; expected at least one pixel")


def _family_and_depth(encoding: str) -> tuple[str, np.dtype[Any]]:
    """`bgr16` is ("bgr", uint16); an encoding that ends in neither 8 nor 16 is no member of a family."""
    for ending, depth in (("16", np.uint16), ("8", np.uint8)):
        if encoding.endswith(ending):
            return encoding.removesuffix(ending), np.dtype(depth)
    return encoding, np.dtype(np.uint8)


def _pixels(message: ImageMessage, depth: np.dtype[Any], channels: int) -> NDArray[Any]:
    """The message's data as (H, W, channels), or (H, W) for one channel; a view that leaves the row padding out."""
    _check_layout(message, channels * depth.itemsize)
    shape: tuple[int, ...] = (message.height, message.width, channels)
    strides: tuple[int, ...] = (message.step, channels * depth.itemsize, depth.itemsize)
    if channels == 1:
        shape, strides = shape[:2], strides[:2]
    return np.ndarray(shape, depth.newbyteorder(_byte_order(message)), buffer=message.data, strides=strides)


def _check_layout(message: ImageMessage, pixel_bytes: int) -> None:
    row_bytes = message.width * pixel_bytes
    if message.step < row_bytes:
        raise BadImage(
            f"step is {message.step} bytes; expected {row_bytes} or more for {message.width} px of {message.encoding}"
        )
    check_data_length(message)


def _byte_order(message: ImageMessage) -> Literal["<", ">"]:
    return ">" if message.is_bigendian else "<"


def eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels of 16 bits a channel scaled to 8; those of 8 as they are."""
    if pixels.dtype.itemsize == 1:
        return pixels
    native = pixels.astype(np.uint16)
    return cv2.convertScaleAbs(native, alpha=255 / 65535).astype(np.uint8, copy=False)


def _converted(pixels: NDArray[np.uint8], conversion: int | None) -> NDArray[np.uint8]:
    if conversion is None:
        return pixels
    try:
        return cv2.cvtColor(pixels, conversion).astype(np.uint8, copy=False)
    except cv2.error as error:
        width, height = pixels.shape[1], pixels.shape[0]
        raise BadImage(
            f"{width}x{height} pixels do not fit the encoding; "
            "expected an even width (YUV 4:2:2) or some more pixels (Bayer)"
        ) from error

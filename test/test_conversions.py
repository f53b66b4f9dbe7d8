"""Conversions between ROS messages and arrays, beside cv_bridge's where it has one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lowlat_seg_ros.data.image_message import image_to_rgb
from lowlat_seg_ros.ros.conversions import image_message, nanoseconds, stamp_of

WIDTH, HEIGHT = 14, 6
CHANNELS = {
    "rgb8": 3,
    "bgr8": 3,
    "rgba8": 4,
    "bgra8": 4,
    "mono8": 1,
    "bayer_rggb8": 1,
    "bayer_bggr8": 1,
    "bayer_gbrg8": 1,
}


def pixels(channels: int) -> NDArray[np.uint8]:
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def padded(message: Image, padding: int) -> Image:
    """The same image with `padding` bytes after every row."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    longer = np.pad(rows, ((0, 0), (0, padding)), constant_values=123)
    message.step += padding
    message.data = longer.tobytes()
    return message


@pytest.mark.parametrize("encoding", CHANNELS)
@pytest.mark.parametrize("padding", [0, 5])
def test_pixels_are_those_of_cv_bridge(encoding: str, padding: int) -> None:
    cv_bridge = pytest.importorskip("cv_bridge")
    message = image_message(pixels(CHANNELS[encoding]), encoding, Header())
    expected = cv_bridge.CvBridge().imgmsg_to_cv2(message, "rgb8")  # PyPI's cv_bridge knows no padding
    assert np.array_equal(image_to_rgb(padded(message, padding)), expected)


@pytest.mark.parametrize("encoding", ["mono16", "rgb16", "bgr16", "rgba16", "bgra16", "bayer_rggb16"])
@pytest.mark.parametrize(("byte_order", "is_bigendian"), [("<", 0), (">", 1)])
def test_sixteen_bits_give_the_eight_bits_that_they_stretch(encoding: str, byte_order: str, is_bigendian: int) -> None:
    """Measured by the 8-bit encoding: PyPI's cv_bridge changes no depth and fails on big-endian data under NumPy 2."""
    channels = {"mono": 1, "bayer": 1, "rgba": 4, "bgra": 4}.get(encoding.partition("_")[0].removesuffix("16"), 3)
    eight = pixels(channels)
    expected = image_to_rgb(image_message(eight, encoding.removesuffix("16") + "8", Header()))
    sixteen = (eight.astype(np.uint16) * 257).astype(f"{byte_order}u2")
    message = image_message(sixteen.view(np.uint8), encoding, Header())
    message.width, message.is_bigendian = WIDTH, is_bigendian
    assert np.array_equal(image_to_rgb(padded(message, 6)), expected)


def test_an_rgb_image_is_not_copied() -> None:
    message = image_message(pixels(3), "rgb8", Header())
    assert np.shares_memory(image_to_rgb(message), np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize(("channels", "encoding", "step"), [(1, "mono8", WIDTH), (3, "bgr8", 3 * WIDTH)])
def test_an_image_message_survives_the_wire(channels: int, encoding: str, step: int) -> None:
    header = Header(stamp=stamp_of(1_500_000_002), frame_id="front")
    sent = image_message(pixels(channels), encoding, header)
    received = deserialize_message(serialize_message(sent), Image)
    assert received.header == header
    assert (received.height, received.width, received.step, received.encoding) == (HEIGHT, WIDTH, step, encoding)
    assert received.data.tobytes() == pixels(channels).tobytes()


def test_pixels_that_are_not_contiguous_are_sent_as_they_look() -> None:
    message = image_message(pixels(1)[:, ::2], "mono8", Header())
    assert message.data.tobytes() == pixels(1)[:, ::2].tobytes()
    assert message.step == WIDTH // 2


@pytest.mark.parametrize("stamp", [0, 1, 999_999_999, 1_000_000_000, 1_795_443_153_392_075_504])
def test_stamps_keep_every_nanosecond(stamp: int) -> None:
    assert nanoseconds(stamp_of(stamp)) == stamp


def test_a_stamp_beyond_what_a_message_holds_is_the_last_one_that_it_does() -> None:
    """A message's own stamp can be as late: its nanoseconds are 32 bits, too, and nobody checks them."""
    latest = Time(sec=2**31 - 1, nanosec=4_000_000_000)
    assert stamp_of(nanoseconds(latest)) == Time(sec=2**31 - 1, nanosec=999_999_999)
    assert stamp_of(-(2**62)) == Time(sec=-(2**31), nanosec=0)
    assert nanoseconds(stamp_of(-1)) == -1

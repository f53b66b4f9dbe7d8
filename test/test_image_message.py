"""The pixels of image messages come out as RGB; what does not fit says so in one sentence. Needs no ROS."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lowlat_seg_ros.data.image_message import BadImage, UnknownEncoding, class_ids, image_to_rgb

RGB = np.array([[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [100, 110, 120]]], np.uint8)


@dataclass
class Message:
    """What image_to_rgb needs of sensor_msgs/msg/Image."""

    height: int
    width: int
    encoding: str
    step: int
    data: bytes
    is_bigendian: int = 0


def message(pixels: NDArray[np.generic], encoding: str, *, padding: int = 0, is_bigendian: int = 0) -> Message:
    """An image message of (H, W) or (H, W, channels) pixels, with `padding` bytes of 255 after every row."""
    rows = [row.tobytes() + b"\xff" * padding for row in pixels]
    return Message(pixels.shape[0], pixels.shape[1], encoding, len(rows[0]), b"".join(rows), is_bigendian)


def with_alpha(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([pixels, np.full((2, 2, 1), 255, np.uint8)], axis=2)


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("rgba8", with_alpha(RGB)),
        ("bgra8", with_alpha(RGB[..., ::-1])),
        ("rgb16", RGB.astype("<u2") * 257),
        ("bgr16", RGB[..., ::-1].astype("<u2") * 257),
    ],
)
@pytest.mark.parametrize("padding", [0, 6])
def test_colours_come_out_as_rgb(encoding: str, pixels: NDArray[np.generic], padding: int) -> None:
    assert np.array_equal(image_to_rgb(message(pixels, encoding, padding=padding)), RGB)


def test_big_endian_channels_are_read_as_such() -> None:
    assert np.array_equal(image_to_rgb(message(RGB.astype(">u2") * 257, "rgb16", is_bigendian=1)), RGB)


@pytest.mark.parametrize(("encoding", "depth", "scale"), [("mono8", "u1", 1), ("mono16", "<u2", 257)])
def test_grey_comes_out_three_times(encoding: str, depth: str, scale: int) -> None:
    grey = RGB[..., 0]
    frame = image_to_rgb(message((grey.astype(int) * scale).astype(depth), encoding))
    assert np.array_equal(frame, np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize("encoding", ["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"])
def test_the_named_corner_of_a_bayer_pattern_is_first(encoding: str) -> None:
    """A red, a green and a blue world seen through the mosaic come out red, green and blue."""
    pattern = np.array(["rgb".index(colour) for colour in encoding[6:10]]).reshape(2, 2)
    for colour in range(3):
        mosaic = np.tile(np.where(pattern == colour, 200, 0).astype(np.uint8), (8, 8))
        frame = image_to_rgb(message(mosaic, encoding))
        assert frame[4:-4, 4:-4].mean(axis=(0, 1)).argmax() == colour


@pytest.mark.parametrize(("encoding", "code"), [("yuv422_yuy2", "YUY2"), ("yuv422", "UYVY"), ("uyvy", "UYVY")])
def test_yuv_comes_out_as_rgb(encoding: str, code: str) -> None:
    grey = np.full((4, 4, 3), 128, np.uint8)
    packed = cv2.cvtColor(grey, getattr(cv2, f"COLOR_RGB2YUV_{code}"))
    assert np.abs(image_to_rgb(message(packed, encoding)).astype(int) - 128).max() <= 2


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (Message(0, 2, "rgb8", 6, b""), "the image is 2x0; expected at least one pixel"),
        (Message(2, 2, "rgb8", 5, bytes(10)), "step is 5 bytes; expected 6 or more for 2 px of rgb8"),
        (Message(2, 2, "rgb8", 6, bytes(11)), "the data are 11 bytes; expected 12 (2 rows of 6)"),
        (Message(2**32 - 1, 2**32 - 1, "mono8", 2**32 - 1, bytes(9)), "the data are 9 bytes; expected"),
        (Message(1, 3, "yuv422", 6, bytes(6)), "3x1 pixels do not fit the encoding; expected an even width"),
        (Message(1, 2, "32FC1", 8, bytes(8)), "the encoding 32FC1 says nothing of colours"),
    ],
)
def test_what_does_not_fit_says_so(bad: Message, sentence: str) -> None:
    with pytest.raises(BadImage) as error:
        image_to_rgb(bad)
    assert sentence in str(error.value)


def test_an_unknown_encoding_can_be_told_from_a_bad_image() -> None:
    """And is named before any length is judged: nobody knows how long its data are."""
    for encoding in ("jpeg", "yuv420", "bayer_rgbw8", "rgb12", ""):
        with pytest.raises(UnknownEncoding, match=f"the encoding {encoding!r} is not known; expected one of bgr8"):
            image_to_rgb(Message(4, 4, encoding, 1, b"1"))


def planes(rgb: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """As a camera gives them: rows of brightness, then of colours."""
    height, width = rgb.shape[:2]
    i420 = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    brightness, (u, v) = i420[:height], i420[height:].reshape(2, height // 2, width // 2)
    if encoding == "nv24":
        u, v = (plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (u, v))
    first, second = (v, u) if encoding == "nv21" else (u, v)
    colours = np.stack([first, second], axis=-1)
    return np.concatenate([brightness, colours.reshape(-1, width)])


def of_planes(data: NDArray[np.uint8], size: tuple[int, int], encoding: str, padding: int = 0) -> Message:
    padded = np.pad(data, ((0, 0), (0, padding)), constant_values=77)
    return Message(size[1], size[0], encoding, padded.shape[1], padded.tobytes())


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_planes_of_brightness_and_colours_come_out_as_rgb(encoding: str) -> None:
    """Red beside blue above green beside grey; NV24 takes no padding, since its colours' rows are twice as long."""
    world = np.zeros((16, 24, 3), np.uint8)
    world[:8, :12], world[:8, 12:], world[8:, :12], world[8:, 12:] = (200, 30, 30), (30, 30, 200), (30, 200, 30), 128
    data = planes(world, encoding)
    frame = image_to_rgb(of_planes(data, (24, 16), encoding))
    assert frame.shape == world.shape and np.abs(frame.astype(int) - world).max() <= 4
    if encoding != "nv24":
        assert np.array_equal(image_to_rgb(of_planes(data, (24, 16), encoding, padding=5)), frame)
    of_all = of_planes(data, (24, 16), encoding)
    of_all.step = data.size // 16  # some drivers' step is that of all planes together
    assert np.array_equal(image_to_rgb(of_all), frame)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (Message(3, 4, "nv12", 4, bytes(18)), "4x3 pixels do not fit the encoding; expected even lengths"),
        (Message(4, 4, "nv21", 4, bytes(23)), "the data are 23 bytes; expected 24 of nv21 (6 rows of 4"),
        (Message(4, 4, "nv12", 3, bytes(24)), "step is 3 bytes; expected 4 or more for 4 px of nv12"),
        (Message(2, 2, "nv24", 3, bytes(18)), "step is 3 bytes; expected 2 for 2 px of nv24"),
        (Message(2, 2, "16UC1", 1, b""), "the encoding 16UC1 says nothing of colours"),
        (Message(2**32 - 1, 2**32 - 2, "nv24", 2**32 - 1, bytes(9)), "the data are 9 bytes; expected"),
    ],
)
def test_planes_that_do_not_fit_say_so(bad: Message, sentence: str) -> None:
    with pytest.raises(BadImage) as error:
        image_to_rgb(bad)
    assert sentence in str(error.value)


PICTURES = (
    [f"{order}{bits}" for order in ("rgb", "bgr", "rgba", "bgra", "mono") for bits in (8, 16)]
    + [f"bayer_{pattern}{bits}" for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)]
    + ["uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv21", "nv24"]
)
"""Every encoding of sensor_msgs/image_encodings.hpp that says what its channels mean (common_interfaces c0c0bc5)."""


@pytest.mark.parametrize("encoding", PICTURES)
def test_every_encoding_of_sensor_msgs_that_holds_a_picture_is_read(encoding: str) -> None:
    """A grey world comes out grey, whatever its bytes are called."""
    channels = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4}.get(encoding.rstrip("1068"), 1)
    if encoding.startswith("nv"):
        sent = of_planes(np.full((24 if encoding == "nv21" else 48, 16), 128, np.uint8), (16, 16), encoding)
    elif encoding[0] in "uy":
        sent = message(np.full((16, 32), 128, np.uint8), encoding)
        sent.width = 16
    else:
        sent = message(
            np.full(
                (16, 16, channels), 128 * 257 if "16" in encoding else 128, np.uint16 if "16" in encoding else np.uint8
            ),
            encoding,
        )
    assert np.abs(image_to_rgb(sent).astype(int) - 128).max() <= 2


def test_class_ids_are_taken_as_they_are() -> None:
    ids = np.array([[0, 10], [255, 3]], np.uint8)
    assert np.array_equal(class_ids(message(ids, "mono8", padding=3)), ids)
    assert np.array_equal(class_ids(message(ids, "8UC1")), ids)


def test_a_picture_is_no_label_image() -> None:
    with pytest.raises(BadImage, match="the encoding is 'rgb8'; expected class ids as mono8 or 8UC1"):
        class_ids(message(RGB, "rgb8"))

"""Compressed image messages come out as RGB, by what their format says; what does not fit says so. Needs no ROS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lowlat_seg_ros.data.compressed_image import compressed_image_to_rgb
from lowlat_seg_ros.data.image_message import BadImage, image_to_rgb

PATTERNS = ("rggb", "bggr", "gbrg", "grbg")
CASE = Path(__file__).parents[2] / "shared" / "cases" / "bayer_compressed" / "bag"


@dataclass
class Compressed:
    format: str
    data: NDArray[np.uint8]


def world() -> NDArray[np.uint8]:
    """RGB: large blocks of colour, which neither a mosaic nor a JPEG changes much."""
    blocks = np.array([[(200, 40, 40), (40, 200, 40)], [(40, 40, 200), (180, 180, 60)]], np.uint8)
    return blocks.repeat(32, axis=0).repeat(32, axis=1)


def mosaic_of(rgb: NDArray[np.uint8], pattern: str) -> NDArray[np.uint8]:
    channels = np.array(["rgb".index(colour) for colour in pattern]).reshape(2, 2)
    height, width = rgb.shape[:2]
    tiled = np.tile(channels, (height // 2, width // 2))
    return np.take_along_axis(rgb, tiled[..., None], axis=2)[..., 0]


def encoded(pixels: NDArray[Any], kind: str, message_format: str) -> Compressed:
    return Compressed(message_format, cv2.imencode(f".{kind}", pixels, [cv2.IMWRITE_JPEG_QUALITY, 98])[1])


def difference(frame: NDArray[np.uint8], rgb: NDArray[np.uint8]) -> float:
    """Inside the blocks, where neither compression nor demosaicing blurs."""
    inside = np.ones(rgb.shape[:2], bool)
    inside[26:38], inside[:, 26:38] = False, False
    inside[:4], inside[-4:], inside[:, :4], inside[:, -4:] = False, False, False, False
    return float(np.abs(frame.astype(int) - rgb)[inside].max())


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize(
    ("message_format", "is_exchanged"),
    [
        ("{}", False),
        ("rgb8; {} compressed bgr8", False),
        ("bgr8; {} compressed rgb8", True),
        ("rgb8; {} compressed ", False),
    ],
)
def test_colours_come_out_as_rgb(kind: str, message_format: str, is_exchanged: bool) -> None:
    bgr = world()[..., ::-1]
    sent = encoded(
        bgr[..., ::-1] if is_exchanged else bgr, kind, message_format.format("jpeg" if kind == "jpg" else kind)
    )
    assert difference(compressed_image_to_rgb(sent), world()) <= 8


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    ("kind", "message_format"),
    [
        ("jpg", "bayer_{}8; jpeg compressed "),
        ("png", "bayer_{}8; png compressed "),
        ("png", "bayer_{}16; png compressed "),
        ("jpg", "bayer_{0}8; jpeg compressed bayer_{0}8"),
    ],
)
def test_a_compressed_mosaic_comes_out_in_colour(pattern: str, kind: str, message_format: str) -> None:
    """A JPEG blurs a mosaic, the patterns for one another not: each comes out as its own colours."""
    mosaic = mosaic_of(world(), pattern)
    pixels = mosaic.astype(np.uint16) * 257 if "16" in message_format else mosaic
    frame = compressed_image_to_rgb(encoded(pixels, kind, message_format.format(pattern)))
    assert difference(frame, world()) <= (0 if kind == "png" else 40)


def test_a_picture_that_was_demosaiced_before_it_was_compressed_is_not_demosaiced_again() -> None:
    colour = encoded(world()[..., ::-1], "png", "bayer_rggb8; png compressed bgr8")
    assert np.array_equal(compressed_image_to_rgb(colour), world())
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    frame = compressed_image_to_rgb(encoded(grey, "png", "bayer_rggb8; png compressed mono8"))
    assert np.array_equal(frame, np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_give_the_eight_bits_that_they_stretch(channels: int) -> None:
    eight = np.random.default_rng(0).integers(0, 256, (8, 12, channels), np.uint8)
    sixteen = compressed_image_to_rgb(encoded(eight.astype(np.uint16) * 257, "png", "png"))
    assert np.array_equal(sixteen, compressed_image_to_rgb(encoded(eight, "png", "png")))
    encoding = {1: "mono8", 3: "bgr8", 4: "bgra8"}[channels]
    raw = SimpleNamespace(
        height=8, width=12, encoding=encoding, is_bigendian=0, step=12 * channels, data=eight.tobytes()
    )
    assert np.array_equal(sixteen, image_to_rgb(raw))


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (Compressed("jpeg", np.frombuffer(b"no picture", np.uint8)), "the data are no picture; expected a JPEG or PNG"),
        (Compressed("jpeg", np.empty(0, np.uint8)), "the data are no picture; expected a JPEG or PNG"),
        (Compressed("16UC1; compressedDepth png", np.empty(0, np.uint8)), "is a depth image; expected a colour"),
        (Compressed("16UC1; png compressed ", np.empty(0, np.uint8)), "says nothing of colours"),
        (Compressed("32FC1; tiff compressed ", np.empty(0, np.uint8)), "says nothing of colours"),
    ],
)
def test_what_is_no_picture_says_so(sent: Compressed, sentence: str) -> None:
    with pytest.raises(BadImage) as error:
        compressed_image_to_rgb(sent)
    assert sentence in str(error.value)


@pytest.mark.skipif(not CASE.is_dir(), reason="needs ../shared/cases/bayer_compressed")
def test_a_bag_of_compressed_mosaics_is_read_in_colour() -> None:
    from mcap.reader import make_reader

    from lowlat_seg_ros.replay.messages import COMPRESSED_IMAGE, deserialize, frame_of

    with (CASE / "bag.mcap").open("rb") as file:
        messages = [
            message
            for schema, _, message in make_reader(file).iter_messages()
            if schema is not None and schema.name.endswith("/CompressedImage")
        ]
    frames = [frame_of(deserialize(each.data, COMPRESSED_IMAGE), COMPRESSED_IMAGE) for each in messages[:3]]
    assert frames and all(np.abs(frame[..., 0].astype(int) - frame[..., 2]).mean() > 2 for frame in frames)

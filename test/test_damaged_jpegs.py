"""JPEGs that lost data are told of by every reader, whatever kind they are; whole ones are not."""

from __future__ import annotations

import io
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from bag_parts import compressed, write_bag_of
from numpy.typing import NDArray
from PIL import Image
from written_files import picture_bytes

from lowlat_seg_ros.data.image_file import ImageFileError, read_rgb
from lowlat_seg_ros.data.jpeg import DAMAGED, LACKS_SCANS, PADDED, JpegError, decode_jpeg, jpeg_extent
from lowlat_seg_ros.data.problems import Problems
from lowlat_seg_ros.replay.bags import open_bag

PACKET = 1400  # bytes, as a network loses them
SCAN = re.compile(rb"\xff\xda")
RESTART = re.compile(rb"\xff[\xd0-\xd7]")
KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "optimised": {"optimize": True},
    "restarts": {"restart_marker_blocks": 4},
    "progressive": {"progressive": True},
    "grey": {"mode": "L"},
    "grey progressive": {"mode": "L", "progressive": True},
    "4:4:4": {"subsampling": 0},
    "CMYK": {"mode": "CMYK"},
}


def detailed(height: int, width: int) -> NDArray[np.uint8]:
    corners = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def jpeg(kind: str, height: int = 96, width: int = 128) -> bytes:
    options = dict(KINDS[kind])
    return picture_bytes(
        Image.fromarray(detailed(height, width)).convert(options.pop("mode", "RGB")), "JPEG", **options
    )


def notes_of(content: bytes) -> tuple[str, ...]:
    return decode_jpeg(content, jpeg_extent(content))[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_is_not_accused_and_is_as_opencv_reads_it(kind: str) -> None:
    content = jpeg(kind)
    for tail in (b"", bytes(5000), content):
        for order in ("RGB", "BGR"):
            picture, notes = decode_jpeg(content + tail, jpeg_extent(content + tail), order)
            theirs = np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED))
            assert notes == ()
            assert np.array_equal(picture, theirs[..., ::-1] if picture.ndim == 3 and order == "RGB" else theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_packet_lost_in_a_scan_is_told_of(kind: str) -> None:
    """Wherever it was: behind it a decoder goes on with what it finds, up to the picture's last block.

    Nothing tells of one behind which as many blocks are found by chance: `python -m bench.jpeg_reading`.
    """
    content = jpeg(kind, 480, 640)
    begin = SCAN.search(content).end() + 12  # type: ignore[union-attr]
    places = range(begin, len(content) - 2 - PACKET, (len(content) - PACKET) // 60)
    silent = sum(not is_told_of(content[:place] + content[place + PACKET :]) for place in places)
    assert len(places) > 40 and silent <= 1


@pytest.mark.parametrize("kind", ["baseline", "restarts", "progressive", "grey", "4:4:4"])
def test_what_is_left_of_a_damaged_jpeg_is_what_pillow_makes_of_it(kind: str) -> None:
    """And no memory as it was before."""
    content, random = jpeg(kind), np.random.default_rng(0)
    read = 0
    for _ in range(100):
        damaged = bytearray(content)
        for place in random.integers(SCAN.search(content).start(), len(content) - 2, 3):  # type: ignore[union-attr]
            damaged[place] ^= int(random.integers(1, 255))
        try:
            picture, _ = decode_jpeg(bytes(damaged), jpeg_extent(bytes(damaged)))
        except JpegError:
            continue
        assert np.array_equal(picture, np.asarray(Image.open(io.BytesIO(damaged))))
        read += 1
    assert read > 50


def is_told_of(damaged: bytes) -> bool:
    try:
        return bool(set(notes_of(damaged)) & {DAMAGED, PADDED, LACKS_SCANS})
    except JpegError:
        return True  # refused: what it lost were a scan's tables


@pytest.mark.parametrize("kind", ["progressive", "grey progressive"])
def test_every_scan_that_is_missing_is_told_of(kind: str) -> None:
    content = jpeg(kind)
    starts = [each.start() for each in SCAN.finditer(content)]
    ends = [*starts[1:], len(content) - 2]
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        without = content[:start] + content[end:]
        assert is_told_of(without), number
    assert notes_of(content[: starts[-1]] + b"\xff\xd9") == (LACKS_SCANS,)


def test_every_restart_interval_that_is_missing_is_told_of() -> None:
    """Eight of them, too, after which the markers' numbers go on as if nothing were."""
    content = jpeg("restarts")
    places = [each.start() for each in RESTART.finditer(content)]
    assert len(places) > 10
    for first, last in [*pairwise(places), (places[1], places[9]), (places[-1], len(content) - 2)]:
        assert notes_of(content[:first] + content[last:]) == (DAMAGED,)


@pytest.mark.parametrize("padding", [bytes(8), b"\x55" * 40])
def test_padding_before_the_end_marker_is_told_of_as_such(padding: bytes) -> None:
    content = jpeg("baseline")
    picture, notes = decode_jpeg(content[:-2] + padding + content[-2:], jpeg_extent(content))
    assert notes == (PADDED,) and np.array_equal(picture, decode_jpeg(content, jpeg_extent(content))[0])


@pytest.mark.parametrize("kind", ["baseline", "grey", "progressive"])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_bytes_between_the_markers_of_a_header_are_told_of(kind: str, order: Literal["RGB", "BGR"]) -> None:
    content = jpeg(kind)
    place = content.index(b"\xff\xdb")
    padded = content[:place] + bytes(16) + content[place:]
    picture, notes = decode_jpeg(padded, jpeg_extent(padded), order)
    assert notes == (PADDED,) and np.array_equal(picture, decode_jpeg(content, jpeg_extent(content), order)[0])


@pytest.mark.parametrize("code", [0xC3, 0xC7, 0xC9])
def test_lossless_hierarchical_and_arithmetic_jpegs_are_read_or_refused(code: int, tmp_path: Path) -> None:
    path, problems = tmp_path / "a.jpg", Problems()
    path.write_bytes(jpeg("baseline").replace(b"\xff\xc0", bytes([0xFF, code])))
    try:
        read_rgb(path, problems)
        assert problems.lines()
    except ImageFileError as error:
        assert "cannot be decoded" in str(error)


def test_twelve_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg("baseline").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"))
    with pytest.raises(ImageFileError, match=r"a\.jpg cannot be decoded: it is damaged or of a rare kind"):
        read_rgb(path)


def without_last_scan(content: bytes) -> bytes:
    return content[: [each.start() for each in SCAN.finditer(content)][-1]] + b"\xff\xd9"


def lost_in_transit(content: bytes) -> bytes:
    return content[:-1200] + content[-400:]


@pytest.mark.parametrize(
    ("content", "note"),
    [(without_last_scan(jpeg("progressive")), LACKS_SCANS), (lost_in_transit(jpeg("baseline")), DAMAGED)],
    ids=["scan", "data"],
)
def test_files_and_bags_tell_of_it(content: bytes, note: str, tmp_path: Path) -> None:
    path, problems = tmp_path / "a.jpg", Problems()
    path.write_bytes(content)
    assert read_rgb(path, problems).shape == (96, 128, 3)
    assert problems.lines() == [f"{path} {note}."]
    drive = [compressed(0, content, "jpeg"), compressed(1, jpeg("baseline"), "jpeg")]
    with open_bag(write_bag_of(tmp_path / "drive", drive)) as bag:
        assert len(list(bag.frames())) == 2
        assert bag.problems == [f"/image/compressed has a picture that {note}."]

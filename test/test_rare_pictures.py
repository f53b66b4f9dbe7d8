"""Kinds of pictures and labels that decoders read differently, or fill up, are read rightly or refused."""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import pytest
from bag_parts import compressed, encoded, write_bag_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from written_files import GREY, PALETTE, RGB, bmp, interlaced_png, picture_bytes, png, png_with, pnm, tiff

from lowlat_seg_ros.data.clips import open_clip
from lowlat_seg_ros.data.image_file import ImageFileError, read_rgb
from lowlat_seg_ros.data.jpeg import DAMAGED
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS
from lowlat_seg_ros.data.label_file import read_label_file, read_samples
from lowlat_seg_ros.data.problems import DataError, Problems
from lowlat_seg_ros.evaluation.given_frames import given_frames
from lowlat_seg_ros.replay.bags import open_bag
from lowlat_seg_ros.training.data_plan import DataPlan
from lowlat_seg_ros.training.data_set import find_data
from lowlat_seg_ros.training.survey import survey

Order = Literal["<", ">"]
QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def smooth(height: int = 12, width: int = 16) -> np.ndarray[Any, np.dtype[np.uint8]]:
    corners = np.array([[[250, 10, 40], [30, 240, 90]], [[5, 60, 200], [128, 128, 128]]], np.uint8)
    return np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def read_or_refused(path: Path, content: bytes, expected: Any, tolerance: int = 1) -> bool:
    """Whether the picture was read: then it must be as expected."""
    path.write_bytes(content)
    try:
        found = read_rgb(path)
    except ImageFileError as error:
        assert str(path) in str(error) and str(error).isprintable()
        return False
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= tolerance
    return True


@QUICK
@given(
    white=st.sampled_from([1, 15, 100, 254, 255, 256, 1023, 4095, 65535]),
    is_colour=st.booleans(),
    is_text=st.booleans(),
)
def test_a_netpbm_of_any_white_is_read_rightly_or_refused(
    white: int, is_colour: bool, is_text: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """OpenCV takes 100 of 100 for dark grey."""
    picture = smooth() if is_colour else smooth()[..., 1]
    samples = np.round(picture.astype(float) * white / 255).astype(int)
    shown = np.round(samples * 255 / white).astype(np.uint8)
    expected = shown if is_colour else np.dstack([shown] * 3)
    is_read = read_or_refused(tmp_path_factory.getbasetemp() / "a.pnm", pnm(samples, white, is_text), expected)
    assert is_read or white not in (255, 65535)


@pytest.mark.parametrize("order", get_args(Order))
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("meaning", [0, 1, 2])
def test_a_tiff_is_read_rightly_or_refused(meaning: int, bits: int, order: Order, tmp_path: Path) -> None:
    """Of 16 bits with white at 0 OpenCV and Pillow make the negative."""
    picture = smooth() if meaning == 2 else smooth()[..., 0]
    stored = 255 - picture if meaning == 0 else picture
    samples = stored.astype(np.uint16) * 257 if bits == 16 else stored
    expected = picture if meaning == 2 else np.dstack([picture] * 3)
    is_read = read_or_refused(tmp_path / "a.tif", tiff(samples, meaning, order), expected)
    assert is_read == (bits == 8 or meaning != 0)


@pytest.mark.parametrize("form", ["TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("opacity", [255, 100])
def test_transparent_pictures_keep_their_colours_or_are_refused(form: str, opacity: int, tmp_path: Path) -> None:
    """OpenCV darkens a TIFF's colours by its alpha."""
    image = Image.fromarray(smooth()).convert("RGBA")
    image.putalpha(opacity)
    options: dict[str, Any] = {"lossless": True, "exact": True} if form == "WEBP" else {}
    is_read = read_or_refused(tmp_path / "a", picture_bytes(image, form, **options), smooth())
    assert is_read or (form == "TIFF" and opacity < 255)


@pytest.mark.parametrize("masks", [(0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000)])
def test_a_bmp_s_masks_say_which_channel_is_red_or_it_is_refused(masks: tuple[int, int, int], tmp_path: Path) -> None:
    rgb = smooth() if masks[0] == 0xFF else smooth()[..., ::-1]
    stored = np.dstack([rgb, np.zeros(rgb.shape[:2], np.uint8)])
    assert read_or_refused(tmp_path / "a.bmp", bmp(stored, masks), smooth()) or masks[0] == 0xFF


@pytest.mark.parametrize("kind", ["LAB", "YCbCr"])
@pytest.mark.parametrize("form", ["TIFF", "JPEG2000"])
def test_other_colour_spaces_are_read_rightly_or_refused(kind: str, form: str, tmp_path: Path) -> None:
    content = io.BytesIO()
    image = Image.fromarray(smooth()).convert("YCbCr")
    if kind == "LAB":
        image = Image.frombytes("LAB", image.size, image.tobytes())
    try:
        image.save(content, form)
    except OSError:
        pytest.skip(f"Pillow writes no {form} in {kind}")
    read_or_refused(tmp_path / "a", content.getvalue(), smooth(), tolerance=4)


def test_a_small_file_of_many_pixels_is_refused(tmp_path: Path) -> None:
    """Thirty kilobytes of zeros, which would unpack into half a gigabyte on their way."""
    content = png(np.zeros((4200, 4200), np.uint8))
    path = tmp_path / "zeros.png"
    path.write_bytes(content)
    sentence = rf"claims? 4200 ?x ?4200 pixels in {len(content)} bytes"
    with pytest.raises(ImageFileError, match=rf"zeros\.png {sentence}"):
        read_rgb(path)
    with pytest.raises(DataError, match=rf"zeros\.png {sentence}"):
        read_label_file(path, CAMVID_LABELS)
    whole = encoded(smooth(), ".png")
    with open_bag(
        write_bag_of(tmp_path / "drive", [compressed(0, content, "png"), compressed(1, whole, "png")])
    ) as bag:
        assert len(list(bag.frames())) == 1
        assert re.search(sentence, bag.problems[0])
    path.write_bytes(content + bytes(10**6))  # as long as an ordinary file of so many pixels
    assert read_rgb(path).shape == (4200, 4200, 3) and read_label_file(path, CAMVID_LABELS).stored == {0}


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_jpeg_whose_data_end_early_is_named(mode: str, is_damaged: bool, tmp_path: Path) -> None:
    """As one that has lost a packet: its markers are whole, and decoders report success."""
    jpeg = picture_bytes(Image.fromarray(smooth(48, 64)).convert(mode), "JPEG", quality=95)
    scan = jpeg.index(b"\xff\xda") + 14
    content = jpeg[: scan + (len(jpeg) - scan) // 2] + b"\xff\xd9" if is_damaged else jpeg
    (tmp_path / "a.jpg").write_bytes(content)
    problems = Problems()
    read_rgb(tmp_path / "a.jpg", problems)
    with open_bag(
        write_bag_of(tmp_path / "drive", [compressed(0, content, "jpeg"), compressed(1, jpeg, "jpeg")])
    ) as bag:
        assert len(list(bag.frames())) == 2
        said = bag.problems
    expected = f"{DAMAGED}."
    assert problems.lines() == ([f"{tmp_path / 'a.jpg'} {expected}"] if is_damaged else [])
    assert said == ([f"/image/compressed has a picture that {expected}"] if is_damaged else [])


@QUICK
@given(
    size=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    kind=st.sampled_from(
        [(GREY, 1), (GREY, 2), (GREY, 4), (GREY, 8), (GREY, 16), (PALETTE, 1), (PALETTE, 4), (PALETTE, 8)]
    ),
    is_transparent=st.booleans(),
    seed=st.integers(0, 9),
)
def test_interlaced_and_transparent_labels_are_their_samples(
    size: tuple[int, int],
    kind: tuple[int, int],
    is_transparent: bool,
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    colour_type, bits = kind
    ids = np.random.default_rng(seed).integers(0, 1 << bits, size)
    path = tmp_path_factory.getbasetemp() / "labels.png"
    path.write_bytes(interlaced_png(ids, bits, colour_type, b"\0\0" if is_transparent else b""))
    assert np.array_equal(read_samples(path), ids)


@pytest.mark.parametrize("colour_type", [GREY, PALETTE, RGB])
def test_labels_that_lack_rows_are_refused(colour_type: int, tmp_path: Path) -> None:
    """Pillow takes what is missing for class 0."""
    ids = np.full((6, 8, 3) if colour_type == RGB else (6, 8), 128 if colour_type == RGB else 4)
    whole = png(ids, 8, colour_type)
    path = tmp_path / "labels.png"
    rows = b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in ids)
    for samples, is_whole in (
        (rows, True),
        (rows + b"more", True),
        (rows[:-1], False),
        (rows[: len(rows) // 2], False),
    ):
        path.write_bytes(png_with(whole, b"IDAT", zlib.compress(samples)))
        if is_whole:
            assert np.array_equal(read_samples(path), ids)
        else:
            with pytest.raises(DataError, match=r"labels\.png cannot be decoded: it"):
                read_label_file(path, CAMVID_LABELS)


def test_a_palette_of_the_classes_colours_at_other_indices_is_named(tmp_path: Path) -> None:
    """As tools leave masks in colours that they have made smaller. A palette of any other colours means nothing."""
    for kind in ("frames", "labels"):
        (tmp_path / kind).mkdir()
    Image.fromarray(smooth()).save(tmp_path / "frames" / "1.png")
    ids = np.zeros((12, 16), int)
    ids[:, 8:] = 1
    whole, path = png(ids, 8, PALETTE), tmp_path / "labels" / "1.png"
    for colours, is_named in (
        ([(128, 64, 128), (70, 140, 60)], True),  # CamVid's road and tree, whose ids are 3 and 5
        ([(128, 128, 128), (128, 0, 0)], False),  # its sky and building, whose ids are 0 and 1
        ([(0, 0, 0), (128, 0, 0)], False),  # Pascal VOC's palette
        ([(1, 2, 3), (4, 5, 6)], False),
    ):
        path.write_bytes(png_with(whole, b"PLTE", bytes(value for colour in colours for value in colour)))
        clip = open_clip(tmp_path / "frames")
        (frame,) = given_frames(clip, tmp_path / "labels", CAMVID_LABELS)
        assert np.array_equal(frame.labels, ids)
        data = find_data(DataPlan(frames=tmp_path / "frames", labels=tmp_path / "labels"), 11, CAMVID_LABELS)
        survey(data, tmp_path / "survey.json")
        for said in (clip.problems.lines(), data.notes.lines()):
            assert any("not at their ids; its indices are read" in line for line in said) == is_named

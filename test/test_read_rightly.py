"""Pictures, labels, videos and folders of every kind are read rightly or refused by name, through every command.

Hypothesis writes them; what was written is what must be read, and where two libraries read a kind, both agree.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from written_files import (
    GREY,
    PALETTE,
    RGB,
    RGB_ALPHA,
    picture_bytes,
    png,
    with_fill_bytes,
)

from lowlat_seg_ros.data.classes import CAMVID_CLASSES, UNLABELLED
from lowlat_seg_ros.data.image_file import ImageFileError, read_rgb
from lowlat_seg_ros.data.jpeg import JpegError, jpeg_extent
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS, KNOWN_LABELS
from lowlat_seg_ros.data.label_classes import numbered_classes
from lowlat_seg_ros.data.label_file import read_label_file, read_labels
from lowlat_seg_ros.data.problems import DataError, Problems

QUICK = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def for_all(check: Callable[..., None], examples: int, **strategies: Any) -> None:
    """Run a check on so many examples; a test is run on few by `make test`, and on many by `make test-all`."""
    settings(QUICK, max_examples=examples)(given(**strategies)(check))()


few_and_many = pytest.mark.parametrize("examples", [60, pytest.param(2000, marks=pytest.mark.slow)])

sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))  # (height, width)


@st.composite
def pictures(draw: Any, sizes: Any = sizes) -> NDArray[np.uint8]:
    """(H, W, 3), smooth enough that a JPEG changes it little."""
    height, width = draw(sizes)
    corners = draw(arrays(np.uint8, (2, 2, 3)))
    return np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def decoded_by_opencv(content: bytes, mode: int) -> NDArray[Any]:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), mode))


# --- Labels -----------------------------------------------------------------------------------------------------------

KINDS = [(GREY, 1), (GREY, 2), (GREY, 4), (GREY, 8), (GREY, 16), (PALETTE, 1), (PALETTE, 2), (PALETTE, 4), (PALETTE, 8)]


@st.composite
def stored_ids(draw: Any, shape: tuple[int, int] | None = None) -> tuple[NDArray[np.uint16], int, int]:
    """Ids of CamVid as a PNG can store them: samples, bit depth, colour type."""
    colour_type, bit_depth = draw(st.sampled_from(KINDS))
    largest = min(len(CAMVID_CLASSES), (1 << bit_depth) - 1)
    ids = draw(arrays(np.uint16, shape or draw(sizes), elements=st.integers(0, largest)))
    return ids, bit_depth, colour_type


def as_classes(ids: NDArray[Any]) -> NDArray[np.uint8]:
    return np.where(ids == len(CAMVID_CLASSES), UNLABELLED, ids).astype(np.uint8)


@few_and_many
def test_labels_are_the_samples_of_the_file(examples: int, tmp_path: Path) -> None:
    path = tmp_path / "labels.png"

    def check(stored: tuple[NDArray[np.uint16], int, int]) -> None:
        ids, bit_depth, colour_type = stored
        path.write_bytes(png(ids, bit_depth, colour_type))
        assert np.array_equal(read_labels(path, CAMVID_LABELS), as_classes(ids))
        if colour_type == GREY and bit_depth >= 8:  # OpenCV stretches fewer bits and takes a palette's colours
            assert np.array_equal(decoded_by_opencv(path.read_bytes(), cv2.IMREAD_UNCHANGED), ids)

    for_all(check, examples, stored=stored_ids())


@QUICK
@given(data=st.data(), name=st.sampled_from(sorted(KNOWN_LABELS)), has_alpha=st.booleans())
def test_colours_are_classes(
    data: st.DataObject, name: str, has_alpha: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    classes = KNOWN_LABELS[name]
    colours = list(classes.colours)
    places = data.draw(arrays(np.intp, data.draw(sizes), elements=st.integers(0, len(colours) - 1)))
    rgb = np.array(colours, np.uint8)[places]
    samples = np.concatenate([rgb, np.full((*places.shape, 1), 255, np.uint8)], -1) if has_alpha else rgb
    path = tmp_path_factory.getbasetemp() / "colours.png"
    path.write_bytes(png(samples, 8, RGB_ALPHA if has_alpha else RGB))
    expected = np.array([classes.colours[colour] for colour in colours], np.uint8)[places]
    assert np.array_equal(read_labels(path, classes), expected)


@QUICK
@given(id_=st.integers(0, 65535), bits=st.sampled_from([1, 2, 4, 8, 16]), is_palette=st.booleans())
def test_an_id_out_of_range_is_named(
    id_: int, bits: int, is_palette: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assume(id_ < 1 << bits and not (is_palette and bits == 16))
    path = tmp_path_factory.getbasetemp() / "one.png"
    path.write_bytes(png(np.array([[0, id_]]), bits, PALETTE if is_palette else GREY))
    classes = numbered_classes(3)
    if id_ in (0, 1, 2, UNLABELLED):
        assert read_labels(path, classes).tolist() == [[0, id_]]
    else:
        with pytest.raises(DataError, match=rf"one\.png hold the id {id_}, but the model has the classes 0 to 2"):
            read_labels(path, classes)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (png(np.full((2, 2, 3), 7), 8, RGB), r"have the colour \[7, 7, 7\], which is no class's"),
        (png(np.full((2, 2, 3), 7), 16, RGB), "have 16 bits a channel; expected 8"),
        (png(np.zeros((2, 2, 4), int), 8, RGB_ALPHA), "have transparent pixels"),
        (png(np.zeros((4, 4), int))[:-30], "cannot be decoded: it is damaged"),
        (picture_bytes(Image.new("L", (4, 4)), "JPEG"), "are no PNG"),
        (picture_bytes(Image.new("L", (4, 4)), "PNG", orientation=6), "are turned by EXIF"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_label_file_is_named(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.png {sentence}"):
        read_label_file(tmp_path / "bad.png", CAMVID_LABELS)


def test_colours_without_a_map_ask_for_one(tmp_path: Path) -> None:
    (tmp_path / "colours.png").write_bytes(png(np.zeros((2, 2, 3), int), 8, RGB))
    with pytest.raises(DataError, match="are a picture in RGB; expected class ids, or --classes with the colours"):
        read_labels(tmp_path / "colours.png", numbered_classes(3))


# --- Pictures ---------------------------------------------------------------------------------------------------------

FORMATS: list[tuple[str, dict[str, Any], str, int]] = [  # format, options, mode, tolerance
    ("PNG", {}, "RGB", 0), ("PNG", {}, "L", 0), ("PNG", {}, "P", 0), ("PNG", {}, "RGBA", 0), ("PNG", {}, "LA", 0),
    ("PNG", {}, "1", 0), ("JPEG", {"quality": 95}, "RGB", 3), ("JPEG", {"progressive": True}, "RGB", 3),
    ("JPEG", {}, "L", 1), ("JPEG", {}, "CMYK", 3), ("WEBP", {"lossless": True}, "RGB", 0), ("BMP", {}, "RGB", 0),
    ("BMP", {}, "P", 0), ("PPM", {}, "RGB", 0), ("PPM", {}, "L", 0), ("TIFF", {}, "RGB", 0), ("TIFF", {}, "L", 0),
    ("TIFF", {"compression": "tiff_lzw"}, "RGB", 0), ("TIFF", {}, "RGBA", 0), ("JPEG2000", {}, "RGB", 0),
]  # fmt: skip
WITH_EXIF = ("PNG", "JPEG", "WEBP", "TIFF")


def shown_by_pillow(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@few_and_many
def test_a_picture_is_what_a_viewer_shows(examples: int, tmp_path: Path) -> None:
    path = tmp_path / "picture"

    def check(rgb: NDArray[np.uint8], kind: Any, orientation: int) -> None:
        form, options, mode, tolerance = kind
        orientation = orientation if form in WITH_EXIF else 1
        content = picture_bytes(Image.fromarray(rgb).convert(mode), form, orientation, **options)
        path.write_bytes(content)
        problems = Problems()
        found, expected = read_rgb(path, problems), shown_by_pillow(content)
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).max() <= tolerance
        said = " ".join(problems.lines())
        assert ("alpha channel, which is ignored" in said) == (mode in ("RGBA", "LA"))
        assert ("in CMYK" in said) == (mode == "CMYK")
        assert ("turned upright" in said) == (orientation > 1)

    for_all(check, examples, rgb=pictures(), kind=st.sampled_from(FORMATS), orientation=st.integers(1, 8))


@few_and_many
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of TIFFs that are cut
def test_a_picture_cut_short_is_refused_or_whole(examples: int, tmp_path: Path) -> None:
    path = tmp_path / "cut"

    def check(rgb: NDArray[np.uint8], kind: Any, share: float) -> None:
        form, options, mode, tolerance = kind
        whole = picture_bytes(Image.fromarray(rgb).convert(mode), form, **options)
        path.write_bytes(whole[: int(len(whole) * share)])
        try:
            found = read_rgb(path)
        except ImageFileError as error:
            assert str(path) in str(error)
        else:
            assert np.abs(found.astype(int) - shown_by_pillow(whole)).max() <= tolerance

    shares = st.floats(0, 1, exclude_max=True)
    for_all(check, examples, rgb=pictures(), kind=st.sampled_from(FORMATS), share=shares)


@few_and_many
def test_a_jpeg_ends_at_its_own_end(examples: int, tmp_path: Path) -> None:
    path = tmp_path / "tail.jpg"

    def check(rgb: NDArray[np.uint8], tail: bytes, fill: int, is_progressive: bool) -> None:
        jpeg = picture_bytes(Image.fromarray(rgb), "JPEG", progressive=is_progressive)
        filled = with_fill_bytes(jpeg, fill) if not is_progressive else jpeg
        assert jpeg_extent(filled + tail) == (rgb.shape[1], rgb.shape[0], len(filled), False)
        path.write_bytes(filled + tail)
        assert np.array_equal(read_rgb(path), decoded_by_opencv(jpeg, cv2.IMREAD_COLOR)[..., ::-1])
        for cut in (len(filled) - 1, len(filled) // 2):
            with pytest.raises(JpegError, match="is cut short"):
                jpeg_extent(filled[:cut])

    tails = st.one_of(st.binary(max_size=64), st.integers(4096, 9000).map(bytes), st.just(b"\xff\xd8" + b"\xff" * 5000))
    for_all(check, examples, rgb=pictures(), tail=tails, fill=st.integers(0, 3), is_progressive=st.booleans())


@QUICK
@given(grey=arrays(np.uint16, (3, 4)), is_colour=st.booleans())
@example(grey=np.full((3, 4), 4095, np.uint16), is_colour=False)
def test_sixteen_bits_are_scaled_and_said(
    grey: NDArray[np.uint16], is_colour: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stored = np.dstack([grey] * 3) if is_colour else grey
    path, problems = tmp_path_factory.getbasetemp() / "deep.png", Problems()
    assert cv2.imwrite(str(path), stored)
    assert np.abs(read_rgb(path, problems)[..., 0] - grey / 257).max() <= 0.5 + 1e-6
    said = " ".join(problems.lines())
    assert "16 bits a channel, which are scaled to 8" in said
    assert ("nearly black" in said) == bool(grey.max() < 4096)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("name", ["sRGB", "LAB"])
def test_a_profile_of_other_colours_is_named(form: str, name: str, tmp_path: Path) -> None:
    path, problems = tmp_path / "picture", Problems()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]
    path.write_bytes(picture_bytes(Image.new("RGB", (8, 8)), form, icc_profile=profile))
    read_rgb(path, problems)
    assert ("has a colour profile that is not named sRGB" in " ".join(problems.lines())) == (name != "sRGB")


def test_a_picture_of_floats_is_refused(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "depth.tiff"), np.ones((4, 4), np.float32))
    with pytest.raises(ImageFileError, match=r"depth\.tiff has samples of 32 bits; expected 8 or 16 bits"):
        read_rgb(tmp_path / "depth.tiff")

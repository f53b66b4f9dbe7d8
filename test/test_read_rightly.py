"""Pictures, labels, videos and folders of every kind are read rightly or refused by name, through every command.

Hypothesis writes them; what was written is what must be read, and where two libraries read a kind, both agree.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_parts import PERIOD, Recorded, image, label_map, picture, stamp_of, write_bag_of
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rosbags.rosbag2 import Reader as RosbagsReader
from written_files import (
    GREY,
    PALETTE,
    RGB,
    RGB_ALPHA,
    number_of,
    numbered_frame,
    picture_bytes,
    png,
    turned_by_a_quarter,
    with_fill_bytes,
    write_video,
)

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data.classes import CAMVID_CLASSES, UNLABELLED
from lowlat_seg_ros.data.clips import ClipError, open_clip
from lowlat_seg_ros.data.frame_source import VideoFrame, read_frame
from lowlat_seg_ros.data.image_file import ImageFileError, read_rgb
from lowlat_seg_ros.data.jpeg import JpegError, jpeg_extent
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS, KNOWN_LABELS
from lowlat_seg_ros.data.label_classes import numbered_classes
from lowlat_seg_ros.data.label_file import read_label_file, read_labels
from lowlat_seg_ros.data.problems import DataError, Problems
from lowlat_seg_ros.evaluation.given_frames import given_frames
from lowlat_seg_ros.replay.bags import open_bag
from lowlat_seg_ros.replay.messages import IMAGE, Header, serialized_image
from lowlat_seg_ros.training.data_plan import DataPlan
from lowlat_seg_ros.training.data_set import find_data
from lowlat_seg_ros.training.survey import survey

QUICK = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def for_all(check: Callable[..., None], examples: int, **strategies: Any) -> None:
    """Run a check on so many examples; a test is run on few by `make test`, and on many by `make test-all`."""
    settings(QUICK, max_examples=examples)(given(**strategies)(check))()


few_and_many = pytest.mark.parametrize("examples", [60, pytest.param(2000, marks=pytest.mark.slow)])
THROUGH_COMMANDS = settings(QUICK, max_examples=6)

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
        assert jpeg_extent(filled + tail) == (rgb.shape[1], rgb.shape[0], len(filled))
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


def test_a_picture_of_floats_is_refused(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "depth.tiff"), np.ones((4, 4), np.float32))
    with pytest.raises(ImageFileError, match=r"depth\.tiff has samples of 32 bits; expected 8 or 16 bits"):
        read_rgb(tmp_path / "depth.tiff")


# --- Folders ----------------------------------------------------------------------------------------------------------

SUFFIXES = [".png", ".PNG", ".jpg", ".JPG", ".Jpeg", ".bmp", ".webp", ".tif"]
JUNK = ["._f1.png", ".hidden.jpg", "Thumbs.db", "notes.txt", ".DS_Store"]


def read_by_every_command(frames: Path, labels: Path, out: Path) -> list[tuple[list[int], list[int]]]:
    """The frames' numbers (in their brightness) and those of their labels' classes, by bag, evaluate and train."""
    out.mkdir()
    assert main(["bag", "make", str(frames), str(out / "bag"), "--labels", str(labels), "--classes", "camvid"]) == 0
    with open_bag(out / "bag") as bag:
        found = [(frame.image, frame.labels) for frame in bag.frames() if frame.labels is not None]
    ways = [found]
    evaluated = given_frames(open_clip(frames), labels, CAMVID_LABELS)
    ways.append([(frame.image, frame.labels) for frame in evaluated if (frame.labels != UNLABELLED).any()])
    data = find_data(DataPlan(frames=frames, labels=labels, consecutive=True), 11, CAMVID_LABELS)
    assert data.problems == []
    ways.append(
        [
            (read_frame(frame.image), read_labels(frame.labels.path, frame.labels.classes))
            for frame in data.trained
            if frame.labels
        ]
    )
    return [([number_in(image) for image, _ in way], [int(ids[0, 0]) for _, ids in way]) for way in ways]


def number_in(image: NDArray[np.uint8]) -> int:
    return round(float(image.mean()) / 8)


@THROUGH_COMMANDS
@given(
    numbers=st.lists(st.integers(0, 31), min_size=2, max_size=8, unique=True),
    suffixes=st.lists(st.sampled_from(SUFFIXES), min_size=8, max_size=8),
    junk=st.sets(st.sampled_from(JUNK)),
    label_suffix=st.sampled_from([".png", ".PNG"]),
    unlabelled=st.sets(st.integers(1, 7), max_size=2),
)
def test_every_command_reads_the_same_frames_in_natural_order(
    numbers: list[int],
    suffixes: list[str],
    junk: set[str],
    label_suffix: str,
    unlabelled: set[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("drive")
    frames, labels = folder / "frames", folder / "labels"
    for made in (frames, labels):
        made.mkdir()
    for place, (number, suffix) in enumerate(zip(numbers, suffixes, strict=False)):
        picture = Image.new("RGB", (16, 16), (8 * number,) * 3)
        picture.save(frames / f"f{number}{suffix}")
        if place not in unlabelled:
            (labels / f"f{number}{label_suffix}").write_bytes(png(np.full((16, 16), number % 11)))
    for name in junk:
        for made in (frames, labels):
            (made / name).write_bytes(b"\0\5\26\7 not a picture")
    expected = sorted(number for place, number in enumerate(numbers) if place not in unlabelled)
    for found in read_by_every_command(frames, labels, folder / "out"):
        assert found == (expected, [number % 11 for number in expected])
    clip = open_clip(frames)
    assert any("is no picture and is passed over" in line for line in clip.problems.lines()) == bool(junk)


@pytest.mark.parametrize(("first", "second"), [("f1.png", "f1.jpg"), ("f1.png", "f1.PNG")])
def test_two_pictures_of_one_name_are_named(first: str, second: str, tmp_path: Path) -> None:
    for name in (first, second):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (problem,) = find_data(DataPlan(frames=tmp_path, labels=tmp_path), 3).problems
    assert "has two pictures of one name: " in problem
    with pytest.raises(ClipError, match="has two pictures of one name: "):
        open_clip(tmp_path)


def test_pictures_that_are_not_read_and_labels_without_one_are_counted(tmp_path: Path) -> None:
    for kind in ("frames", "labels"):
        (tmp_path / kind).mkdir()
    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / "frames" / f"{number}.png")
        (tmp_path / "labels" / f"{number + 1}.png").write_bytes(png(np.ones((8, 8), int)))
    (tmp_path / "frames" / "3.heic").write_bytes(b"a phone's")
    clip = open_clip(tmp_path / "frames")
    list(given_frames(clip, tmp_path / "labels", CAMVID_LABELS))
    said = "\n".join(clip.problems.lines())
    assert "3.heic is left out: pictures in the format .heic are not read" in said
    assert "labels/3.png belong to no picture" in said
    assert "1 of the 3 frames have no labels" in said
    assert "has the class Sky, Pole, Road" in said and "Building" not in said
    assert clip.problems.warning() == (
        "WARNING: these figures leave out 1 of 4 pictures of frames (25.0%) and 1 of 3 label files (33.3%) and "
        "1 of 3 frames (33.3%); the problems say why."
    )


def test_a_name_with_an_accent_is_one_name_however_it_is_written(tmp_path: Path) -> None:
    """As one character, or as a Mac writes it: a letter and an accent."""
    for kind in ("frames", "labels"):
        (tmp_path / kind).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "frames" / "caf\u00e9.png")
    (tmp_path / "labels" / "cafe\u0301.png").write_bytes(png(np.ones((8, 8), int)))
    (frame,) = given_frames(open_clip(tmp_path / "frames"), tmp_path / "labels", CAMVID_LABELS)
    assert (frame.labels == 1).all()
    Image.new("RGB", (8, 8)).save(tmp_path / "frames" / "cafe\u0301.png")
    with pytest.raises(ClipError, match="has two pictures of one name: "):
        open_clip(tmp_path / "frames")


def test_labels_in_another_format_are_named(tmp_path: Path) -> None:
    for kind, suffix in (("frames", ".png"), ("labels", ".jpg")):
        (tmp_path / kind).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / kind / f"a{suffix}")
    with pytest.raises(DataError, match=r"The labels .*a\.jpg are no PNG"):
        list(given_frames(open_clip(tmp_path / "frames"), tmp_path / "labels", CAMVID_LABELS))


# --- Masks and classes without a pixel --------------------------------------------------------------------------------


def drive_of(folder: Path, label_files: Sequence[bytes]) -> Path:
    for number, content in enumerate(label_files):
        for kind in ("frames", "labels"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / "frames" / f"{number}.png")
        (folder / "labels" / f"{number}.png").write_bytes(content)
    return folder


MASK = png(np.kron([[0, 255], [255, 0]], np.ones((4, 4))).astype(int))
TWO_CLASSES = png(np.kron([[0, 1], [1, 0]], np.ones((4, 4))).astype(int), 1)


def by_bag(drive: Path, void: int | None) -> list[str]:
    assert void is None
    clip = open_clip(drive / "frames")
    list(given_frames(clip, drive / "labels", numbered_classes(3, void, ("road", "kerb", "car"))))
    return clip.problems.lines()


def by_training(drive: Path, void: int | None) -> list[str]:
    classes = numbered_classes(3, void, ("road", "kerb", "car"))
    data = find_data(DataPlan(frames=drive / "frames", labels=drive / "labels"), 3, classes)
    survey(data, drive / "survey.json")
    kept = find_data(DataPlan(frames=drive / "frames", labels=drive / "labels"), 3, classes)
    survey(kept, drive / "survey.json")
    assert kept.notes.lines() == data.notes.lines()
    return data.notes.lines()


@pytest.mark.parametrize("read", [by_bag, by_training])
def test_masks_and_classes_without_a_pixel_are_named(
    read: Callable[[Path, int | None], list[str]], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"0\.png hold only 0 and 255, and so do all 2 label files: these are masks"):
        read(drive_of(tmp_path / "masks", [MASK, MASK]), None)
    said = "\n".join(read(drive_of(tmp_path / "both", [TWO_CLASSES, MASK]), None))
    assert "1.png hold only 0 and 255, and 255 is read as unlabelled" in said
    assert "has the class car" in said and "kerb" not in said


def test_a_mask_whose_255_is_said_to_be_void_is_none(tmp_path: Path) -> None:
    assert not any("hold only 0 and 255" in line for line in by_training(drive_of(tmp_path, [MASK, MASK]), 255))


# --- Videos -----------------------------------------------------------------------------------------------------------

CODECS = [("libx264", "mp4"), ("libx264", "mkv"), ("libx264", "mov"), ("libx265", "mp4"), ("libvpx-vp9", "webm"),
          ("ffv1", "mkv"), ("libsvtav1", "mp4"), ("libsvtav1", "webm")]  # fmt: skip


@pytest.mark.slow
@settings(QUICK, max_examples=40)
@given(
    kind=st.sampled_from(CODECS),
    periods=st.lists(st.integers(5, 400), min_size=4, max_size=40),
    sought=st.integers(0, 40),
)
def test_a_video_s_frames_have_their_own_times(
    kind: tuple[str, str], periods: list[int], sought: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("av")
    codec, suffix = kind
    times = [0, *np.cumsum(periods).tolist()]
    folder = tmp_path_factory.mktemp("video")
    path = folder / f"drive.{suffix}"
    write_video(path, [numbered_frame(number) for number in range(len(times))], times, codec)
    found = list(open_clip(path).timed_frames())
    assert [number_of(frame.image) for frame in found] == list(range(len(times)))
    assert [round(frame.time / 1e6) for frame in found] == times
    index = min(sought, len(times) - 1)
    assert number_of(read_frame(VideoFrame(path, index, found[index].time))) == index
    assert main(["bag", "make", str(path), str(folder / "bag")]) == 0
    with open_bag(folder / "bag") as bag:
        stamps = [frame.stamp for frame in bag.frames()]
    assert [round((stamp - stamps[0]) / 1e6) for stamp in stamps] == times


def test_a_video_of_variable_rate_is_read_by_its_times_and_evenly_where_a_rate_is_given(tmp_path: Path) -> None:
    pytest.importorskip("av")
    times = [0, 33, 66, 400, 433, 900, 1500, 1533]
    write_video(tmp_path / "drive.mkv", [numbered_frame(number) for number in range(8)], times, "libx264")
    assert [round(frame.time / 1e6) for frame in open_clip(tmp_path / "drive.mkv").timed_frames()] == times
    even = open_clip(tmp_path / "drive.mkv", rate_hz=10)
    assert [frame.time // 10**6 for frame in even.timed_frames()] == list(range(0, 800, 100))
    assert [number_of(frame) for frame in even.frames(5)] == [5, 6, 7]


@pytest.mark.parametrize("codec", ["libx264", "libsvtav1"])
def test_a_video_is_turned_as_it_says(codec: str, tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "phone.mp4"
    write_video(path, [numbered_frame(number) for number in range(3)], [0, 33, 66], codec)
    path.write_bytes(turned_by_a_quarter(path.read_bytes(), 48))
    clip = open_clip(path)
    assert clip.size == (48, 64)
    for number, frame in enumerate(clip.frames()):
        upright = cv2.rotate(frame, cv2.ROTATE_90_COUNTERCLOCKWISE)
        assert number_of(np.asarray(upright, np.uint8)) == number
        assert upright[:8, :8].mean() > 200  # its corner


def test_a_codec_without_a_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    write_video(tmp_path / "drive.mp4", [numbered_frame(number) for number in range(3)], [0, 33, 66], "libsvtav1")
    monkeypatch.setitem(sys.modules, "av", None)  # as where it is not installed
    with pytest.raises(
        Exception, match=r"decodes no frame of the video .*drive\.mp4, which is in AV1: .*pip install av"
    ):
        open_clip(tmp_path / "drive.mp4")


# --- Bags -------------------------------------------------------------------------------------------------------------


@QUICK
@given(
    stored=st.sampled_from([("mcap", "none"), ("mcap", "storage"), ("mcap", "file"), ("sqlite3", "none"),
                            ("sqlite3", "message"), ("sqlite3", "file")]),
    count=st.integers(2, 9),
    off_by=st.integers(-PERIOD // 3, PERIOD // 3),
    burst=st.sampled_from([1, 4]),
    unlabelled=st.sets(st.integers(0, 8)),
    shuffled=st.randoms(use_true_random=False),
)  # fmt: skip
def test_a_bag_s_frames_have_their_own_stamps_and_truth(
    stored: tuple[str, str],
    count: int,
    off_by: int,
    burst: int,
    unlabelled: set[int],
    shuffled: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Truth is paired with the nearest frame, whatever order it was written in; what rosbags reads is read alike."""
    frames = [image(number, time=stamp_of(number // burst * burst + burst - 1)) for number in range(count)]
    truths = []
    for number in set(range(count)) - unlabelled:
        ids = serialized_image(label_map(number), "mono8", Header(stamp_of(number) + off_by, "front"))
        truths.append(Recorded("/labels_truth", IMAGE, stamp_of(number), ids))
    shuffled.shuffle(truths)
    bag = write_bag_of(tmp_path_factory.mktemp("bag") / "drive", [*frames, *truths], *stored)
    with open_bag(bag) as opened, RosbagsReader(bag) as reader:
        theirs = sorted((each.topic, time, bytes(data)) for each, time, data in reader.messages())
        assert sorted((each.topic, each.received, each.data) for each in opened.messages()) == theirs
        found = list(opened.frames())
        said = " ".join(opened.problems)
    assert [frame.stamp for frame in found] == [stamp_of(number) for number in range(count)]
    for number, frame in enumerate(found):
        assert np.array_equal(frame.image, picture(number))
        if number in unlabelled:
            assert frame.labels is None
        else:
            assert frame.labels is not None and np.array_equal(frame.labels, label_map(number))
    left = len(unlabelled & set(range(count)))
    assert (f"{left} of {count} frames on /image have no labels" in said) == (0 < left < count)

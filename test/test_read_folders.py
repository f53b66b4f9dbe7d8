"""Folders of pictures and labels are read alike by every command; what is left out or looks like a mask is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from written_files import (
    png,
)

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.clips import ClipError, open_clip
from lowlat_seg_ros.data.frame_source import read_frame
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS
from lowlat_seg_ros.data.label_classes import numbered_classes
from lowlat_seg_ros.data.label_file import read_labels
from lowlat_seg_ros.data.problems import DataError
from lowlat_seg_ros.evaluation.given_frames import given_frames
from lowlat_seg_ros.replay.bags import open_bag
from lowlat_seg_ros.training.data_plan import DataPlan
from lowlat_seg_ros.training.data_set import find_data
from lowlat_seg_ros.training.survey import survey

QUICK = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
THROUGH_COMMANDS = settings(QUICK, max_examples=6)


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

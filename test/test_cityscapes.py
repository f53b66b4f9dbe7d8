"""Cityscapes: found by its layout, its ids mapped to train ids, the video before each labelled frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_trees import (
    ID_OF_TRAIN_ID,
    SIZE,
    cityscapes_ids,
    cityscapes_train_ids,
    cityscapes_tree,
    drive_frame,
    write_labels,
    write_picture,
)
from numpy.typing import NDArray

from lowlat_seg_ros.data.camvid import DataError
from lowlat_seg_ros.data.cityscapes import (
    IMAGE_END,
    LABEL_IDS_END,
    TRAIN_IDS_END,
    earlier_images,
    labelled_images,
    labels_of,
)
from lowlat_seg_ros.data.clips import open_clip
from lowlat_seg_ros.data.frame_source import read_frame
from lowlat_seg_ros.data.known_labels import KNOWN_LABELS, TRAIN_IDS
from lowlat_seg_ros.data.label_classes import LabelClasses, numbered_classes
from lowlat_seg_ros.data.label_file import read_labels
from lowlat_seg_ros.evaluation.given_frames import given_frames
from lowlat_seg_ros.training.data_plan import DataPlan
from lowlat_seg_ros.training.data_set import DataSet, find_data
from lowlat_seg_ros.training.frames import Pictures
from lowlat_seg_ros.training.survey import survey


def found(root: Path, hold_out: str | None = None) -> DataSet:
    return find_data(DataPlan(root=root, hold_out=hold_out), class_count=19)


@pytest.mark.parametrize("with_train_ids", [False, True])
def test_labels_are_train_ids_whichever_file_is_there(tmp_path: Path, with_train_ids: bool) -> None:
    root = cityscapes_tree(tmp_path, with_train_ids=with_train_ids)
    path, ids = labels_of(root, labelled_images(root, "train")[0])
    assert path.name.endswith("labelTrainIds.png" if with_train_ids else "labelIds.png")
    assert np.array_equal(read_labels(path, ids), cityscapes_train_ids())


def test_every_id_that_is_not_trained_is_unlabelled(tmp_path: Path) -> None:
    root = cityscapes_tree(tmp_path)
    path, ids = labels_of(root, labelled_images(root, "train")[0])
    write_labels(path, np.arange(34)[None])
    expected = [ID_OF_TRAIN_ID.index(stored) if stored in ID_OF_TRAIN_ID else 255 for stored in range(34)]
    assert read_labels(path, ids).tolist() == [expected]


def test_the_earlier_frames_are_those_of_the_sequence(tmp_path: Path) -> None:
    """The labelled frame is the 20th of 30, so that the frame l before it is number 19 - l of the snippet."""
    frames = found(cityscapes_tree(tmp_path)).trained
    assert [frame.name for frame in frames] == ["aachen_000000_000019", "hanover_000000_026014"]
    for seed, frame in enumerate(frames):
        assert len(frame.earlier) == 10
        for distance in (1, 2, 10):
            assert np.array_equal(read_frame(frame.earlier[distance - 1]), drive_frame(19 - distance, seed)[0])


def test_without_its_sequences_every_frame_is_a_still(tmp_path: Path) -> None:
    assert [frame.earlier for frame in found(cityscapes_tree(tmp_path, with_sequences=False)).trained] == [(), ()]


def test_earlier_frames_end_at_a_gap(tmp_path: Path) -> None:
    root = cityscapes_tree(tmp_path)
    image = labelled_images(root, "train")[0]
    earlier_images(root, image, 10)[4].unlink()
    assert len(earlier_images(root, image, 10)) == 4


def test_only_the_training_split_is_read_and_a_city_can_be_held_out(tmp_path: Path) -> None:
    root = cityscapes_tree(cityscapes_tree(tmp_path), split="val")
    data = found(root, hold_out="drive hanover")
    assert [frame.drive for frame in data.trained] == ["aachen"] and [f.drive for f in data.held_out] == ["hanover"]
    assert all("val" not in str(frame.image) for frame in found(root).trained)


def test_pixels_are_counted_by_class(tmp_path: Path) -> None:
    data = found(cityscapes_tree(tmp_path / "data"))
    expected = 2 * np.bincount(cityscapes_train_ids().ravel(), minlength=256)
    assert np.array_equal(survey(data, tmp_path / "survey.json"), expected)
    picture = Pictures(data.trained, SIZE)[1]
    assert picture.image.shape == (72, 96, 3) and np.array_equal(picture.labels, cityscapes_train_ids())


def test_all_that_is_amiss_is_named_at_once(tmp_path: Path) -> None:
    root = cityscapes_tree(tmp_path / "data")
    first, second = labelled_images(root, "train")
    write_labels(labels_of(root, first)[0], np.full((72, 96), 34))
    labels_of(root, second)[0].unlink()
    with pytest.raises(DataError) as raised:
        survey(found(root), tmp_path / "survey.json")
    assert "2 problems in Cityscapes' training split" in str(raised.value)
    assert "aachen_000000_000019_gtFine_labelIds.png hold the id 34, but Cityscapes' ids end at 33" in str(raised.value)
    assert "hanover_000000_026014_gtFine_labelIds.png does not exist" in str(raised.value)


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    root = cityscapes_tree(tmp_path, split="val")
    with pytest.raises(DataError, match=r"leftImg8bit/train holds no pictures"):
        found(root)


def test_a_model_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cityscapes has 19 classes, but the model has 11"):
        find_data(DataPlan(root=cityscapes_tree(tmp_path)), class_count=11)


def test_the_test_s_ids_are_those_of_the_train_ids() -> None:
    assert set(np.unique(cityscapes_ids())) == {4, *ID_OF_TRAIN_ID}


# --- Its own names, wherever a folder of frames and one of labels are named -------------------------------------------


def named_folders(root: Path, *endings: str, train_ids: NDArray[np.uint8] | None = None) -> tuple[Path, Path]:
    """A city's pictures and labels in two folders, as the packages have them, with all that lies beside the ids."""
    train_ids = cityscapes_train_ids() if train_ids is None else train_ids
    frames, labels = root / "leftImg8bit" / "aachen", root / "gtFine" / "aachen"
    stored = {TRAIN_IDS_END: train_ids, LABEL_IDS_END: np.array([*ID_OF_TRAIN_ID, *[0] * 237])[train_ids]}
    for number in (19, 26014):
        name = f"aachen_000000_{number:06d}"
        write_picture(frames / (name + IMAGE_END), drive_frame(number)[0])
        for ending in endings:
            write_labels(labels / (name + ending), stored[ending])
        for other in ("color", "instanceIds"):
            write_labels(labels / f"{name}_gtFine_{other}.png", np.zeros((SIZE[1], SIZE[0])))
    return frames, labels


def by_evaluation(frames: Path, labels: Path, classes: LabelClasses) -> tuple[NDArray[np.uint8], list[str]]:
    clip = open_clip(frames)
    found = [frame.labels for frame in given_frames(clip, labels, classes)]
    return found[0], clip.problems.report_lines()


def by_training(frames: Path, labels: Path, classes: LabelClasses) -> tuple[NDArray[np.uint8], list[str]]:
    data = find_data(DataPlan(frames=frames, labels=labels), 19, classes)
    assert data.problems == [] and len(data.trained) == 2
    (path, meaning) = data.trained[0].labels or pytest.fail("no labels")
    return read_labels(path, meaning), data.notes.report_lines()


KNOWN = {name: KNOWN_LABELS[name] for name in ("cityscapes", "cityscapes-train-ids")}
KNOWN["a model's own"] = numbered_classes(19, None, TRAIN_IDS.names)


@pytest.mark.parametrize("read", [by_evaluation, by_training])
@pytest.mark.parametrize("endings", [(TRAIN_IDS_END,), (LABEL_IDS_END,), (TRAIN_IDS_END, LABEL_IDS_END)])
@pytest.mark.parametrize("classes", KNOWN)
def test_its_own_names_are_paired_and_say_which_numbers_are_theirs(
    read: Callable[..., tuple[NDArray[np.uint8], list[str]]], endings: tuple[str, ...], classes: str, tmp_path: Path
) -> None:
    found, said = read(*named_folders(tmp_path, *endings), KNOWN[classes])
    assert np.array_equal(found, cityscapes_train_ids())
    expected = "_gtFine_labelTrainIds.png are read, not aachen_000000_000019_gtFine_labelIds.png (2 times in all)."
    assert [line.endswith(expected) for line in said] == [True] * (len(endings) - 1)


def test_numbers_are_told_apart_with_other_class_ids_and_with_void(tmp_path: Path) -> None:
    """As training renames classes to the model's, and `--void` leaves one out."""
    frames, labels = named_folders(tmp_path, TRAIN_IDS_END)
    backwards = KNOWN["cityscapes"].with_void(7).renamed(TRAIN_IDS.names[::-1], range(18, -1, -1))
    found, _ = by_evaluation(frames, labels, backwards)
    train_ids = cityscapes_train_ids()
    assert np.array_equal(found, np.where((train_ids == 255) | (train_ids == 0), 255, 18 - train_ids))


def test_own_classes_under_its_names_are_own(tmp_path: Path) -> None:
    own = np.minimum(cityscapes_train_ids(), 2)
    frames, labels = named_folders(tmp_path, LABEL_IDS_END)
    for number in (19, 26014):
        write_labels(labels / f"aachen_000000_{number:06d}{LABEL_IDS_END}", own)
    for names in (("road", "kerb", "car"), tuple(f"class {number}" for number in range(19))):
        found, _ = by_evaluation(frames, labels, numbered_classes(len(names), None, names))
        assert np.array_equal(found, own)


def test_label_files_of_another_scene_are_counted(tmp_path: Path) -> None:
    frames, labels = named_folders(tmp_path, LABEL_IDS_END)
    write_labels(labels / f"aachen_000001_000019{LABEL_IDS_END}", np.zeros((SIZE[1], SIZE[0])))
    said = "\n".join(by_evaluation(frames, labels, KNOWN["cityscapes"])[1])
    assert f"aachen_000001_000019{LABEL_IDS_END} belong to no picture" in said and "instanceIds" not in said

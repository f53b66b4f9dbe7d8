"""Cityscapes: found by its layout, its ids mapped to train ids, the video before each labelled frame."""

from __future__ import annotations

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
)

from lowlat_seg_ros.data.camvid import DataError
from lowlat_seg_ros.data.cityscapes import earlier_images, labelled_images, labels_of
from lowlat_seg_ros.data.frame_source import read_frame
from lowlat_seg_ros.data.label_file import read_labels
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

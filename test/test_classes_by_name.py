"""A foreign model scored against labels whose ids are others: matched by name, and what has no match is told."""

from __future__ import annotations

import numpy as np
import pytest

from lowlat_seg_ros.data.camvid import LabelledImage
from lowlat_seg_ros.evaluation.classes_by_name import ClassesByName, ClassesError
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix


def test_the_truths_ids_become_the_models() -> None:
    by_name = ClassesByName.match(("car", "Sky", "boat"), ("Sky", "Road", " Car "))
    labels = np.array([[0, 1, 2, 255]], np.uint8)
    frame = LabelledImage("a", np.zeros((1, 4, 3), np.uint8), labels)
    (renamed,) = by_name.renamed(iter([frame]))
    assert renamed.labels.tolist() == [[1, 255, 0, 255]]
    assert by_name.scored == (1, 0)
    assert by_name.sentences() == [
        "The model has no class Road: these pixels of the truth are left out.",
        "The truth has no class boat: wrong where it is given, and not averaged.",
    ]


def test_a_class_that_the_truth_cannot_hold_is_wrong_but_not_averaged() -> None:
    truth, given = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 2, 1, 1]], np.uint8)
    all_classes, by_name = ConfusionMatrix(3), ConfusionMatrix(3, scored=(0, 1))
    for matrix in (all_classes, by_name):
        matrix.add(given, truth)
        assert matrix.pixel_accuracy() == 0.75
    assert by_name.mean_iou() == pytest.approx((0.5 + 1) / 2)
    assert all_classes.mean_iou() == pytest.approx((0.5 + 1 + 0) / 3)


def test_no_common_class_is_one_sentence() -> None:
    with pytest.raises(ClassesError, match="none of the model's classes .* is among the labels' .Sky, Road.; expected"):
        ClassesByName.match(tuple(f"class {number}" for number in range(20)), ("Sky", "Road"))


def test_two_classes_of_one_name_are_one_sentence() -> None:
    with pytest.raises(ClassesError, match="the model has Car twice but for case; expected `merge` to join them"):
        ClassesByName.match(("Car", "Sky", "car"), ("Sky", "Car"))

"""The scores against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lowlat_seg_ros.evaluation.scores import ConfusionMatrix


def matrix(labels: list[int], truth: list[int], classes: int = 3) -> ConfusionMatrix:
    result = ConfusionMatrix(classes)
    result.add(np.array([labels], np.uint8), np.array([truth], np.uint8))
    return result


def test_scores_of_a_worked_example() -> None:
    scores = matrix(labels=[0, 0, 1, 1, 2, 0], truth=[0, 1, 1, 1, 2, 2])
    np.testing.assert_allclose(scores.class_iou(), [1 / 3, 2 / 3, 1 / 2])
    assert scores.mean_iou() == pytest.approx(0.5)
    assert scores.pixel_accuracy() == pytest.approx(4 / 6)
    assert scores.class_accuracy() == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)


def test_unlabelled_truth_is_left_out_and_an_unlabelled_answer_is_wrong() -> None:
    assert matrix(labels=[0, 1], truth=[0, 255]).pixel_accuracy() == 1.0
    assert matrix(labels=[0, 255], truth=[0, 0]).pixel_accuracy() == 0.5
    assert matrix(labels=[0, 255], truth=[0, 0]).class_iou()[0] == pytest.approx(0.5)


def test_a_class_that_never_occurs_does_not_count() -> None:
    scores = matrix(labels=[0, 0], truth=[0, 0])
    assert math.isnan(scores.class_iou()[1])
    assert scores.mean_iou() == 1.0


def test_frames_add_up_in_one_matrix() -> None:
    scores = ConfusionMatrix(2)
    scores.add(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8))
    scores.add(np.ones((2, 2), np.uint8), np.zeros((2, 2), np.uint8))
    assert scores.pixel_accuracy() == 0.5


def test_nothing_added_has_no_score() -> None:
    assert math.isnan(ConfusionMatrix(2).mean_iou()) and math.isnan(ConfusionMatrix(2).pixel_accuracy())


@pytest.mark.parametrize(("labels", "truth"), [([3], [0]), ([0], [3])])
def test_an_id_beyond_the_classes_is_refused(labels: list[int], truth: list[int]) -> None:
    with pytest.raises(ValueError, match="not one of the 3 classes"):
        matrix(labels, truth)


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be scored"):
        ConfusionMatrix(2).add(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))

"""Reliability curves by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lowlat_seg_ros.evaluation.reliability import Tally


def test_a_confidence_that_is_right_lies_on_the_diagonal() -> None:
    tally = Tally()
    confidence = np.repeat(np.array([51, 204], np.uint8), 50).reshape(10, 10)  # 0.2 and 0.8
    own = np.zeros((10, 10), bool)
    own.flat[:10] = own.flat[50:90] = True  # 10 of 50, 40 of 50
    tally.add(confidence, own)
    curve = tally.curve("right")
    assert [(each.predicted, each.observed, each.share) for each in curve.bins] == [(0.2, 0.2, 0.5), (0.8, 0.8, 0.5)]
    assert curve.calibration_error == pytest.approx(0)
    assert curve.predicted == curve.observed == pytest.approx(0.5)
    assert curve.brier == pytest.approx(0.16)  # p (1 - p), as of a coin that falls as it says
    assert curve.frames == 1


def test_certainty_that_is_wrong_is_all_error() -> None:
    tally = Tally()
    tally.add(np.full((4, 4), 255, np.uint8), np.zeros((4, 4), bool))
    tally.add(np.full((4, 4), 0, np.uint8), np.ones((4, 4), bool))
    curve = tally.curve("wrong")
    assert (curve.calibration_error, curve.brier, curve.frames) == (1.0, 1.0, 2)

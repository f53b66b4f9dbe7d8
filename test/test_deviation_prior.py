"""The predicted deviation, made a fraction of pixels for a network that the predictor was not trained with."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stream_setup import INPUT_SIZE, STEP, moving_frames, stream_network
from test_just_in_time import Stranger
from torch import Tensor

from lowlat_seg_ros.fast.frames import LowFeatures
from lowlat_seg_ros.fast.pictures import label_image
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.deviation_prior import LARGEST_STEP, PAIRS_REMEMBERED, STEPS, fitted_shift
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import FeatureDifference, KeyFramePolicy, PredictedDeviation
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack

OFTEN = PredictedDeviation(1.0, maximum_interval=3)
PREDICTED = 0.02  # by a predictor that knows nothing of this network


def odds(fraction: float) -> float:
    return math.log(fraction / (1 - fraction))


@pytest.mark.parametrize(("predicted", "changed"), [(0.05, 0.2), (0.3, 0.1), (0.1, 0.1), (0.001, 0.5)])
def test_after_a_few_pairs_it_is_right_on_average(predicted: float, changed: float) -> None:
    shift = fitted_shift(PAIRS_REMEMBERED * [(odds(predicted), changed)])
    assert 1 / (1 + math.exp(-odds(predicted) - shift)) == pytest.approx(changed, rel=0.15)


def test_one_pair_says_little_and_no_pair_can_carry_it_away() -> None:
    one, eight = (abs(fitted_shift(count * [(odds(0.1), 0.2)])) for count in (1, 8))
    assert 0 < one < eight < odds(0.2) - odds(0.1)
    for predicted, changed in ((1e-4, 1.0), (1 - 1e-4, 0.0)):
        assert abs(fitted_shift([(odds(predicted), changed)])) < STEPS * LARGEST_STEP


def engine_of(slow: object, policy: KeyFramePolicy) -> StreamEngine:
    network = stream_network()
    track = InlineSlowTrack(network if slow is None else slow)  # type: ignore[arg-type]
    return StreamEngine(network, track, policy, propagation="copy" if slow else "auto")


def always(key: LowFeatures, current: LowFeatures) -> Tensor:
    return torch.tensor([PREDICTED])


def test_a_threshold_means_a_fraction_of_pixels_for_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told always the same, it finds how much of the stranger's own labels change from key frame to key frame."""
    stranger, frames = Stranger(), moving_frames(40)
    engine = engine_of(stranger, OFTEN)
    monkeypatch.setattr(engine._network, "predicted_deviation", always)  # other tests share that network
    results = [engine.segment(frame, number * STEP) for number, frame in enumerate(frames)]
    answers = []
    for frame, result in zip(frames, results, strict=True):
        if result.is_key_frame:
            image = torch.from_numpy(frame).permute(2, 0, 1)[None]
            answers.append(label_image(stranger.answer(image, image).logits, INPUT_SIZE, INPUT_SIZE))
    changed = np.mean([(one != other).mean() for one, other in pairwise(answers)])
    assert results[1].deviation == pytest.approx(PREDICTED)
    assert abs(odds(float(changed)) - odds(PREDICTED)) > 0.5, "the predictor must be wrong for there to be a test"
    assert abs(results[-1].deviation - changed) < 0.5 * abs(PREDICTED - changed)


def test_our_own_networks_predictor_is_held_to_its_answers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(None, OFTEN)
    monkeypatch.setattr(engine._network, "predicted_deviation", always)
    frames = moving_frames(40)
    results = [engine.segment(frame, number * STEP) for number, frame in enumerate(frames)]
    keys = [result for result in results if result.is_key_frame]
    network = stream_network()
    answers = [labels_of(network, frames[key.sequence]) for key in keys]
    changed = np.mean([(one != other).mean() for one, other in pairwise(answers)])
    assert abs(odds(float(changed)) - odds(PREDICTED)) > 0.5, "the predictor must be wrong for there to be a test"
    assert abs(results[-1].deviation - changed) < 0.5 * abs(PREDICTED - changed)


@torch.inference_mode()
def labels_of(network: SegmentationNetwork, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = torch.from_numpy(frame).permute(2, 0, 1)[None]
    return label_image(network.answer(image, network.low_features(image).low).logits, INPUT_SIZE, INPUT_SIZE)


def test_a_policy_that_asks_for_no_deviation_teaches_none() -> None:
    engine = engine_of(Stranger(), FeatureDifference(1e9, maximum_interval=2))
    for number, frame in enumerate(moving_frames(12)):
        engine.segment(frame, number * STEP)
    assert engine._deviation.shift == 0.0

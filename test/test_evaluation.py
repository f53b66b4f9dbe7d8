"""What an evaluation computes once is what the engine and the network give, and its figures are worked out by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from stream_setup import INPUT_SIZE, LabelsByHand, moving_frames, stream_network
from torch import Tensor

from lowlat_seg_ros.data.camvid import LabelledImage
from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.evaluation.deviations import (
    DeviationPair,
    correlation,
    deviation,
    deviation_pairs,
    driven_deviations,
    mean_error,
    slope,
)
from lowlat_seg_ros.evaluation.distances import FARTHEST, distance_curve
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.key_pairs import drive, key_pairs
from lowlat_seg_ros.evaluation.pair_scores import PairScores
from lowlat_seg_ros.evaluation.policy_curves import (
    FIXED,
    MOST_PHASES,
    POLICIES,
    PREDICTED,
    PolicyPoint,
    gain,
    phases_of,
    policy_curves,
    true_deviation,
)
from lowlat_seg_ros.evaluation.propagation_ways import propagation_scores, translations
from lowlat_seg_ros.evaluation.remembering_network import RememberingNetwork, RememberingSlowNetwork
from lowlat_seg_ros.evaluation.rows import TrackSettings, engine_of, evaluate_rows
from lowlat_seg_ros.fast.frames import Answer, LowFeatures
from lowlat_seg_ros.stream.key_frames import FixedInterval, PredictedDeviation

pytestmark = pytest.mark.numeric

FRAMES = 14
CLASSES = stream_network().config.class_count


@cache
def clip() -> EvaluatedClip:
    """Moving blocks whose truth is their redness, void at the left edge."""
    frames = []
    for index, image in enumerate(moving_frames(FRAMES)):
        truth = (image[..., 0] // 32).astype(np.uint8)
        truth[:, :4] = UNLABELLED
        frames.append(LabelledImage(f"{index:03d}", image, truth))
    return EvaluatedClip(stream_network(), frames, propagation="adaptive")


@cache
def pairs() -> PairScores:
    return PairScores(clip())


def settings(*, interval: int = 5, threshold: float = 0.1, maximum_interval: int = 5) -> TrackSettings:
    return TrackSettings(interval, PredictedDeviation(threshold, maximum_interval=maximum_interval), (1,))


class CountingNetwork:
    """The real network, with its runs counted."""

    def __init__(self) -> None:
        self.network = stream_network()
        self.config, self.stride = self.network.config, self.network.stride
        self.runs = {"low": 0, "high": 0, "deviation": 0}

    def low_features(self, image: Tensor) -> LowFeatures:
        self.runs["low"] += 1
        return self.network.low_features(image)

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        self.runs["high"] += 1
        return self.network.answer(image, low)

    def predicted_deviation(self, key: LowFeatures, current: LowFeatures) -> Tensor:
        self.runs["deviation"] += 1
        return self.network.predicted_deviation(key, current)


@torch.inference_mode()
def test_sl_sh_and_the_deviation_run_once_a_picture_and_give_what_the_network_gives() -> None:
    counting = CountingNetwork()
    remembering = RememberingNetwork(counting)  # type: ignore[arg-type]
    slow = RememberingSlowNetwork(counting)  # type: ignore[arg-type]
    first, second = (clip().preprocessed(index) for index in (0, 1))
    for _ in range(3):
        key, current = remembering.low_features(first.clone()), remembering.low_features(second.clone())
        answer = slow.answer(first.clone(), key.low)
        deviation_of_pair = remembering.predicted_deviation(key, current)
    assert counting.runs == {"low": 2, "high": 1, "deviation": 1}
    network = counting.network
    assert torch.equal(key.low, network.low_features(first).low)
    assert answer.feature is not None and torch.equal(answer.feature, network.high_features(first, key.low))
    assert torch.equal(deviation_of_pair, network.predicted_deviation(key, current))


@torch.inference_mode()
def test_a_feature_that_is_not_remembered_is_not_taken_for_another() -> None:
    remembering = RememberingNetwork(stream_network())
    own = remembering.low_features(clip().preprocessed(0))
    for index in range(1, 6):  # each made and dropped, so that the next one may come to its place in memory
        stranger = stream_network().low_features(clip().preprocessed(index))
        expected = stream_network().predicted_deviation(own, stranger)
        assert torch.equal(remembering.predicted_deviation(own, stranger), expected)


def test_the_distance_curve_is_one_step_from_every_key_frame() -> None:
    curve = distance_curve(clip(), pairs())
    assert curve.frames == FRAMES - FARTHEST and len(curve.mean_iou) == FARTHEST + 1
    hand, frames = LabelsByHand(stream_network()), clip().frames
    for distance in (0, 3, FARTHEST):
        matrix = clip().new_matrix()
        for frame in frames[FARTHEST:]:
            key = frames[frame.index - distance].image
            high = hand.sh(key)
            if distance:
                high = hand.propagated(high, hand.low(key), hand.low(frame.image))
            matrix.add(hand.labels(high), frame.truth)
        assert curve.mean_iou[distance] == pytest.approx(matrix.mean_iou(), abs=1e-6)
    assert curve.minimum == min(curve.mean_iou)
    assert curve.mean == pytest.approx(sum(curve.mean_iou) / len(curve.mean_iou))


def test_policies_are_scored_as_the_engine_goes() -> None:
    points = {(point.policy, point.interval): point for point in policy_curves(clip(), pairs())}
    assert {policy for policy, _ in points} == set(POLICIES)
    (fixed,) = evaluate_rows(clip(), ("fixed",), settings(interval=3))
    assert points[FIXED, 3].by_phase[0] == fixed.mean_iou
    assert points[FIXED, 3].key_frames == math.ceil(FRAMES / 3)
    exact = [point for point in points.values() if point.policy == PREDICTED and len(point.thresholds[0]) == 1]
    assert exact
    for point in exact:
        same = settings(threshold=point.thresholds[0][0], maximum_interval=2 * point.interval)
        (adaptive,) = evaluate_rows(clip(), ("adaptive",), same)
        assert adaptive.mean_iou == point.by_phase[0]
        assert adaptive.key_frame_ratio * FRAMES == pytest.approx(point.key_frames)


def test_what_a_policy_compared_is_what_the_engine_says() -> None:
    """Answers move the predicted deviation; here as there, bit for bit."""
    policy = PredictedDeviation(0.1, maximum_interval=4)
    engine = engine_of(clip(), settings(), policy, low_latency=False)
    results = [engine.segment(frame.image, clip().stamp(frame.index)) for frame in clip().frames][1:]
    steps = drive(clip(), policy)
    assert [step.is_key_frame for step in steps] == [result.is_key_frame for result in results]
    assert [step.deviation for step in steps] == [result.deviation for result in results]
    raw = [float(clip().remembering.predicted_deviation(clip().low(s.key), clip().low(s.frame))) for s in steps]
    assert any(step.deviation != predicted for step, predicted in zip(steps, raw, strict=True)), "nothing was learned"
    driven = {(pair.key, pair.index): pair for pair in driven_deviations(clip(), policy)}
    assert len(driven) == FRAMES - 1
    for step in steps:
        pair = driven[step.key, step.frame]
        assert pair.predicted == step.deviation
        assert pair.of_full_network == deviation(clip().full_labels(step.key), clip().full_labels(step.frame))


def test_a_policy_may_be_begun_at_any_frame() -> None:
    assert key_pairs(clip(), FixedInterval(3))[:5] == [(0, 0), (0, 1), (0, 2), (3, 3), (3, 4)]
    assert key_pairs(clip(), FixedInterval(3), 2)[:6] == [(0, 0), (0, 1), (2, 2), (2, 3), (2, 4), (5, 5)]
    for interval in range(2, FARTHEST + 1):
        phases = phases_of(interval)
        assert phases == sorted(set(phases)) and phases[0] == 0 and phases[-1] < interval
        assert len(phases) == min(interval, MOST_PHASES)


def test_a_gain_is_by_phase_and_so_is_its_error() -> None:
    fixed = PolicyPoint(FIXED, 3, 5, 0.6, (0.5, 0.6, 0.7), ())
    ours = PolicyPoint(PREDICTED, 3, 5, 0.61, (0.51, 0.61, 0.71), ((0.1,),) * 3)
    assert gain(ours, fixed) == pytest.approx((0.01, 0.0))
    luck = gain(replace(ours, by_phase=(0.5, 0.61, 0.72)), fixed)
    assert luck == pytest.approx((0.01, 0.01 / math.sqrt(3)))


@torch.inference_mode()
def test_the_true_deviation_is_that_of_the_full_networks_labels() -> None:
    """Each key frame is the first one beyond the threshold, and no frame before it."""
    threshold = deviation(clip().full_labels(0), clip().full_labels(1))
    pairs_found = key_pairs(clip(), true_deviation(clip())(threshold, FRAMES))
    assert 1 < len({key for key, _ in pairs_found}) < FRAMES
    for (before, _), (key, index) in itertools.pairwise(pairs_found):
        found = deviation(clip().full_labels(before), clip().full_labels(index))
        assert (found > threshold) == (key == index)


def test_every_policy_is_compared_at_the_same_number_of_key_frames() -> None:
    by_interval: dict[int, set[int]] = {}
    for point in policy_curves(clip(), pairs()):
        by_interval.setdefault(point.interval, set()).add(point.key_frames)
    assert by_interval == {interval: {math.ceil(FRAMES / interval)} for interval in range(2, FARTHEST + 1)}


@torch.inference_mode()
def test_a_feature_copied_without_fusion_is_the_old_labels() -> None:
    scores = {(score.name, score.distance): score for score in propagation_scores(clip())}
    for distance in (5, 10):
        matrix = clip().new_matrix()
        for frame in clip().frames[FARTHEST:]:
            matrix.add(clip().full_labels(frame.index - distance), frame.truth)
        assert scores["copied", distance].without_fusion == matrix.mean_iou()
    curve = distance_curve(clip(), pairs())
    assert [scores["learned", distance].with_fusion for distance in (5, 10)] == [curve.mean_iou[5], curve.mean_iou[10]]


def test_the_best_translation_is_the_one_that_happened() -> None:
    feature = torch.randn(1, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    moved = torch.zeros_like(feature)
    moved[:, :, 2:, :-1] = feature[:, :, :-2, 1:]  # two down, one to the left
    candidates = list(translations(feature, 2))
    assert len(candidates) == 25
    assert sum(torch.equal(candidate, moved) for candidate in candidates) == 1


def test_deviation_is_the_fraction_of_labelled_pixels_that_differ() -> None:
    first = np.array([[0, 1, 2, UNLABELLED]], np.uint8)
    second = np.array([[0, 2, UNLABELLED, 1]], np.uint8)
    assert deviation(first, second) == 0.5
    assert math.isnan(deviation(first, np.full_like(first, UNLABELLED)))


@torch.inference_mode()
def test_deviations_are_of_all_pairs_within_the_longest_interval() -> None:
    found = {(pair.key, pair.index): pair for pair in deviation_pairs(clip())}
    expected = {(key, index) for index in range(FRAMES) for key in range(max(0, index - FARTHEST), index)}
    assert set(found) == expected
    pair = found[2, 7]
    measured = PredictedDeviation(0.1).measure(stream_network(), clip().low(2), clip().low(7))
    assert pair.predicted == measured
    assert pair.of_full_network == np.mean(clip().full_labels(2) != clip().full_labels(7))
    assert pair.of_truth == deviation(clip().frames[2].truth, clip().frames[7].truth)


def test_the_slope_is_that_of_the_line_through_the_pairs() -> None:
    pairs = [DeviationPair(0, 1, x, 0.02 + 1.5 * x, 0.0) for x in (0.1, 0.2, 0.4)]
    assert slope(pairs) == pytest.approx(1.5)
    assert math.isnan(slope(pairs[:1])) and math.isnan(slope([]))


def test_the_mean_error_is_positive_where_predictions_are_too_high() -> None:
    pairs = [DeviationPair(0, 1, predicted, 0.1, 0.3) for predicted in (0.15, 0.11)]
    assert mean_error(pairs) == pytest.approx(0.03)


def test_correlation_is_pearsons_over_what_is_known() -> None:
    assert correlation([1, 2, 3, 9], [2, 4, 6, math.nan]) == pytest.approx(1.0)
    assert correlation([1, 2, 3], [1, 0, -1]) == pytest.approx(-1.0)
    assert correlation([0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx(0.0)
    assert math.isnan(correlation([1, 1, 1], [1, 2, 3]))


def test_a_low_latency_row_is_late_by_its_frames() -> None:
    names = [row.name for row in evaluate_rows(clip(), ("low-latency",), replace(settings(), delay_frames=(1, 3)))]
    assert names == ["low-latency-1", "low-latency-3"]
    assert clip().frames[0].image.shape == (INPUT_SIZE[1], INPUT_SIZE[0], 3)

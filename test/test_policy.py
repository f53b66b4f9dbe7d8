"""When frames become key frames."""

from __future__ import annotations

import math

import pytest
import torch
from stream_setup import stream_network

from lowlat_seg_ros.fast.frames import LowFeatures
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.key_frames import (
    DEFAULT_POLICY,
    FeatureDifference,
    FixedInterval,
    KeyFrameDecision,
    PredictedDeviation,
    SinceKey,
)


def features(value: float) -> LowFeatures:
    """F_l that has one value everywhere, through the real network's guidance convolutions."""
    network = stream_network()
    with torch.inference_mode():
        return network.describe(torch.full((1, network.tracks.low_channels, 6, 8), value))


KEY, CURRENT = features(2.0), features(3.0)
ONE_FRAME = SinceKey(1, 1 / 15)


class NeverAsked(SegmentationNetwork):
    def __init__(self) -> None:
        super().__init__(stream_network().config)

    def predicted_deviation(self, key: LowFeatures, current: LowFeatures) -> torch.Tensor:
        raise AssertionError("the predicted deviation was worked out for a policy that does not need it")


@pytest.mark.parametrize(("frames_since_key", "is_key_frame"), [(1, False), (4, False), (5, True), (6, True)])
def test_fixed_interval(frames_since_key: int, is_key_frame: bool) -> None:
    decision = FixedInterval(5).decide(NeverAsked(), KEY, CURRENT, SinceKey(frames_since_key, 0.0))
    assert decision.is_key_frame == is_key_frame
    assert decision.reason == ("interval" if is_key_frame else "")
    assert math.isnan(decision.deviation) and math.isnan(decision.threshold)


def test_feature_difference_is_relative_to_the_key_frame() -> None:
    decision = FeatureDifference(threshold=0.4).decide(NeverAsked(), KEY, CURRENT, ONE_FRAME)
    assert decision == KeyFrameDecision(True, "feature difference", 0.5, 0.4)
    decision = FeatureDifference(threshold=0.5).decide(NeverAsked(), KEY, CURRENT, ONE_FRAME)
    assert decision == KeyFrameDecision(False, "", 0.5, 0.5)


def test_feature_difference_from_a_feature_that_is_zero_everywhere() -> None:
    nothing = features(0.0)
    assert FeatureDifference(0.1).measure(stream_network(), nothing, nothing) == 0.0
    assert FeatureDifference(0.1).decide(stream_network(), nothing, CURRENT, ONE_FRAME).is_key_frame


def test_the_deviation_reported_is_the_one_compared() -> None:
    with torch.inference_mode():
        predicted = float(stream_network().predicted_deviation(KEY, CURRENT))
    for threshold, is_key_frame in ((math.nextafter(predicted, 0.0), True), (predicted, False)):
        with torch.inference_mode():
            decision = PredictedDeviation(threshold).decide(stream_network(), KEY, CURRENT, ONE_FRAME)
        assert decision.deviation == predicted and decision.threshold == threshold
        assert decision.is_key_frame == is_key_frame
        assert decision.reason == ("deviation" if is_key_frame else "")


def test_the_minimum_interval_holds_back_a_key_frame_but_not_its_measure() -> None:
    policy = FeatureDifference(0.1, minimum_interval=3)
    decisions = [policy.decide(stream_network(), KEY, CURRENT, SinceKey(i, 9.0)) for i in (1, 2, 3)]
    assert [decision.is_key_frame for decision in decisions] == [False, False, True]
    assert [decision.deviation for decision in decisions] == [0.5, 0.5, 0.5]


def test_the_maximum_interval_makes_a_key_frame_of_a_still_scene() -> None:
    policy = FeatureDifference(0.1, maximum_interval=3)
    decisions = [policy.decide(stream_network(), KEY, KEY, SinceKey(i, 9.0)) for i in (1, 2, 3)]
    assert [decision.reason for decision in decisions] == ["", "", "maximum interval"]
    assert decisions[2].is_key_frame and decisions[2].deviation == 0.0


def test_periods_are_limits_in_seconds_whatever_the_rate() -> None:
    policy = FeatureDifference(0.1, minimum_period=0.25, maximum_period=0.5)
    for frames in (1, 100):
        times = [SinceKey(frames, seconds) for seconds in (0.24, 0.25, 0.49, 0.5)]
        changed = [policy.decide(stream_network(), KEY, CURRENT, time).reason for time in times]
        still = [policy.decide(stream_network(), KEY, KEY, time).reason for time in times]
        assert changed == ["", "feature difference", "feature difference", "feature difference"]
        assert still == ["", "", "", "maximum period"]


def test_of_two_minima_the_later_and_of_two_maxima_the_earlier_counts() -> None:
    policy = FeatureDifference(0.1, minimum_interval=3, maximum_interval=6, minimum_period=1.0, maximum_period=2.0)

    def reason(current: LowFeatures, frames: int, seconds: float) -> str:
        return policy.decide(stream_network(), KEY, current, SinceKey(frames, seconds)).reason

    assert [reason(CURRENT, *since) for since in ((2, 1.5), (5, 0.5), (3, 1.0))] == ["", "", "feature difference"]
    assert [reason(KEY, *since) for since in ((6, 1.0), (3, 2.0), (5, 1.9))] == [
        "maximum interval",
        "maximum period",
        "",
    ]


def test_without_limits_only_the_measure_counts() -> None:
    assert FeatureDifference(0.1).decide(stream_network(), KEY, KEY, SinceKey(10**6, 1e6)).reason == ""
    assert FeatureDifference(0.1).decide(stream_network(), KEY, CURRENT, SinceKey(1, 0.0)).is_key_frame


def test_the_defaults_at_15_hz_are_4_and_8_frames() -> None:
    seconds = [frames / 15 for frames in range(20)]
    assert min(frames for frames in range(20) if seconds[frames] >= DEFAULT_POLICY.minimum_period) == 4
    assert min(frames for frames in range(20) if seconds[frames] >= DEFAULT_POLICY.maximum_period) == 8


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_measure_that_is_no_number_is_an_error(value: float) -> None:
    with pytest.raises(FloatingPointError, match="the feature difference from the key frame is "):
        FeatureDifference(0.1).decide(stream_network(), KEY, features(value), ONE_FRAME)


def test_settings_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="the key-frame interval is 0; expected 1 frame or more"):
        FixedInterval(0)
    with pytest.raises(ValueError, match="the deviation threshold is -0.1; expected a number, 0 or more"):
        PredictedDeviation(-0.1)
    with pytest.raises(ValueError, match="the feature difference threshold is nan; expected a number, 0 or more"):
        FeatureDifference(math.nan)
    for minimum, maximum in ((-1, 10), (5, 4)):
        sentence = f"the key-frame interval limits are {minimum} and {maximum} frames; expected a minimum of 0 or more"
        with pytest.raises(ValueError, match=sentence):
            PredictedDeviation(0.1, minimum, maximum)
    for periods in ((-0.1, 0.0), (0.5, 0.25), (math.nan, 0.0), (0.0, math.nan), (math.inf, 0.0)):
        with pytest.raises(ValueError, match="the key-frame period limits are "):
            PredictedDeviation(0.1, minimum_period=periods[0], maximum_period=periods[1])

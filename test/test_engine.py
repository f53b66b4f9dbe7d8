"""The engine beyond its contracts: breaks in the stream, bad frames, a failing fast track, exchanges at run time."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from small_networks import small_config
from stream_setup import (
    INPUT_SIZE,
    STEP,
    Frame,
    LabelsByHand,
    key_of,
    moving_frames,
    segment_all,
    segment_with_key,
    stream_network,
    two_tracks,
)
from torch import Tensor

from lowlat_seg_ros.fast.adaptive import Propagated
from lowlat_seg_ros.fast.frames import LowFeatures
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import (
    FeatureDifference,
    FixedInterval,
    KeyFramePolicy,
    PredictedDeviation,
    StreamClock,
)
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack


def inline_engine(policy: KeyFramePolicy, network: SegmentationNetwork | None = None) -> StreamEngine:
    network = network or stream_network()
    return StreamEngine(network, InlineSlowTrack(network), policy)


# --- breaks in the stream --------------------------------------------------------------------------------------------


def test_a_stamp_that_goes_back_starts_the_stream_anew() -> None:
    engine, frames = inline_engine(FixedInterval(100)), moving_frames(4)
    segment_all(engine, frames[:2], first=10)
    looped, after = segment_all(engine, frames[2:], first=0)
    assert looped.key_reason == "first frame" and looped.waited_for_slow_track
    assert looped.warnings == ("the stream starts anew: the stamp went back by 0.733 s",)
    assert key_of(after) == (0, True) and not after.warnings
    assert after.sequence == 3


def test_equal_stamps_are_one_stream() -> None:
    engine = inline_engine(FixedInterval(100))
    results = [engine.segment(frame, 0) for frame in moving_frames(3)]
    assert [result.key_age_frames for result in results] == [0, 1, 2]
    assert not any(result.warnings for result in results)


def test_a_frame_of_another_size_starts_the_stream_anew() -> None:
    engine = inline_engine(FixedInterval(100))
    segment_all(engine, moving_frames(2))
    (wider,) = segment_all(engine, moving_frames(1, size=(100, 40)), first=2)
    assert wider.labels.shape == (40, 100) and wider.key_reason == "first frame"
    assert wider.warnings == ("the stream starts anew: the frame's size changed from (64, 48) to (100, 40)",)


# --- bad frames ------------------------------------------------------------------------------------------------------

BAD_FRAMES = {
    "float32 array of shape (4, 4, 3)": np.zeros((4, 4, 3), np.float32),
    "uint8 array of shape (4, 4)": np.zeros((4, 4), np.uint8),
    "uint8 array of shape (4, 4, 4)": np.zeros((4, 4, 4), np.uint8),
    "uint8 array of shape (0, 4, 3)": np.zeros((0, 4, 3), np.uint8),
    "list": [[[0, 0, 0]]],
}


@pytest.mark.parametrize("found", BAD_FRAMES)
def test_a_bad_frame_is_refused_in_one_sentence_and_leaves_no_trace(found: str) -> None:
    engine, frames = inline_engine(FixedInterval(100)), moving_frames(2)
    engine.segment(frames[0], 10)
    with pytest.raises(ValueError) as refusal:
        engine.segment(BAD_FRAMES[found], 5)  # type: ignore[arg-type]
    assert str(refusal.value) == f"the frame is a {found}; expected a uint8 array of shape (height, width, 3), RGB"
    good = engine.segment(frames[1], 20)
    assert good.key_stamp == 10 and good.sequence == 1 and not good.warnings


@pytest.mark.parametrize("view", ["mirrored", "channels reversed", "cut out"])
def test_a_view_of_an_image_is_as_good_as_a_copy(view: str) -> None:
    whole = moving_frames(1, size=(200, 100))[0]
    views = {"mirrored": whole[:, ::-1], "channels reversed": whole[..., ::-1], "cut out": whole[5:53, 7:71]}
    frame = views[view]
    of_view, of_copy = (inline_engine(FixedInterval(1)).segment(image, 0).labels for image in (frame, frame.copy()))
    assert np.array_equal(of_view, of_copy)


# --- a failing fast track --------------------------------------------------------------------------------------------


class FailingFastTrack(SegmentationNetwork):
    """The real network, one part of which fails as told."""

    def __init__(self) -> None:
        super().__init__(small_config(input_size=INPUT_SIZE))
        self.load_state_dict(stream_network().state_dict())
        self.eval()
        self.failing = ""

    def low_features(self, image: Tensor) -> LowFeatures:
        if self.failing == "out of memory":
            raise torch.OutOfMemoryError("tried to allocate 9 GiB")
        return super().low_features(image)

    def predicted_deviation(self, key: LowFeatures, current: LowFeatures) -> Tensor:
        deviation = super().predicted_deviation(key, current)
        return deviation * torch.nan if self.failing == "deviation" else deviation

    def propagate(self, key_high: Tensor, key: LowFeatures, current: LowFeatures) -> Propagated:
        propagated = super().propagate(key_high, key, current)
        return Propagated(propagated.high * torch.inf, None) if self.failing == "propagation" else propagated

    def move(self, picture: Tensor, key: LowFeatures, current: LowFeatures) -> tuple[Tensor, Tensor]:
        moved, doubt = super().move(picture, key, current)
        return (moved * torch.inf, doubt) if self.failing == "propagation" else (moved, doubt)


REASONS = {
    "out of memory": "OutOfMemoryError: tried to allocate 9 GiB",
    "deviation": "FloatingPointError: the deviation from the key frame is nan",
    "propagation": "FloatingPointError: the logits hold values that are nan or infinite",
}


@pytest.mark.parametrize("failing", REASONS)
@pytest.mark.parametrize("is_key_frame", [True, False])
def test_a_failing_fast_track_gives_an_unlabelled_frame_and_starts_anew(failing: str, is_key_frame: bool) -> None:
    network = FailingFastTrack()
    threshold = 0.0 if is_key_frame else 1.0
    engine, frames = inline_engine(PredictedDeviation(threshold, maximum_interval=100), network), moving_frames(5)
    segment_all(engine, frames[:2])
    network.failing = failing
    (failed,) = segment_all(engine, frames[2:3], first=2)
    network.failing = ""
    anew, after = segment_all(engine, frames[3:], first=3)
    assert (failed.labels == 255).all() and failed.labels.shape == (48, 64)
    assert failed.stamp == 2 * STEP and failed.sequence == 2 and not failed.is_key_frame
    assert failed.warnings == (f"the stream starts anew: the fast track failed: {REASONS[failing]}",)
    assert anew.key_reason == "first frame" and anew.labels.max() < 255 and not anew.warnings
    assert key_of(after) == (3, True)


# --- limits in seconds -----------------------------------------------------------------------------------------------


def reasons_at(stamps: list[int], policy: KeyFramePolicy) -> list[str]:
    engine = inline_engine(policy, stream_network())
    frames = moving_frames(len(stamps))
    return [engine.segment(frame, stamp).key_reason for frame, stamp in zip(frames, stamps, strict=True)]


def test_periods_count_by_stamps_from_the_newest_key_frame() -> None:
    policy = PredictedDeviation(1.0, maximum_period=0.5)
    at_3_hz, at_15_hz = 333_333_333, 66_666_667
    assert reasons_at([i * at_3_hz for i in range(5)], policy) == ["first frame", "", *["maximum period", ""] * 2][:5]
    expected = ["first frame", *[""] * 7, "maximum period", *[""] * 7, "maximum period"]
    assert reasons_at([i * at_15_hz for i in range(17)], policy) == expected
    gap = [0, 1, 2, 10**10, 10**10 + 1]
    assert reasons_at(gap, policy) == ["first frame", "", "", "maximum period", ""]


def test_where_stamps_stand_still_arrival_counts() -> None:
    arrivals = iter([0, 10, 20, 20, 35])
    clock = StreamClock(lambda: next(arrivals))
    times = []
    for stamp in (100, 100, 100, 107, 107):
        clock.advance(stamp)
        times.append(clock.now)
    assert times == [0, 10, 20, 27, 42]
    with ThreadedSlowTrack(stream_network()) as track:
        engine = StreamEngine(stream_network(), track, PredictedDeviation(1.0, maximum_period=0.05))
        reasons = []
        for frame in moving_frames(30):
            reasons.append(engine.segment(frame, 0).key_reason)
            time.sleep(0.01)
    assert reasons.count("maximum period") >= 2


# --- exchanges at run time -------------------------------------------------------------------------------------------


def test_policies_are_exchanged_between_frames_and_the_key_frame_stays() -> None:
    engine = inline_engine(FixedInterval(100))
    results = []
    policies: list[KeyFramePolicy] = [FixedInterval(7), FixedInterval(100), PredictedDeviation(1.0, 1, 100)]
    policies += [FeatureDifference(10.0, 1, 100), FixedInterval(4)]
    for i, (frame, policy) in enumerate(zip(moving_frames(5), policies, strict=True)):
        engine.policy = policy
        results.append(segment_with_key(engine, frame, i * STEP))
    assert [key_of(result) for result in results] == [(0, True)] * 5
    assert [result.key_age_frames for result in results] == [0, 1, 2, 3, 4]
    assert [math.isnan(result.deviation) for result in results] == [True, True, False, False, True]
    assert results[2].threshold == 1.0 and results[3].threshold == 10.0
    assert [result.key_reason for result in results] == ["first frame", "", "", "", "interval"]


def test_without_low_latency_key_frames_take_their_labels_from_sh() -> None:
    frames, expected = moving_frames(5), LabelsByHand(stream_network())
    network = stream_network()
    engine = StreamEngine(network, InlineSlowTrack(network), FixedInterval(2), low_latency=False)
    results = segment_all(engine, frames)
    assert [result.waited_for_slow_track for result in results] == [True, False, True, False, True]
    for i in (0, 2, 4):
        assert np.array_equal(results[i].labels, expected.labels(expected.sh(frames[i])))
        assert key_of(results[i]) == (i, True)
    assert results[4].slow_track.done == 3


# --- sizes, stages, gradients ----------------------------------------------------------------------------------------


def test_frames_are_labelled_at_their_own_size_whatever_the_input_size() -> None:
    network = stream_network()
    engine = StreamEngine(network, InlineSlowTrack(network), FixedInterval(5), input_size=(96, 72))
    engine.warm_up((31, 17))
    results = segment_all(engine, moving_frames(2, size=(31, 17)))
    assert [result.labels.shape for result in results] == [(17, 31)] * 2
    assert not any(result.warnings for result in results)


def test_the_stages_of_a_frame_add_up_to_no_more_than_its_total() -> None:
    engine = inline_engine(PredictedDeviation(1.0))
    first, second = (result.milliseconds for result in segment_all(engine, moving_frames(2)))
    assert first.high > 0 and first.propagate == 0
    assert second.high == 0 and second.propagate > 0
    for times in (first, second):
        assert min(times.low, times.schedule, times.labels) > 0
        assert times.low + times.schedule + times.high + times.propagate + times.labels <= times.total


def test_no_feature_carries_a_gradient() -> None:
    kept: list[Tensor] = []

    class Watching(SegmentationNetwork):
        def classify(self, high: Tensor) -> Tensor:
            kept.append(high)
            return super().classify(high)

    network = Watching(small_config(input_size=INPUT_SIZE)).eval()
    with two_tracks(FixedInterval(1), network) as tracks:
        segment_all(tracks.engine, moving_frames(2))
        tracks.wait_for_done(2)
        segment_all(tracks.engine, moving_frames(1), first=2)
    assert len(kept) >= 3 and all(high.is_inference() for high in kept)


def test_frames_given_are_not_changed() -> None:
    frame: Frame = moving_frames(1)[0]
    before = frame.copy()
    inline_engine(FixedInterval(1)).segment(frame, 0)
    assert np.array_equal(frame, before)

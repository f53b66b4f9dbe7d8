"""Contracts 1 to 4 of the design (step, key pair, fast-track key, busy slow track); see also contracts 5 to 8."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import small_config
from stream_setup import (
    INPUT_SIZE,
    STEP,
    Frame,
    GatedSlowNetwork,
    LabelsByHand,
    key_of,
    moving_frames,
    plain_frame,
    segment_all,
    stream_network,
    two_tracks,
    wait_until,
)
from torch import Tensor

from lowlat_seg_ros.fast.adaptive import Propagated
from lowlat_seg_ros.fast.frames import Answer, KeyFrame, LowFeatures, SeenFrame
from lowlat_seg_ros.fast.pictures import Preprocessor
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.key_frames import FixedInterval, KeyFrameCache

# --- 1: step ---------------------------------------------------------------------------------------------------------


def test_every_frame_gets_labels_of_its_own_size_stamp_and_place_in_the_order() -> None:
    with two_tracks(FixedInterval(3)) as tracks:
        results = segment_all(tracks.engine, moving_frames(10, size=(90, 50)))
    assert [result.stamp for result in results] == [i * STEP for i in range(10)]
    assert [result.sequence for result in results] == list(range(10))
    for result in results:
        assert result.labels.shape == (50, 90) and result.labels.dtype == np.uint8
        assert result.labels.max() < len(stream_network().config.classes)


def test_labels_are_those_of_the_frame_given_not_of_an_earlier_one() -> None:
    """Every answer is the one that the network's own parts give for that frame and its key frame."""
    network, frames = stream_network(), moving_frames(5)
    with two_tracks(FixedInterval(100)) as tracks:
        results = segment_all(tracks.engine, frames)
    expected = LabelsByHand(network)
    key = expected.low(frames[0])
    high = expected.sh(frames[0])
    assert np.array_equal(results[0].labels, expected.labels(high))
    for frame, result in zip(frames[1:], results[1:], strict=True):
        assert np.array_equal(result.labels, expected.labels(expected.propagated(high, key, expected.low(frame))))
    assert len({result.labels.tobytes() for result in results}) == 5


def test_segment_never_waits_for_sh() -> None:
    with two_tracks(FixedInterval(1)) as tracks:
        tracks.slow_network.shut()
        results = [tracks.engine.segment(frame, i * STEP) for i, frame in enumerate(moving_frames(12))]
        counts = tracks.lane.counts()
    assert not any(result.waited_for_slow_track for result in results)
    assert counts.done == counts.failed == 0  # all are at the gate


def test_until_the_first_key_frame_is_there_labels_are_those_of_sl_alone() -> None:
    frames, expected = moving_frames(5), LabelsByHand(stream_network())
    with two_tracks(FixedInterval(100)) as tracks:
        tracks.slow_network.shut()
        early = [tracks.engine.segment(frame, i * STEP) for i, frame in enumerate(frames[:4])]
        tracks.slow_network.let_through()
        tracks.wait_for_done(1)
        late = tracks.engine.segment(frames[4], 4 * STEP)
    for frame, result in zip(frames, early, strict=False):
        assert np.array_equal(result.labels, expected.labels_of_sl_alone(frame))
        assert result.key_stamp == result.stamp and result.key_age_frames == 0 and not result.key_is_accurate
    assert [result.key_reason for result in early] == ["first frame", "", "", ""]
    assert [result.is_key_frame for result in early] == [True, False, False, False]
    assert key_of(late) == (0, True)
    propagated = expected.propagated(expected.sh(frames[0]), expected.low(frames[0]), expected.low(frames[4]))
    assert np.array_equal(late.labels, expected.labels(propagated))
    assert len(tracks.slow_network.images) == 1


def test_the_interval_counts_from_a_first_frame_whose_feature_came_late() -> None:
    with two_tracks(FixedInterval(3)) as tracks:
        frames = moving_frames(5)
        tracks.engine.segment(frames[0], 0)
        tracks.wait_for_done(1)
        results = [tracks.engine.segment(frame, (i + 1) * STEP) for i, frame in enumerate(frames[1:])]
    assert [result.is_key_frame for result in results] == [False, False, True, False]


def test_first_frame_after_a_reset_says_so() -> None:
    with two_tracks(FixedInterval(100)) as tracks:
        frames = moving_frames(4)
        segment_all(tracks.engine, frames[:3])
        tracks.engine.reset("the test wants it")
        anew = tracks.engine.segment(frames[3], 3 * STEP)
    assert (anew.key_reason, anew.waited_for_slow_track) == ("first frame", False)
    assert anew.warnings == ("the stream starts anew: the test wants it",)
    assert np.array_equal(anew.labels, LabelsByHand(stream_network()).labels_of_sl_alone(frames[3]))


# --- 2: key pair -----------------------------------------------------------------------------------------------------


class PairWatchingNetwork(SegmentationNetwork):
    """Remembers which frame every feature belongs to, and refuses to propagate a pair of two frames."""

    def __init__(self) -> None:
        super().__init__(small_config(input_size=INPUT_SIZE))
        self.load_state_dict(stream_network().state_dict())
        self.eval()
        self.frame_of: dict[int, int] = {}  # id of a feature -> number of the frame
        self.kept: list[Tensor] = []  # so that no id is used twice
        self.propagated_from: list[int] = []
        self.frames = 0

    def low_features(self, image: Tensor) -> LowFeatures:
        low = super().low_features(image)
        self.remember(low.low, self.frames)
        self.frames += 1
        return low

    def high_features(self, image: Tensor, low: Tensor) -> Tensor:
        high = super().high_features(image, low)
        self.remember(high, self.frame_of[id(low)])
        return high

    def propagate(self, key_high: Tensor, key: LowFeatures, current: LowFeatures) -> Propagated:
        assert self.frame_of[id(key_high)] == self.frame_of[id(key.low)], "F_h and F_l are of two frames"
        self.propagated_from.append(self.frame_of[id(key.low)])
        propagated = super().propagate(key_high, key, current)
        self.remember(propagated.high, self.frame_of[id(current.low)])
        return propagated

    def remember(self, feature: Tensor, frame: int) -> None:
        self.frame_of[id(feature)] = frame
        self.kept.append(feature)


@pytest.mark.parametrize("low_latency", [True, False])
def test_both_features_of_the_key_are_always_of_the_same_frame_and_the_result_names_it(low_latency: bool) -> None:
    network = PairWatchingNetwork()
    with two_tracks(FixedInterval(2), network, low_latency=low_latency) as tracks:
        results = segment_all(tracks.engine, moving_frames(60))
    named = [result.key_stamp // STEP for result in results if not result.waited_for_slow_track]
    assert named == network.propagated_from
    for result in results:
        assert result.key_age_frames == result.sequence - result.key_stamp // STEP


def test_a_key_frame_cannot_be_changed_in_part() -> None:
    key = key_frame(0)
    with pytest.raises(AttributeError):
        key.answer = Answer(torch.ones(1))  # type: ignore[misc]
    with pytest.raises(AttributeError):
        key.answer.logits = torch.ones(1)  # type: ignore[misc]


def key_frame(sequence: int) -> KeyFrame:
    image = torch.zeros(1, 3, 48, 64)
    seen = SeenFrame(sequence, sequence, image, stream_network().low_features(image))
    return KeyFrame(seen, Answer(torch.zeros(1)), is_accurate=True)


# --- 3: fast-track key -----------------------------------------------------------------------------------------------


def test_a_key_frames_propagated_feature_is_the_key_at_once() -> None:
    frames = moving_frames(5)
    with two_tracks(FixedInterval(2)) as tracks:
        tracks.slow_network.shut()
        results = segment_all(tracks.engine, frames)
    assert [key_of(result) for result in results] == [(0, True), (0, True), (0, True), (2, False), (2, False)]
    expected = LabelsByHand(stream_network())
    low = [expected.low(frame) for frame in frames]
    temporary = expected.propagated(expected.sh(frames[0]), low[0], low[2])
    assert np.array_equal(results[3].labels, expected.labels(expected.propagated(temporary, low[2], low[3])))


def test_the_slow_tracks_result_replaces_the_temporary_key() -> None:
    frames = moving_frames(5)
    with two_tracks(FixedInterval(3)) as tracks:
        results = segment_all(tracks.engine, frames[:4])
        tracks.wait_for_done(2)
        results += segment_all(tracks.engine, frames[4:], first=4)
    assert results[3].is_key_frame and key_of(results[3]) == (0, True)
    assert key_of(results[4]) == (3, True)
    expected = LabelsByHand(stream_network())
    propagated = expected.propagated(expected.sh(frames[3]), expected.low(frames[3]), expected.low(frames[4]))
    assert np.array_equal(results[4].labels, expected.labels(propagated))


def test_a_key_frame_that_is_due_while_sh_works_is_put_off() -> None:
    """Frame 4 would be one, but Sh still works on frame 2; the next one due once that is there is taken at once."""
    with two_tracks(FixedInterval(2)) as tracks:
        frames = moving_frames(8)
        tracks.slow_network.shut()
        segment_all(tracks.engine, frames[:3])
        tracks.wait_for_start(2)
        meanwhile = segment_all(tracks.engine, frames[3:6], first=3)
        tracks.slow_network.let_through()
        tracks.wait_for_done(2)
        late, next_one = segment_all(tracks.engine, frames[6:], first=6)
    assert [key_of(result) for result in (*meanwhile, late)] == [*[(2, False)] * 3, (2, True)]
    assert not any(result.is_key_frame for result in meanwhile) and late.is_key_frame
    assert key_of(next_one) == (6, False)


def test_a_late_result_older_than_the_newest_accurate_key_is_not_used() -> None:
    """While frame 2 is in the slow track, frame 4 waits for Sh in place and so becomes an accurate key before it."""
    with two_tracks(FixedInterval(2)) as tracks:
        frames = moving_frames(6)
        tracks.slow_network.shut()
        segment_all(tracks.engine, frames[:3])
        tracks.wait_for_start(2)
        tracks.engine.low_latency = False
        segment_all(tracks.engine, frames[3:5], first=3)
        tracks.slow_network.let_through()
        tracks.wait_for_done(3)
        (after,) = segment_all(tracks.engine, frames[5:6], first=5)
    assert key_of(after) == (4, True)


def test_the_cache_never_goes_back_to_an_older_accurate_key() -> None:
    keys = [key_frame(i) for i in range(3)]
    cache = KeyFrameCache()
    cache.put(keys[0])
    assert cache.offer_late(keys[2]) and not cache.offer_late(keys[1]) and not cache.offer_late(keys[2])
    assert cache.key is keys[2]


def test_a_result_from_before_a_reset_is_dropped() -> None:
    with two_tracks(FixedInterval(2)) as tracks:
        frames = moving_frames(7)
        tracks.slow_network.shut()
        segment_all(tracks.engine, frames[:3])
        tracks.wait_for_start(2)  # frame 2 in work
        segment_all(tracks.engine, frames[3:5], first=3)
        tracks.engine.reset("the test wants it")
        tracks.slow_network.let_through(2)
        wait_until(lambda: not tracks.lane.counts().busy, "the job from before the reset done")
        tracks.engine.policy = FixedInterval(100)
        results = segment_all(tracks.engine, frames[5:], first=5)
        counts = tracks.lane.counts()
    assert [key_of(result) for result in results] == [(5, True), (5, True)]
    assert counts.discarded == 1
    assert len(tracks.slow_network.images) == 3  # frames 0, 2 and 5


def test_a_finished_result_not_yet_collected_is_dropped_by_a_reset() -> None:
    with two_tracks(FixedInterval(2)) as tracks:
        frames = moving_frames(5)
        segment_all(tracks.engine, frames[:3])
        tracks.wait_for_done(2)
        tracks.engine.reset("the test wants it")
        results = segment_all(tracks.engine, frames[3:], first=3)
        assert tracks.lane.counts().discarded == 1
    assert [key_of(result) for result in results] == [(3, True), (3, True)]


# --- 4: busy slow track ----------------------------------------------------------------------------------------------


def test_of_a_burst_of_key_frames_one_is_in_work_and_none_grows_old_waiting() -> None:
    with two_tracks(FixedInterval(1)) as tracks:
        frames = [plain_frame(10 * i) for i in range(13)]
        segment_all(tracks.engine, frames[:1])
        tracks.wait_for_done(1)
        tracks.slow_network.shut()
        segment_all(tracks.engine, frames[1:2], first=1)
        tracks.wait_for_start(2)
        segment_all(tracks.engine, frames[2:12], first=2)
        counts = tracks.lane.counts()
        assert counts.busy and not counts.waiting and counts.discarded == 0
        tracks.slow_network.let_through(2)
        tracks.wait_for_done(2)
        segment_all(tracks.engine, [frames[12]], first=12)
        tracks.wait_for_done(3)
    assert brightness_of(tracks.slow_network)[:3] == pytest.approx([brightness(frames[i]) for i in (0, 1, 12)])


def brightness_of(slow_network: GatedSlowNetwork) -> list[float]:
    return [float(image.float().mean()) for image in slow_network.images]


def brightness(frame: Frame) -> float:
    return float(Preprocessor(INPUT_SIZE, torch.device("cpu"))(frame).float().mean())

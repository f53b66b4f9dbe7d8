"""Contracts 5 to 8 of the design (failure, determinism, open slow track, no hidden work); see also contracts 1 to 4."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
import torch
from small_networks import small_config
from stream_setup import (
    INPUT_SIZE,
    STEP,
    GatedSlowNetwork,
    LabelsByHand,
    TwoTracks,
    key_of,
    moving_frames,
    segment_all,
    stream_network,
    two_tracks,
    wait_until,
    without_times,
)
from torch import Tensor, nn

from lowlat_seg_ros.fast.adaptive import Propagated
from lowlat_seg_ros.fast.frames import Answer, LowFeatures
from lowlat_seg_ros.fast.pictures import label_image
from lowlat_seg_ros.fast.propagation import PropagationError
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.slow.network import FeatureHead
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import FixedInterval, PredictedDeviation
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

# --- 5: failure ------------------------------------------------------------------------------------------------------

FAILURES = [RuntimeError("a broken\nkernel"), torch.OutOfMemoryError("tried to allocate 9 GiB"), MemoryError("no more")]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_failing_sh_is_reported_and_counted_and_the_fast_track_goes_on(failure: Exception) -> None:
    with two_tracks(FixedInterval(3)) as tracks:
        results = run_past_a_failure(tracks, failure=failure)
        counts = tracks.lane.counts()
    reported = [result.warnings for result in results if result.warnings]
    assert reported == [(f"Sh failed on a key frame: {type(failure).__name__}: {str(failure).replace(chr(10), ' ')}",)]
    assert counts.failed == 1 and counts.done == 2
    assert [key_of(result) for result in results[4:]] == [(3, False), (3, False), (3, False), (6, True)]


def test_nan_from_sh_is_a_failure_and_never_enters_the_cache() -> None:
    with two_tracks(FixedInterval(3)) as tracks:
        results = run_past_a_failure(tracks, gives_nan=True)
        counts = tracks.lane.counts()
    reported = [result.warnings for result in results if result.warnings]
    assert reported == [
        ("Sh failed on a key frame: FloatingPointError: Sh gave values that are nan or infinite",),
    ]
    assert counts.failed == 1 and counts.done == 2
    assert all(result.labels.max() < 255 for result in results)


def run_past_a_failure(
    tracks: TwoTracks, failure: Exception | None = None, gives_nan: bool = False
) -> list[SegmentationResult]:
    """Frames 0 to 7, every third a key frame; Sh fails on frame 3 and is well again for frame 6."""
    frames = moving_frames(8)
    results = segment_all(tracks.engine, frames[:1])
    tracks.slow_network.failure, tracks.slow_network.gives_nan = failure, gives_nan
    results += segment_all(tracks.engine, frames[1:4], first=1)
    wait_until(lambda: tracks.lane.counts().failed > 0, "Sh failed")
    tracks.slow_network.failure, tracks.slow_network.gives_nan = None, False
    results += segment_all(tracks.engine, frames[4:7], first=4)
    tracks.wait_for_done(2)
    return results + segment_all(tracks.engine, frames[7:], first=7)


def test_where_sh_fails_on_the_first_frame_sl_labels_alone_and_the_next_frame_tries_again() -> None:
    frames, expected = moving_frames(3), LabelsByHand(stream_network())
    with two_tracks(FixedInterval(3)) as tracks:
        tracks.slow_network.failure = torch.OutOfMemoryError("tried to allocate 9 GiB")
        first = tracks.engine.segment(frames[0], 0)
        wait_until(lambda: tracks.lane.counts().failed == 1, "Sh failed")
        tracks.slow_network.failure = None
        second = tracks.engine.segment(frames[1], STEP)
        tracks.wait_for_done(1)
        third = tracks.engine.segment(frames[2], 2 * STEP)
    assert first.is_key_frame and not first.warnings
    assert second.warnings == ("Sh failed on a key frame: OutOfMemoryError: tried to allocate 9 GiB",)
    assert second.is_key_frame and second.key_reason == "first frame"
    for frame, result in ((frames[0], first), (frames[1], second)):
        assert np.array_equal(result.labels, expected.labels_of_sl_alone(frame))
    assert key_of(third) == (1, True)


def test_where_sh_fails_in_place_the_old_key_is_propagated_and_the_next_frame_tries_again() -> None:
    with two_tracks(FixedInterval(2), low_latency=False) as tracks:
        frames = moving_frames(5)
        results = segment_all(tracks.engine, frames[:2])
        tracks.slow_network.failure = RuntimeError("a broken kernel")
        results += segment_all(tracks.engine, frames[2:3], first=2)
        tracks.slow_network.failure = None
        results += segment_all(tracks.engine, frames[3:], first=3)
    assert [key_of(result) for result in results] == [(0, True), (0, True), (0, True), (3, True), (3, True)]
    assert [result.is_key_frame for result in results] == [True, False, False, True, False]
    assert results[2].warnings == ("Sh failed on a key frame: RuntimeError: a broken kernel",)


# --- 6: determinism --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay_frames", [1, 3])
def test_inline_the_same_frames_give_the_same_results_bit_for_bit(delay_frames: int) -> None:
    runs = []
    for _ in range(2):
        lane = InlineSlowTrack(stream_network(), delay_frames)
        engine = StreamEngine(stream_network(), lane, PredictedDeviation(0.515, minimum_interval=2))
        runs.append([without_times(result) for result in segment_all(engine, moving_frames(24, size=(80, 60)))])
    assert runs[0] == runs[1]


def test_inline_results_are_those_worked_out_by_hand() -> None:
    """Interval 2, delay 1: each frame comes from the accurate feature of the last even frame before it."""
    network, frames = stream_network(), moving_frames(9)
    engine = StreamEngine(network, InlineSlowTrack(network, delay_frames=1), FixedInterval(2), propagation="adaptive")
    results = segment_all(engine, frames)
    expected = LabelsByHand(network)
    assert np.array_equal(results[0].labels, expected.labels(expected.sh(frames[0])))
    for i in range(1, 9):
        key = (i - 1) // 2 * 2
        high = expected.propagated(expected.sh(frames[key]), expected.low(frames[key]), expected.low(frames[i]))
        assert np.array_equal(results[i].labels, expected.labels(high))
        assert key_of(results[i]) == (key, True)


# --- 7: open slow track ----------------------------------------------------------------------------------------------


class PatchTransformer(nn.Module):
    """A whole other network: one attention layer over patches of the image; its map is its logits."""

    head = FeatureHead(8, lambda high: high)
    own_fast_network = None
    sees_whole_frame = False

    def __init__(self, class_count: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.classes = tuple(f"class {number}" for number in range(class_count))
        self.colours = ((0, 0, 0),) * class_count
        self.embed = nn.Conv2d(3, 16, self.head.stride, self.head.stride)
        self.attend = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.to_logits = nn.Linear(16, class_count)

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        patches = self.embed(image / 255)
        logits = self.to_logits(self.attend(patches.flatten(2).transpose(1, 2)))
        logits = logits.transpose(1, 2).unflatten(2, patches.shape[-2:])
        return Answer(logits, logits)


class TransportOnly(SegmentationNetwork):
    """The network's fast track without fusion: its kernels carry a map of any number of channels."""

    def propagate(self, key_high: Tensor, key: LowFeatures, current: LowFeatures) -> Propagated:
        return Propagated(self.transport(key_high, key, current), None)


def test_a_whole_other_network_takes_the_place_of_sh() -> None:
    fast = TransportOnly(small_config(input_size=INPUT_SIZE)).eval()
    slow = PatchTransformer(class_count=4).eval()
    engine = StreamEngine(fast, InlineSlowTrack(slow), FixedInterval(2), propagation="adaptive")
    engine.warm_up()
    frames = moving_frames(6)
    results = segment_all(engine, frames)
    by_hand = LabelsByHand(fast)
    with torch.inference_mode():
        logits = slow.answer(by_hand.preprocess(frames[4]), Tensor()).logits
        moved = fast.transport(logits, by_hand.low(frames[4]), by_hand.low(frames[5]))
    assert np.array_equal(results[5].labels, label_image(moved, INPUT_SIZE, INPUT_SIZE))
    assert all(not result.warnings for result in results)


def test_a_slow_network_of_another_stride_is_refused() -> None:
    slow = GatedSlowNetwork(stream_network())
    assert slow.head is not None
    slow.head = slow.head._replace(stride=32)
    with pytest.raises(PropagationError, match="has stride 32; expected 8, the stride at which"):
        StreamEngine(stream_network(), InlineSlowTrack(slow), FixedInterval(2), propagation="adaptive")


def test_a_slow_network_that_names_a_wrong_stride_is_found_out_before_the_first_frame() -> None:
    slow = PatchTransformer(class_count=4).eval()
    slow.embed = nn.Conv2d(3, 16, 16, 16)
    fast = TransportOnly(small_config(input_size=INPUT_SIZE)).eval()
    engine = StreamEngine(fast, InlineSlowTrack(slow), FixedInterval(2), propagation="adaptive")
    with pytest.raises(PropagationError, match=r"a feature map of \(3, 4\) elements; expected \(6, 8\), as many as Sl"):
        engine.warm_up()


# --- 8: no hidden work -----------------------------------------------------------------------------------------------


class FirstCalls(SegmentationNetwork):
    """Notes which part ran in which thread on which shapes: what a first call would have to compile or allocate."""

    def __init__(self) -> None:
        super().__init__(small_config(input_size=INPUT_SIZE))
        self.load_state_dict(stream_network().state_dict())
        self.eval()
        self.seen: set[tuple[str, str, str]] = set()

    def note(self, part: str, *tensors: Tensor) -> None:
        self.seen.add((part, threading.current_thread().name, str([tuple(tensor.shape) for tensor in tensors])))

    def low_features(self, image: Tensor) -> LowFeatures:
        self.note("low_features", image)
        return super().low_features(image)

    def high_features(self, image: Tensor, low: Tensor) -> Tensor:
        self.note("high_features", image, low)
        return super().high_features(image, low)

    def classify(self, high: Tensor) -> Tensor:
        self.note("classify", high)
        return super().classify(high)

    def predicted_deviation(self, key: LowFeatures, current: LowFeatures) -> Tensor:
        self.note("predicted_deviation", *key, *current)
        return super().predicted_deviation(key, current)

    def propagate(self, key_high: Tensor, key: LowFeatures, current: LowFeatures) -> Propagated:
        self.note("propagate", key_high, *key, *current)
        return super().propagate(key_high, key, current)

    def move(self, picture: Tensor, key: LowFeatures, current: LowFeatures) -> tuple[Tensor, Tensor]:
        channels = min(16, picture.shape[1] & -picture.shape[1])  # a GPU's kernel is another for each power of two
        self.note("move", picture[:, :channels], *key, *current)
        return super().move(picture, key, current)


@pytest.mark.parametrize("propagation", ["adaptive", "just_in_time"])
def test_after_the_warm_up_no_part_runs_for_the_first_time_in_any_thread(propagation: str) -> None:
    network = FirstCalls()
    with two_tracks(PredictedDeviation(0.0, minimum_interval=2), network, propagation=propagation) as tracks:
        tracks.engine.warm_up((90, 50))
        warmed_up = set(network.seen)
        segment_all(tracks.engine, moving_frames(5, size=(90, 50)))
        tracks.wait_for_done(2)
        segment_all(tracks.engine, moving_frames(2, size=(90, 50)), first=5)
    assert network.seen == warmed_up
    assert len({thread for part, thread, _ in warmed_up if part == "high_features"}) == 2


def test_the_warm_up_leaves_no_state_behind() -> None:
    frames = moving_frames(6)
    runs = []
    for is_warm in (False, True):
        engine = StreamEngine(stream_network(), InlineSlowTrack(stream_network(), 2), FixedInterval(2))
        if is_warm:
            engine.warm_up((90, 50))
        runs.append([without_times(result) for result in segment_all(engine, frames)])
    assert runs[0] == runs[1]
    with two_tracks(FixedInterval(2)) as tracks:
        before = tracks.lane.counts()
        tracks.engine.warm_up()
        assert repr(tracks.lane.counts()) == repr(before)
        assert math.isnan(before.last_milliseconds) and before.done == 0


def test_a_network_that_fails_says_so_in_the_warm_up() -> None:
    with two_tracks(FixedInterval(2)) as tracks:
        tracks.slow_network.failure = torch.OutOfMemoryError("tried to allocate 9 GiB")
        with pytest.raises(RuntimeError, match="Sh failed on a black frame: OutOfMemoryError: tried to allocate 9 GiB"):
            tracks.engine.warm_up()


def test_warm_up_of_a_closed_slow_track_does_not_wait_for_ever() -> None:
    track = ThreadedSlowTrack(stream_network())
    engine = StreamEngine(stream_network(), track, FixedInterval(2))
    assert track.close(timeout=30)
    with pytest.raises(RuntimeError, match="the slow track is closed"):
        engine.warm_up()

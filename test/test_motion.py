"""The motion between two pictures, and what the engine carries along it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_networks import small_network
from stream_setup import INPUT_SIZE, LabelsByHand

from lowlat_seg_ros.network.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.labelling import label_image
from lowlat_seg_ros.stream.motion import Motion, MotionEstimator, carry, motion_estimator, motion_on_grid
from lowlat_seg_ros.stream.policy import FixedInterval
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack

Frame = NDArray[np.uint8]
SIZE = (320, 240)


def scene(right: int = 0, down: int = 0, seed: int = 0, size: tuple[int, int] = SIZE) -> Frame:
    """A picture of coloured blobs, moved by whole pixels; what comes in at its edges belongs to it as well."""
    width, height = size
    margin = 64
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    wide = cv2.resize(coarse, (width + 2 * margin, height + 2 * margin), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(wide[margin - down : margin - down + height, margin - right : margin - right + width])


def between(key: Frame, current: Frame) -> Motion:
    estimator = MotionEstimator(SIZE)
    return estimator.between(estimator.picture(key), estimator.picture(current))


def test_the_flow_leads_back_to_where_things_were() -> None:
    motion = between(scene(), scene(right=8, down=-4))
    inside = motion.flow[20:-20, 20:-20]  # half the size: 4 pixels to the left, 2 down
    assert np.abs(np.median(inside, axis=(0, 1)) - (-4, 2)).max() < 0.25
    assert np.percentile(np.abs(inside - (-4, 2)), 95) < 0.75
    assert motion.doubt[20:-20, 20:-20].mean() < 0.05


def test_what_the_key_frame_does_not_show_is_doubted() -> None:
    assert between(scene(seed=0), scene(seed=1)).doubt.mean() > 0.5
    covered = scene()
    covered[100:160, 100:180] = (255, 0, 255)
    doubt = between(scene(), covered).doubt
    assert doubt[55:75, 55:85].mean() > 0.8 and doubt[:40].mean() < 0.05


def test_a_change_of_colour_alone_is_doubted() -> None:
    key = np.full((240, 320, 3), (60, 120, 60), np.uint8)
    grey_level = int(cv2.cvtColor(key, cv2.COLOR_RGB2GRAY)[0, 0])
    other = np.full_like(key, (grey_level, grey_level, grey_level))
    assert between(key, other).doubt.mean() > 0.5


@pytest.mark.parametrize("size", [(32, 32), (33, 57), (64, 48)])
def test_the_smallest_inputs_have_a_motion_too(size: tuple[int, int]) -> None:
    estimator = MotionEstimator(size)
    picture = estimator.picture(scene(size=size))
    motion = estimator.between(picture, picture)
    assert motion.flow.shape == (*picture.shape[:2], 2)
    assert np.abs(motion.flow).max() < 0.1 and motion.doubt.max() < 0.01


def test_on_another_grid_the_flow_is_in_that_grids_places() -> None:
    motion = between(scene(), scene(right=8))
    coarse = motion_on_grid(motion, (40, 30))
    assert coarse.flow.shape == (30, 40, 2) and coarse.doubt.shape == (30, 40)
    assert abs(np.median(coarse.flow[..., 0]) - -1) < 0.1  # 4 pixels of the picture are one place
    assert motion_on_grid(motion, (160, 120)) is motion


def test_only_a_model_that_says_so_carries_logits() -> None:
    assert motion_estimator(small_network(carrying="none").config) is None
    assert motion_estimator(small_network(carrying="optical_flow").config) is not None


# --- in the engine ---------------------------------------------------------------------------------------------------


class ByHand(LabelsByHand):
    """The engine's frames, put together without it."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__(network)
        self.motion = MotionEstimator(INPUT_SIZE)

    @torch.inference_mode()
    def carried(self, key_frame: Frame, key_high: torch.Tensor, key_logits: torch.Tensor, frame: Frame) -> torch.Tensor:
        high = self.propagated(key_high, self.low(key_frame), self.low(frame))
        pictures = (self.motion.picture(self.preprocess.resized(image)) for image in (key_frame, frame))
        return carry(key_logits, self.network.classify(high), self.motion.between(*pictures))

    def label(self, logits: torch.Tensor) -> Frame:
        return label_image(logits, INPUT_SIZE, INPUT_SIZE)


@pytest.fixture
def network() -> SegmentationNetwork:
    return small_network(carrying="optical_flow", input_size=INPUT_SIZE, subpixels=2)


@pytest.fixture
def frames() -> list[Frame]:
    return [scene(right=3 * index, size=INPUT_SIZE) for index in range(4)]


def engine_of(network: SegmentationNetwork, low_latency: bool) -> StreamEngine:
    lane = InlineSlowTrack(network).open_lane()
    return StreamEngine(network, lane, FixedInterval(2), low_latency=low_latency)


@torch.inference_mode()
def test_frames_carry_the_logits_of_a_key_frame_that_waited(network: SegmentationNetwork, frames: list[Frame]) -> None:
    engine, by_hand = engine_of(network, low_latency=False), ByHand(network)
    key, current = (engine.segment(frame, stamp).labels for stamp, frame in enumerate(frames[:2]))
    high = by_hand.sh(frames[0])
    logits = network.classify(high)
    assert np.array_equal(key, by_hand.label(logits))
    assert np.array_equal(current, by_hand.label(by_hand.carried(frames[0], high, logits, frames[1])))
    assert not np.array_equal(current, by_hand.labels(by_hand.propagated(high, *map(by_hand.low, frames[:2]))))


@torch.inference_mode()
def test_a_key_frame_that_did_not_wait_hands_on_what_it_was_labelled_by(
    network: SegmentationNetwork, frames: list[Frame]
) -> None:
    """Until Sh is done with it, which here takes one frame."""
    engine, by_hand = engine_of(network, low_latency=True), ByHand(network)
    results = [engine.segment(frame, stamp) for stamp, frame in enumerate(frames)]
    assert [result.is_key_frame for result in results] == [True, False, True, False]
    assert np.array_equal(results[0].labels, by_hand.labels_of_sl_alone(frames[0]))
    first = by_hand.sh(frames[0])
    expected = [by_hand.carried(frames[0], first, network.classify(first), frame) for frame in frames[1:3]]
    assert np.array_equal(results[1].labels, by_hand.label(expected[0]))
    assert np.array_equal(results[2].labels, by_hand.label(expected[1]))
    third = by_hand.sh(frames[2])
    last = by_hand.carried(frames[2], third, network.classify(third), frames[3])
    assert np.array_equal(results[3].labels, by_hand.label(last))

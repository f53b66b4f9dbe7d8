"""The motion between two pictures, and what the engine carries along it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_networks import small_network
from stream_setup import INPUT_SIZE, LabelsByHand

from lowlat_seg_ros.fast import adaptive
from lowlat_seg_ros.fast.motion import Motion, MotionEstimator, carry, flow_by_opencv, motion_on_grid
from lowlat_seg_ros.fast.pictures import label_image
from lowlat_seg_ros.fast.registry import build_propagation
from lowlat_seg_ros.kernels import cpp
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack

pytestmark = pytest.mark.numeric

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


@pytest.fixture(params=["in C++", "by OpenCV"])
def each_search(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, and what takes over where that is not built."""
    if request.param == "by OpenCV":
        monkeypatch.setattr(cpp, "find_library", lambda: None)


@pytest.mark.usefixtures("each_search")
def test_the_flow_leads_back_to_where_things_were() -> None:
    motion = between(scene(), scene(right=8, down=-4))
    inside = motion.flow.numpy()[20:-20, 20:-20]  # half the size: 4 pixels to the left, 2 down
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


@pytest.mark.usefixtures("each_search")
def test_a_small_thing_that_has_moved_far_is_found_from_where_it_was_a_frame_ago() -> None:
    estimator = MotionEstimator(SIZE)
    thing = np.random.default_rng(1).integers(0, 256, (6, 6, 3), dtype=np.uint8).repeat(6, axis=0).repeat(6, axis=1)
    pictures = []
    for index in range(13):
        frame = scene()
        frame[100:136, 20 + 4 * index : 56 + 4 * index] = thing
        pictures.append(estimator.picture(frame))
    step_by_step = None
    for picture in pictures[1:]:
        step_by_step = estimator.between(pictures[0], picture, step_by_step)
    assert step_by_step is not None
    of_thing = np.s_[53:65, 37:49]  # it has moved 24 pixels of the picture to the right
    assert abs(np.median(step_by_step.flow[of_thing][..., 0]) - -24) < 2
    at_once = estimator.between(pictures[0], pictures[-1])
    assert abs(np.median(at_once.flow[of_thing][..., 0]) - -24) > 10


def turned_scene() -> tuple[Frame, Frame, NDArray[np.float32]]:
    """A picture, the same turned and enlarged, and its flow: each place has another motion that is known."""
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)
    key = np.asarray(cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC), np.uint8)
    back = cv2.getRotationMatrix2D((80, 60), 2.0, 1.03)  # from a place to where it was
    turned = cv2.warpAffine(key, back, (160, 120), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    rows, columns = np.mgrid[:120, :160].astype(np.float32)
    places = np.stack([columns, rows], axis=-1)
    expected = np.append(places, np.ones((120, 160, 1)), axis=-1) @ back.T - places
    return key, np.asarray(turned, np.uint8), expected.astype(np.float32)


def test_a_part_of_a_pixel_is_found_as_well_as_by_opencv() -> None:
    key, current, expected = turned_scene()
    ours, theirs = (
        np.linalg.norm(find(current, key, np.zeros_like(expected)) - expected, axis=-1)[16:-16, 16:-16].mean()
        for find in (cpp.find_flow, flow_by_opencv)
    )
    assert ours < 0.2 and ours < theirs + 0.02


@pytest.mark.parametrize("start", [0.0, 1e6, -1e30])
@pytest.mark.parametrize("contrast", [0, 255])
def test_wherever_a_search_begins_its_flow_is_finite(start: float, contrast: int) -> None:
    key, current = (contrast * np.random.default_rng(0).integers(0, 2, (2, 37, 53), dtype=np.uint8)).astype(np.uint8)
    assert np.isfinite(cpp.find_flow(current, key, np.full((37, 53, 2), start, np.float32))).all()


def test_where_there_is_nothing_to_see_nothing_moves() -> None:
    grey = np.full((48, 64), 100, np.uint8)
    start = np.full((48, 64, 2), (3.0, -2.0), np.float32)
    assert np.abs(cpp.find_flow(grey, grey, start) - start).max() < 1e-3


def test_what_was_looked_at_before_changes_nothing() -> None:
    """OpenCV's estimator remembers where it last began."""
    used, fresh = MotionEstimator(SIZE), MotionEstimator(SIZE)
    used.between(used.picture(scene(seed=2)), used.picture(scene(seed=3)), between(scene(), scene(right=20)))
    key, current = used.picture(scene()), used.picture(scene(right=6))
    assert np.array_equal(used.between(key, current).flow, fresh.between(key, current).flow)


@pytest.mark.usefixtures("each_search")
@pytest.mark.parametrize("size", [(1, 1), (9, 40), (32, 32), (33, 57), (64, 48)])
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
    for carrying, needs_motion in (("none", False), ("optical_flow", True)):
        network = small_network(carrying=carrying)
        assert build_propagation("adaptive", network, network).needs_motion == needs_motion


def test_what_the_propagation_doubts_is_not_carried() -> None:
    key, current = torch.randn(2, 1, 3, 4, 6).unbind()
    still = Motion(torch.zeros(4, 6, 2), torch.full((4, 6), 0.25))
    doubt = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    result = carry(key, current, still, doubt)
    torch.testing.assert_close(result[..., 0], 0.75 * key[..., 0] + 0.25 * current[..., 0])
    torch.testing.assert_close(result[..., -1], current[..., -1])


# --- in the engine ---------------------------------------------------------------------------------------------------


class ByHand(LabelsByHand):
    """The engine's frames, put together without it."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__(network)
        self.motion = MotionEstimator(INPUT_SIZE)

    @torch.inference_mode()
    def carried(self, key_frame: Frame, frames: list[Frame]) -> list[torch.Tensor]:
        """The logits of the frames that follow an accurate key frame."""
        key_high = self.sh(key_frame)
        key_logits, motion, carried = self.network.classify(key_high), None, []
        key_picture, *pictures = (self.motion.picture(self.preprocess.resized(frame)) for frame in (key_frame, *frames))
        for frame, picture in zip(frames, pictures, strict=True):
            motion = self.motion.between(key_picture, picture, motion)
            high, doubt = self.network.propagate(key_high, self.low(key_frame), self.low(frame))
            carried.append(carry(key_logits, self.network.classify(high), motion, doubt))
        return carried

    def label(self, logits: torch.Tensor) -> Frame:
        return label_image(logits, INPUT_SIZE, INPUT_SIZE)


@pytest.fixture
def network() -> SegmentationNetwork:
    return small_network(carrying="optical_flow", input_size=INPUT_SIZE, subpixels=2)


@pytest.fixture
def frames() -> list[Frame]:
    return [scene(right=3 * index, size=INPUT_SIZE) for index in range(4)]


def engine_of(network: SegmentationNetwork, interval: int, *, low_latency: bool) -> StreamEngine:
    return StreamEngine(
        network, InlineSlowTrack(network), FixedInterval(interval), propagation="adaptive", low_latency=low_latency
    )


def test_the_warm_up_has_carried_logits_before_the_first_frame(
    network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried: list[torch.Tensor] = []

    def carry_and_remember(*operands: Any) -> torch.Tensor:
        carried.append(carry(*operands))
        return carried[-1]

    monkeypatch.setattr(adaptive, "carry", carry_and_remember)
    engine_of(network, 4, low_latency=True).warm_up()
    assert carried and all(torch.isfinite(logits).all() for logits in carried)


@torch.inference_mode()
def test_frames_carry_the_logits_of_a_key_frame_that_waited(network: SegmentationNetwork, frames: list[Frame]) -> None:
    engine, by_hand = engine_of(network, 4, low_latency=False), ByHand(network)
    engine.warm_up()
    key, *others = (engine.segment(frame, stamp).labels for stamp, frame in enumerate(frames))
    high = by_hand.sh(frames[0])
    assert np.array_equal(key, by_hand.labels(high))
    for labels, logits in zip(others, by_hand.carried(frames[0], frames[1:]), strict=True):
        assert np.array_equal(labels, by_hand.label(logits))
    assert not np.array_equal(others[0], by_hand.labels(by_hand.propagated(high, *map(by_hand.low, frames[:2]))))


@torch.inference_mode()
def test_a_key_frame_that_does_not_wait_has_its_own_logits_carried_once_sh_is_done(
    network: SegmentationNetwork, frames: list[Frame]
) -> None:
    """Sh takes one frame here, so that the frame after a key frame already has what Sh made of it."""
    engine, by_hand = engine_of(network, 2, low_latency=True), ByHand(network)
    results = [engine.segment(frame, stamp) for stamp, frame in enumerate(frames)]
    assert [result.is_key_frame for result in results] == [True, False, True, False]
    expected = [*by_hand.carried(frames[0], frames[1:3]), *by_hand.carried(frames[2], frames[3:])]
    assert np.array_equal(results[0].labels, by_hand.labels_of_sl_alone(frames[0]))
    for result, logits in zip(results[1:], expected, strict=True):
        assert np.array_equal(result.labels, by_hand.label(logits))


@torch.inference_mode()
def test_until_then_its_labels_logits_are_carried_on(network: SegmentationNetwork, frames: list[Frame]) -> None:
    slow_track = InlineSlowTrack(network, delay_frames=2)
    engine, by_hand = StreamEngine(network, slow_track, FixedInterval(2), propagation="adaptive"), ByHand(network)
    engine.segment(frames[0], 0), engine.segment(frames[1], 1)
    temporary = engine.segment(frames[2], 2)
    assert temporary.is_key_frame and temporary.key_stamp == 0
    logits = by_hand.carried(frames[0], frames[2:3])[0]
    assert np.array_equal(temporary.labels, by_hand.label(logits))
    after = engine.segment(frames[3], 3)
    assert after.key_stamp == 2 and not after.key_is_accurate
    high = by_hand.propagated(by_hand.sh(frames[0]), by_hand.low(frames[0]), by_hand.low(frames[2]))
    key_picture, picture = (by_hand.motion.picture(by_hand.preprocess.resized(frame)) for frame in frames[2:])
    own, doubt = network.propagate(high, by_hand.low(frames[2]), by_hand.low(frames[3]))
    motion = by_hand.motion.between(key_picture, picture)
    assert np.array_equal(after.labels, by_hand.label(carry(logits, network.classify(own), motion, doubt)))

"""What the tracks do on a GPU, done on the CPU: the motion in torch, and functions of tensors recorded and replayed."""

from __future__ import annotations

from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch
from capturing import recorded_on_the_cpu
from small_networks import small_network
from stream_setup import INPUT_SIZE, STEP, moving_frames
from test_motion import SIZE, Frame, scene, turned_scene

from lowlat_seg_ros.fast.motion import Motion, MotionEstimator
from lowlat_seg_ros.fast.motion_on_gpu import PATCH, MotionOnGpu, _apart, _starts, flow_between
from lowlat_seg_ros.fast.pictures import as_image
from lowlat_seg_ros.kernels import cpp
from lowlat_seg_ros.models.placing import torch_runner, with_runners
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.models.steps import Runners
from lowlat_seg_ros.runtime.captured import failures, nothing_captured
from lowlat_seg_ros.stream import engine as engine_module
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import PredictedDeviation
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

CPU = torch.device("cpu")

# --- the motion -------------------------------------------------------------------------------------------------------


def motions(key: Frame, *frames: Frame, size: tuple[int, int] = SIZE) -> list[Motion]:
    """Of frames that follow each other, since one key frame."""
    finder = MotionOnGpu(size)
    picture = finder.begin(as_image(key, CPU), None).result().picture
    found = [finder.begin(as_image(frame, CPU), picture).result().motion for frame in frames]
    return [motion for motion in found if motion is not None]


def test_the_flow_leads_back_to_where_things_were() -> None:
    (motion,) = motions(scene(), scene(right=8, down=-4))
    inside = motion.flow[20:-20, 20:-20] - torch.tensor([-4.0, 2.0])
    assert inside.abs().flatten().quantile(0.95) < 0.75
    assert motion.doubt[20:-20, 20:-20].mean() < 0.05


def test_what_the_key_frame_does_not_show_is_doubted_as_on_the_cpu() -> None:
    key, other = scene(seed=0), scene(seed=1)
    (found,) = motions(key, other)
    on_cpu = MotionEstimator(SIZE)
    expected = on_cpu._doubt(on_cpu.picture(key), on_cpu.picture(other), on_cpu._places + found.flow.numpy())
    assert found.doubt.mean() > 0.5
    assert np.abs(found.doubt.numpy() - expected).mean() < 0.02  # there in whole grey levels


def test_a_part_of_a_pixel_is_found_as_well_as_in_cpp() -> None:
    key, current, expected = turned_scene()
    in_torch = flow_of(current, key)
    in_cpp = cpp.find_flow(current, key, np.zeros_like(expected))
    ours, theirs = (np.linalg.norm(flow - expected, axis=-1)[16:-16, 16:-16].mean() for flow in (in_torch, in_cpp))
    assert ours < 0.2 and ours < theirs + 0.02


def flow_of(current: Frame, key: Frame, start: float = 0.0) -> np.ndarray:
    grey, key_grey = (torch.from_numpy(picture).float() for picture in (current, key))
    return flow_between(grey, key_grey, torch.full((*current.shape, 2), start)).numpy()


def test_what_has_moved_far_is_found_by_small_steps() -> None:
    *_, last = motions(scene(), *(scene(right=6 * step) for step in range(1, 9)))
    assert abs(float(last.flow[20:-20, 40:-20, 0].median()) - -24) < 1


@pytest.mark.parametrize("start", [0.0, 1e6, -1e30])
@pytest.mark.parametrize("contrast", [0, 255])
def test_wherever_a_search_begins_its_flow_is_finite(start: float, contrast: int) -> None:
    key, current = (contrast * np.random.default_rng(0).integers(0, 2, (2, 37, 53), dtype=np.uint8)).astype(np.uint8)
    assert np.isfinite(flow_of(current, key, start)).all()


@pytest.mark.parametrize("size", [(1, 1), (9, 40), (32, 32), (33, 57), (64, 48)])
def test_the_smallest_inputs_have_a_motion_too(size: tuple[int, int]) -> None:
    frame = scene(size=size)
    (motion,) = motions(frame, frame, size=size)
    assert motion.flow.shape[:2] == motion.doubt.shape
    assert motion.flow.abs().max() < 0.1 and motion.doubt.max() < 0.01


def test_on_a_street_it_explains_as_much_as_the_cpus() -> None:
    """By how much a key frame that is moved along it differs from the frame, up to five frames on."""
    size, street = (480, 360), SyntheticStreet(seed=100, frame_count=6)
    frames = [np.asarray(cv2.resize(street[index].image, size), np.uint8) for index in range(6)]
    on_cpu, expected = MotionEstimator(size), None
    key, *pictures = map(on_cpu.picture, frames)
    for picture, found in zip(pictures, motions(*frames, size=size), strict=True):
        expected = on_cpu.between(key, picture, expected)
        mine, theirs = (unexplained(key, picture, motion) for motion in (found, expected))
        assert mine < 1.1 * theirs + 0.1


def unexplained(key: Frame, picture: Frame, motion: Motion) -> float:
    """Grey levels, on average."""
    height, width = picture.shape[:2]
    places = np.stack(np.meshgrid(*(np.arange(pixels, dtype=np.float32) for pixels in (width, height))), axis=-1)
    moved = cv2.remap(key, places + motion.flow.numpy(), np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return float(np.abs(moved.astype(np.float32) - picture).mean())


@pytest.mark.parametrize("pixels", [8, 11, 12, 45, 90, 180])
def test_patches_that_are_added_at_once_have_no_pixel_in_common(pixels: int) -> None:
    """Else a GPU would add them in any order, and the same frames had other labels the next time."""
    starts = _starts(pixels, CPU)
    groups = _apart(len(starts), pixels)
    for group in groups:
        covered = (starts[group, None] + torch.arange(PATCH)).flatten()
        assert len(covered.unique()) == len(covered)
    assert sorted(torch.cat([starts[group] for group in groups]).tolist()) == starts.tolist()


# --- the engine -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["just_in_time", "adaptive", "optical_flow"])
def propagation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def warm_engine(propagation: str, network: SegmentationNetwork) -> StreamEngine:
    """Every third frame is a key frame, Sh inline, so that nothing depends on speed."""
    policy = PredictedDeviation(1.0, maximum_interval=3)
    engine = StreamEngine(network, InlineSlowTrack(network), policy, propagation=propagation)
    engine.warm_up(INPUT_SIZE)
    return engine


def segmented(engine: StreamEngine) -> list[SegmentationResult]:
    return [engine.segment(frame, number * STEP) for number, frame in enumerate(moving_frames(24))]


def test_frames_that_are_replayed_have_the_labels_of_those_that_are_not(
    propagation: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each step is recorded, and none decides or reads what a graph could not."""
    network = small_network(carrying="optical_flow", kernels="correlation", fusion="gated", input_size=INPUT_SIZE)
    runners = Runners(*(torch_runner(deepcopy(network), "fp32") for _ in range(2)))
    network = with_runners(network, runners)
    monkeypatch.setattr(engine_module, "motion_finder", lambda size, device: MotionOnGpu(size))
    traces = recorded_on_the_cpu(monkeypatch)
    engine = warm_engine(propagation, network)
    recordings = traces.recordings
    replayed = segmented(engine)
    assert traces.recordings == recordings, "no frame pays for one"
    assert traces.replays > 24 * 4
    assert not failures() and not caplog.records and not any(result.warnings for result in replayed)
    with nothing_captured():
        called = segmented(warm_engine(propagation, network))
    assert len(np.unique(called[-1].labels)) > 1
    for one, other in zip(replayed, called, strict=True):
        assert np.mean(one.labels == other.labels) > 0.98  # where memory lies may change what is rounded
        assert one.deviation == pytest.approx(other.deviation, abs=1e-3, nan_ok=True)

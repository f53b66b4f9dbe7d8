"""What the shipped model must reach: on CamVid's clip where it is there, on the synthetic street everywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_labels import shortfall, upsampling_error
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.data.camvid import LabelledFolder, LabelledImage
from lowlat_seg_ros.data.classes import CAMVID_CLASSES, CAMVID_COLOURS, ROAD, SKY
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.rows import ScoreRow, TrackSettings, evaluate_rows
from lowlat_seg_ros.fast.pictures import Preprocessor, label_image
from lowlat_seg_ros.kernels import cpp
from lowlat_seg_ros.models.checkpoint import load_checkpoint, load_trainable
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.key_frames import DEFAULT_POLICY, NEVER_IDLE
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

CLIP = Path(__file__).parents[2] / "shared" / "camvid"
# No idle key frames: what is stated of the model is stated at a quarter of key frames.
SETTINGS = TrackSettings(interval=5, adaptive=replace(DEFAULT_POLICY, idle_threshold=NEVER_IDLE), delay_frames=(1,))


@pytest.fixture(scope="module")
def network() -> SegmentationNetwork:
    return load_checkpoint("default")


def scored(network: SegmentationNetwork, frames: list[LabelledImage]) -> tuple[ScoreRow, ScoreRow]:
    clip = EvaluatedClip(network, frames)
    per_frame, two_tracks = evaluate_rows(clip, ("per-frame", "low-latency"), SETTINGS)
    return per_frame, two_tracks


@pytest.mark.skipif(not CLIP.is_dir(), reason="CamVid is not there: expected it in ../shared/camvid")
@pytest.mark.parametrize(
    ("count", "least_mean_iou", "least_share"),  # 0.723 and 0.756, 0.948 and 0.979 when it was published
    [(16, 0.70, 0.93), pytest.param(101, 0.74, 0.97, marks=pytest.mark.slow)],
)
def test_the_two_tracks_keep_what_the_full_network_reaches_on_camvids_clip(
    network: SegmentationNetwork, count: int, least_mean_iou: float, least_share: float
) -> None:
    clip = LabelledFolder(CLIP / "val", CLIP / "valannot")
    per_frame, two_tracks = scored(network, [clip[index] for index in range(count)])
    assert per_frame.pixel_accuracy >= 0.94 and per_frame.mean_iou >= least_mean_iou
    assert two_tracks.mean_iou >= least_share * per_frame.mean_iou
    assert two_tracks.key_frame_ratio <= 0.25


def test_the_street_that_it_has_never_seen_has_its_road_and_sky(network: SegmentationNetwork) -> None:
    street = SyntheticStreet(frame_count=30)
    per_frame, two_tracks = scored(network, [street[index] for index in range(12)])
    for row in (per_frame, two_tracks):
        assert row.pixel_accuracy > 0.8 and row.class_iou[ROAD] > 0.9 and row.class_iou[SKY] > 0.9


def test_what_makes_it_fast_changes_no_label(network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folded, channels last and in C++: as near to the network in float64 as torch's own operators in float32 are."""
    has_clip = CLIP.is_dir()
    clip = LabelledFolder(CLIP / "val", CLIP / "valannot") if has_clip else SyntheticStreet(frame_count=30)
    frames = [clip[index].image for index in range(3)]
    fast = logits_of(frames, network)
    labels = [label_image(logits, network.config.input_size, network.config.input_size) for logits in fast]
    monkeypatch.setattr(cpp, "can_run", lambda *tensors, **options: False)
    plain = logits_of(frames, load_trainable("default").eval())
    exact = logits_of(frames, load_trainable("default").eval().double())
    rounding = largest_difference(plain, exact)
    assert largest_difference(fast, exact) <= 4 * rounding
    for frame_labels, logits in zip(labels, exact, strict=True):
        # Of the two logits that a pixel's label is chosen by, each may err.
        assert shortfall(frame_labels, logits) <= 2 * (4 * rounding + upsampling_error(logits))


def largest_difference(some: list[Tensor], others: list[Tensor]) -> float:
    return max(float((one - other).abs().max()) for one, other in zip(some, others, strict=True))


def logits_of(frames: list[NDArray[np.uint8]], network: SegmentationNetwork) -> list[Tensor]:
    """The full network's logits of the first frame, and those propagated from it to the others."""
    size = network.config.input_size
    preprocess = Preprocessor(size, torch.device("cpu"))
    with torch.inference_mode():
        images = [preprocess(frame) for frame in frames]
        key, *others = (network.low_features(image) for image in images)
        high = network.high_features(images[0], key.low)
        propagated = (network.propagate(high, key, low).high for low in others)
        return [network.classify(feature) for feature in (high, *propagated)]


def test_its_classes_are_camvids(network: SegmentationNetwork) -> None:
    assert network.config.classes == CAMVID_CLASSES
    assert network.config.colours == CAMVID_COLOURS

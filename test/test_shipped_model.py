"""What the shipped model must reach: on CamVid's clip where it is there, on the synthetic street everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from lowlat_seg_ros.data.camvid import LabelledFolder, LabelledImage
from lowlat_seg_ros.data.classes import CAMVID_CLASSES, CAMVID_COLOURS, ROAD, SKY
from lowlat_seg_ros.data.synthetic_street import SyntheticStreet
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.rows import Row, TrackSettings, evaluate_rows
from lowlat_seg_ros.network.checkpoint import load_checkpoint
from lowlat_seg_ros.network.segmentation_network import SegmentationNetwork

CLIP = Path(__file__).parents[2] / "shared" / "camvid"
SETTINGS = TrackSettings(interval=5, threshold=0.125, minimum_interval=4, maximum_interval=8, delay_frames=(1,))


@pytest.fixture(scope="module")
def network() -> SegmentationNetwork:
    return load_checkpoint("default")


def scored(network: SegmentationNetwork, frames: list[LabelledImage]) -> tuple[Row, Row]:
    clip = EvaluatedClip(network, frames)
    per_frame, two_tracks = evaluate_rows(clip, ("per-frame", "low-latency"), SETTINGS)
    return per_frame, two_tracks


@pytest.mark.skipif(not CLIP.is_dir(), reason="CamVid is not there: expected it in ../shared/camvid")
def test_the_two_tracks_keep_what_the_full_network_reaches_on_camvids_clip(network: SegmentationNetwork) -> None:
    per_frame, two_tracks = scored(network, list(LabelledFolder(CLIP / "val", CLIP / "valannot")))
    assert per_frame.pixel_accuracy >= 0.94 and per_frame.mean_iou >= 0.74
    assert two_tracks.mean_iou >= 0.95 * per_frame.mean_iou
    assert two_tracks.key_frame_ratio <= 0.25


def test_the_street_that_it_has_never_seen_has_its_road_and_sky(network: SegmentationNetwork) -> None:
    street = SyntheticStreet(frame_count=30)
    per_frame, two_tracks = scored(network, [street[index] for index in range(12)])
    for row in (per_frame, two_tracks):
        assert row.pixel_accuracy > 0.8 and row.class_iou[ROAD] > 0.9 and row.class_iou[SKY] > 0.9


def test_its_classes_are_camvids(network: SegmentationNetwork) -> None:
    assert network.config.classes == CAMVID_CLASSES
    assert network.config.colours == CAMVID_COLOURS

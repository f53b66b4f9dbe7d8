"""A cut: the key frame is of another scene, and no label that is carried from it can be right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stream_setup import STEP, moving_frames

from lowlat_seg_ros.fast.pictures import Preprocessor, label_image
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import PredictedDeviation
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

DELAY = 3


@pytest.mark.parametrize("propagation", ["adaptive", "just_in_time"])
def test_sl_alone_labels_a_new_scene_until_the_slow_network_has_seen_it(propagation: str) -> None:
    network = load_checkpoint("default")
    size = network.config.input_size
    blocks, street = moving_frames(3, size), SyntheticStreet(size, seed=2)
    engine = StreamEngine(network, InlineSlowTrack(network, DELAY), PredictedDeviation(0.1), propagation=propagation)
    frames = [*blocks, *(street[index].image for index in range(DELAY + 2))]
    results = [engine.segment(frame, number * STEP) for number, frame in enumerate(frames)]
    cut = results[len(blocks) :]
    assert cut[0].is_key_frame, "nothing in the new scene is as it was"
    alone = []
    with torch.inference_mode():
        for frame in frames[len(blocks) :]:
            low = network.low_features(Preprocessor(size, torch.device("cpu"))(frame)).low
            alone.append(label_image(network.classify_low(low), size, size))
    assert np.array_equal(cut[0].labels, alone[0])
    agreement = [float((result.labels == own).mean()) for result, own in zip(cut, alone, strict=True)]
    assert min(agreement[:DELAY]) > 0.9, "until then a carried label is one of Sl's"
    assert cut[DELAY].key_is_accurate

"""Deep Feature Flow and Clockwork behind the seam: what each does with the key frame's feature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import small_network
from stream_setup import INPUT_SIZE, moving_frames, segment_all, stream_network
from test_seams import LightOrDark
from torch import nn

from lowlat_seg_ros.fast.frames import KeyFrame, SeenFrame
from lowlat_seg_ros.fast.motion import FoundMotion, Motion, already_found
from lowlat_seg_ros.fast.optical_flow import along
from lowlat_seg_ros.fast.propagation import PropagationError
from lowlat_seg_ros.fast.registry import build_propagation
from lowlat_seg_ros.models.checkpoint import (
    COMPARISONS_FILE,
    CheckpointError,
    load_checkpoint,
    load_trainable,
    save_checkpoint,
)
from lowlat_seg_ros.models.comparisons import Comparisons
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack


def compared_network() -> SegmentationNetwork:
    """A small network with comparisons that nobody trained."""
    network = small_network(input_size=INPUT_SIZE)
    torch.manual_seed(1)
    network.comparisons = Comparisons(network.config, network.tracks.low_channels)
    return network.eval()


def seen(network: SegmentationNetwork, index: int, flow: tuple[float, float] | None = None) -> SeenFrame:
    """A moving frame, and a flow that is the same everywhere, in pixels of the half-size picture."""
    width, height = INPUT_SIZE[0] // 2, INPUT_SIZE[1] // 2
    image = torch.from_numpy(moving_frames(4)[index]).permute(2, 0, 1)[None]
    field = (
        None
        if flow is None
        else Motion(torch.tensor(flow).expand(height, width, 2).contiguous(), torch.zeros(height, width))
    )
    motion = already_found(FoundMotion(np.zeros((height, width, 3), np.uint8), field))
    return SeenFrame(index, index, image, network.low_features(image), motion)


def key_frame(network: SegmentationNetwork) -> KeyFrame:
    frame = seen(network, 0)
    return KeyFrame(frame, network.answer(frame.image, frame.low.low), is_accurate=True)


@torch.inference_mode()
def test_the_feature_moves_by_whole_elements_where_the_flow_does() -> None:
    network = stream_network()
    elements = network.stride // 2  # of the half-size picture's pixels, one element of F_h
    key = key_frame(network)
    answer = build_propagation("optical_flow", network, network).answer(key, seen(network, 1, (float(elements), 0.0)))
    assert answer.feature is not None and key.answer.feature is not None
    torch.testing.assert_close(answer.feature[..., :-1], key.answer.feature[..., 1:])
    torch.testing.assert_close(answer.feature[..., -1], key.answer.feature[..., -1])  # from outside: the border's
    torch.testing.assert_close(answer.logits, network.classify(answer.feature))


def test_between_two_places_the_flow_takes_a_share_of_both() -> None:
    picture = torch.arange(12.0).view(1, 1, 3, 4)
    half = Motion(torch.tensor([0.5, 0.0]).expand(3, 4, 2).contiguous(), torch.zeros(3, 4))
    torch.testing.assert_close(along(half, picture)[..., :-1], picture[..., :-1] + 0.5)


@torch.inference_mode()
def test_clockwork_leaves_the_feature_where_it_was_and_classifies_it_beside_the_present() -> None:
    network = compared_network()
    key, current = key_frame(network), seen(network, 3)
    answer = build_propagation("clockwork", network, network).answer(key, current)
    assert answer.feature is key.answer.feature and network.comparisons is not None
    expected = network.comparisons.clockwork(key.answer.feature, current.low.low)
    torch.testing.assert_close(answer.logits, expected)
    assert not torch.equal(answer.logits, network.comparisons.clockwork(key.answer.feature, key.frame.low.low))


@pytest.mark.parametrize("name", ["optical_flow", "clockwork"])
def test_each_runs_in_the_engine_with_low_latency(name: str) -> None:
    network = compared_network()
    engine = StreamEngine(network, InlineSlowTrack(network), FixedInterval(3), propagation=name)
    results = segment_all(engine, moving_frames(8))
    assert [result.unlabelled_reason for result in results] == [""] * 8
    assert not any(result.warnings for result in results)
    assert results[4].is_key_frame is False and results[4].key_age_frames > 0
    engine.close()


@pytest.mark.parametrize(
    ("name", "has_feature", "sentence"),
    [
        ("optical_flow", False, "propagation 'optical_flow' carries a feature, and the slow network gives none"),
        ("clockwork", False, "propagation 'clockwork' carries a feature, and the slow network gives none"),
        ("clockwork", True, "takes a classifier of its own, and the model has none; expected one from"),
    ],
)
def test_what_is_missing_is_one_sentence_at_the_start(name: str, has_feature: bool, sentence: str) -> None:
    network = stream_network()
    with pytest.raises(PropagationError, match=sentence):
        build_propagation(name, network, network if has_feature else LightOrDark())


def test_a_checkpoint_keeps_what_the_tables_compare_with(tmp_path: Path) -> None:
    network = compared_network()
    save_checkpoint(network, tmp_path, "# compared\n")
    kept = load_checkpoint(tmp_path).comparisons
    assert kept is not None and network.comparisons is not None
    for name, tensor in network.comparisons.state_dict().items():
        torch.testing.assert_close(kept.state_dict()[name], tensor, rtol=1e-3, atol=1e-6)
    network.comparisons = None
    save_checkpoint(network, tmp_path, "# without\n")
    assert load_trainable(tmp_path).comparisons is None and not (tmp_path / COMPARISONS_FILE).exists()


def test_comparisons_of_another_model_are_refused(tmp_path: Path) -> None:
    save_checkpoint(compared_network(), tmp_path, "# compared\n")
    other = small_network(input_size=INPUT_SIZE, adapt_channels=9)
    other.comparisons = Comparisons(other.config, other.tracks.low_channels)
    save_checkpoint(other, tmp_path / "other", "# other\n")
    (tmp_path / COMPARISONS_FILE).write_bytes((tmp_path / "other" / COMPARISONS_FILE).read_bytes())
    with pytest.raises(CheckpointError, match="adapt_channels 9, but its model.yaml says 8"):
        load_checkpoint(tmp_path)
    (tmp_path / COMPARISONS_FILE).write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="is no whole safetensors file"):
        load_checkpoint(tmp_path)


def test_an_untrained_unified_kernel_nearly_copies_and_any_kernel_sums_to_one() -> None:
    ways = compared_network().comparisons
    assert ways is not None
    feature = torch.rand(2, 5, 12, 12)
    inside = (..., slice(2, -2), slice(2, -2))
    assert (ways.unified(feature) - feature)[inside].abs().mean() < 0.1
    nn.init.normal_(ways.unified.taps)
    torch.testing.assert_close(ways.unified(torch.ones(1, 1, 12, 12))[inside], torch.ones(1, 1, 8, 8))


def test_weights_by_image_difference_find_what_has_moved() -> None:
    """The picture moved by one element: with sharp weights the feature moves with it."""
    ways = compared_network().comparisons
    assert ways is not None
    nn.init.constant_(ways.image_difference.log_sharpness, 0.2)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 3, 10, 14, generator=generator)
    picture = coarse.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    feature = torch.randn(1, 4, 10, 14, generator=generator)
    moved = ways.image_difference(feature, picture, picture.roll(8, dims=3))
    torch.testing.assert_close(moved[..., 2:-2, 3:-2], feature.roll(1, dims=3)[..., 2:-2, 3:-2], rtol=0, atol=1e-3)

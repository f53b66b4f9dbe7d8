"""Checkpoints: what survives the disk, what inference changes, and every way in which a file can be wrong."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from safetensors import safe_open
from small_networks import MODELS, random_image, small_config, small_network
from torch import Tensor, nn

from lowlat_seg_ros.fast.pictures import Preprocessor
from lowlat_seg_ros.models import checkpoint
from lowlat_seg_ros.models.checkpoint import CheckpointError, load_checkpoint, load_trainable, save_checkpoint
from lowlat_seg_ros.models.config import load_config
from lowlat_seg_ros.models.inference import prepare_for_inference
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

# float16 keeps 11 significant bits, so that rounding changes a number by at most this share of it …
FLOAT16_ROUNDING = 2.0**-11
# … or, for the smallest numbers, by half the distance between them.
FLOAT16_SMALLEST_STEP = 2.0**-24
LARGEST_SHIPPED_BYTES = 20_000_000


@pytest.fixture(scope="module")
def network() -> SegmentationNetwork:
    return small_network()


@pytest.fixture
def saved(network: SegmentationNetwork, tmp_path: Path) -> Path:
    save_checkpoint(network, tmp_path / "small", "# A small network")
    return tmp_path / "small"


def outputs(network: SegmentationNetwork) -> dict[str, Tensor]:
    """What the network computes of a pair of frames, each way through it."""
    key_image, image = random_image(129, 161, seed=3), random_image(129, 161, seed=4)
    with torch.no_grad():
        key, current = network.low_features(key_image), network.low_features(image)
        propagated = network.propagate(network.high_features(key_image, key.low), key, current).high
        return {
            "full": network(image),
            "propagated": network.classify(propagated),
            "deviation": network.predicted_deviation(key, current),
        }


def share_of_equal_labels(one: Tensor, other: Tensor) -> float:
    return (one.argmax(dim=1) == other.argmax(dim=1)).float().mean().item()


def test_weights_survive_to_float16_and_batch_norm_exactly(network: SegmentationNetwork, saved: Path) -> None:
    before, after = network.state_dict(), load_trainable(saved).state_dict()
    assert list(after) == list(before)
    for name, tensor in before.items():
        if name.endswith("num_batches_tracked"):
            continue
        assert after[name].dtype == torch.float32
        if tensor.dim() > 1:
            torch.testing.assert_close(after[name], tensor, rtol=FLOAT16_ROUNDING, atol=FLOAT16_SMALLEST_STEP)
        else:
            assert torch.equal(after[name], tensor), f"{name} is not what was saved"


def test_labels_survive_the_disk(network: SegmentationNetwork, saved: Path) -> None:
    before, after = outputs(network), outputs(load_checkpoint(saved))
    assert len(before["full"].argmax(dim=1).unique()) > 4, "too few classes to tell label maps apart"
    for name in ("full", "propagated"):
        # Not all: an untrained network magnifies rounding, and many of its pixels lie between two classes.
        assert share_of_equal_labels(after[name], before[name]) > 0.95


def test_saving_what_was_loaded_changes_nothing_more(saved: Path, tmp_path: Path) -> None:
    save_checkpoint(load_trainable(saved), tmp_path / "again", "# A small network")
    once, twice = (safetensors.torch.load_file(path / "weights.safetensors") for path in (saved, tmp_path / "again"))
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_folding_changes_no_label(network: SegmentationNetwork, saved: Path) -> None:
    trained = load_trainable(saved).eval()
    before, after = outputs(trained), outputs(prepare_for_inference(load_trainable(saved)))
    for name in ("full", "propagated", "deviation"):
        scale = before[name].abs().max().item()
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-4 * scale)
    assert share_of_equal_labels(after["full"], before["full"]) == 1.0
    assert share_of_equal_labels(after["propagated"], before["propagated"]) == 1.0


def test_a_loaded_network_is_ready_for_inference(saved: Path) -> None:
    loaded = load_checkpoint(saved)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in loaded.modules())
    assert not any(module.training for module in loaded.modules())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    weights = [parameter for parameter in loaded.parameters() if parameter.dim() == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_a_trainable_network_trains(saved: Path) -> None:
    loaded = load_trainable(saved)
    assert all(module.training for module in loaded.modules())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in loaded.parameters())
    optimiser = torch.optim.SGD(loaded.parameters(), lr=0.1)
    before = loaded.get_parameter("tracks.backbone.conv_stem.weight").clone()
    loaded(random_image(batch=2)).square().mean().backward()
    optimiser.step()
    assert not torch.equal(loaded.get_parameter("tracks.backbone.conv_stem.weight"), before)
    assert loaded.get_buffer("tracks.backbone.bn0.num_batches_tracked") == 1


def test_a_checkpoint_is_named_by_its_directory_or_its_weights_file(saved: Path) -> None:
    by_directory = outputs(load_checkpoint(str(saved)))
    by_file = outputs(load_checkpoint(saved / "weights.safetensors"))
    assert all(torch.equal(by_directory[name], by_file[name]) for name in by_directory)


def test_the_directory_holds_weights_description_and_card(network: SegmentationNetwork, saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["MODEL_CARD.md", "model.yaml", "weights.safetensors"]
    assert load_config(saved / "model.yaml") == network.config
    assert (saved / "MODEL_CARD.md").read_text(encoding="utf-8") == "# A small network"
    with safe_open(saved / "weights.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["version"]) == ("lowlat_seg_ros checkpoint", "1")
    assert json.loads(metadata["model"])["name"] == "default"


def test_colours_and_input_size_may_be_changed_by_hand(saved: Path) -> None:
    edit_description(saved, input_size=[240, 180], colours=[[number, 2, 3] for number in range(11)])
    assert load_checkpoint(saved).config.input_size == (240, 180)


def test_an_interrupted_save_leaves_the_old_file(
    network: SegmentationNetwork, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(small_network(seed=7), saved, "# Another")
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
def test_a_weight_that_float16_cannot_hold_is_not_saved(value: float, tmp_path: Path) -> None:
    broken = small_network()
    with torch.no_grad():
        broken.get_parameter("classifier.0.weight")[0, 0] = value
    with pytest.raises(CheckpointError, match="NaN or infinity in classifier.0.weight; expected finite weights"):
        save_checkpoint(broken, tmp_path / "broken", "")
    assert not (tmp_path / "broken").exists()


def test_a_folded_network_is_not_saved(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="lacks tracks.backbone.blocks.0.bn1.bias and .* more"):
        save_checkpoint(load_checkpoint(saved), tmp_path / "folded", "")


def edit_tracks(directory: Path, **changes: Any) -> None:
    tracks = yaml.safe_load((directory / "model.yaml").read_text(encoding="utf-8"))["tracks"]
    edit_description(directory, tracks={**tracks, **changes})


def edit_description(directory: Path, **changes: Any) -> None:
    description = yaml.safe_load((directory / "model.yaml").read_text(encoding="utf-8"))
    (directory / "model.yaml").write_text(yaml.safe_dump({**description, **changes}), encoding="utf-8")


def edit_tensors(directory: Path, edit: Callable[[dict[str, Tensor]], Any]) -> None:
    path = directory / "weights.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(path)
    edit(tensors)
    safetensors.torch.save_file(tensors, path, metadata)


def write_weights(directory: Path, content: bytes) -> None:
    (directory / "weights.safetensors").write_bytes(content)


def truncate(directory: Path, share: float) -> None:
    content = (directory / "weights.safetensors").read_bytes()
    write_weights(directory, content[: int(len(content) * share)])


class Intruder:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def save_foreign_tensors(directory: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(2)}, directory / "weights.safetensors")


def save_newer_version(directory: Path) -> None:
    safetensors.torch.save_file(
        {"weight": torch.zeros(2)},
        directory / "weights.safetensors",
        {"format": "lowlat_seg_ros checkpoint", "version": "2"},
    )


WRONGED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: write_weights(path, b""), "is no whole safetensors file"),
    "truncated in the tensors": (lambda path: truncate(path, 0.9), "is no whole safetensors file"),
    "truncated in the header": (lambda path: truncate(path, 1e-4), "is no whole safetensors file"),
    "text": (lambda path: write_weights(path, b"these are not weights" * 99), "is no whole safetensors file"),
    "zeros": (lambda path: write_weights(path, bytes(4096)), "is no whole safetensors file"),
    "torch.save": (lambda path: torch.save({}, path / "weights.safetensors"), "is no whole safetensors file"),
    "foreign": (save_foreign_tensors, "holds an unnamed format, version unknown; expected lowlat_seg_ros checkpoint"),
    "newer": (save_newer_version, "holds lowlat_seg_ros checkpoint, version 2; expected .* version 1"),
    "missing tensor": (
        lambda path: edit_tensors(path, lambda tensors: tensors.pop("classifier.0.bias")),
        "lacks classifier.0.bias; expected the weights of model 'default'",
    ),
    "unexpected tensor": (
        lambda path: edit_tensors(path, lambda tensors: tensors.update({"fc.weight": torch.zeros(2)})),
        "has fc.weight too much; expected only the weights of model 'default'",
    ),
    "other shape": (
        lambda path: edit_tensors(path, lambda tensors: tensors.update({"classifier.0.bias": torch.zeros(19)})),
        r"has classifier.0.bias of shape \(19,\); expected \(11,\)",
    ),
    "NaN": (
        lambda path: edit_tensors(path, lambda tensors: tensors["fusion.combine.bias"].fill_(float("nan"))),
        "has NaN or infinity in fusion.combine.bias; expected finite",
    ),
    "other channels": (
        lambda path: edit_description(path, high_channels=16),
        "was saved with high_channels 12, but its model.yaml says 16; expected the description",
    ),
    "other split": (
        lambda path: edit_tracks(path, split="blocks.3"),
        "was saved with tracks {.*'blocks.4'.*}, but its model.yaml says {.*'blocks.3'.*}; expected the description",
    ),
    "other fusion": (lambda path: edit_description(path, fusion="concatenate"), "was saved with fusion 'gated'"),
    "impossible size": (
        lambda path: edit_description(path, high_channels=10**9),
        "high_channels is 1000000000; expected a",
    ),
    "fewer classes": (
        lambda path: edit_description(path, classes=["Road"], colours=[[0, 0, 0]]),
        r"has classifier.0.bias of shape \(11,\); expected \(1,\)",
    ),
    "wrong description": (
        lambda path: edit_description(path, kernel_size=8),
        "kernel_size is 8; expected an odd number",
    ),
    "unknown backbone": (lambda path: edit_description(path, backbone="vgg16"), "backbone"),
    "no description": (
        lambda path: (path / "model.yaml").unlink(),
        "has no model.yaml; expected the model's description",
    ),
    "no weights": (lambda path: (path / "weights.safetensors").unlink(), "has no weights.safetensors; expected"),
}


@pytest.mark.parametrize("name", WRONGED)
def test_a_wrong_checkpoint_is_refused_in_one_sentence(name: str, saved: Path) -> None:
    wrong, message = WRONGED[name]
    wrong(saved)
    with pytest.raises(CheckpointError, match=message) as refusal:
        load_checkpoint(saved)
    assert "\n" not in str(refusal.value)
    assert str(saved) in str(refusal.value)


def test_no_code_of_a_checkpoint_runs(saved: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    pickle.loads(pickle.dumps(Intruder(trace))).close()
    assert trace.exists(), "the intruder is harmless, so that this test proves nothing"
    trace.unlink()
    write_weights(saved, pickle.dumps(Intruder(trace)))
    with pytest.raises(CheckpointError, match="is no whole safetensors file"):
        load_checkpoint(saved)
    torch.save({"classifier.0.bias": Intruder(trace)}, saved / "weights.safetensors")
    with pytest.raises(CheckpointError, match="is no whole safetensors file"):
        load_checkpoint(saved)
    (saved / "model.yaml").write_text(f"name: !!python/object/apply:builtins.open ['{trace}', 'w']", encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be read as a model description"):
        load_checkpoint(saved)
    assert not trace.exists()


@pytest.mark.parametrize("absent", ["no_such_model", "", "a/b/weights.safetensors"])
def test_an_absent_checkpoint_is_named(absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="weights.safetensors") as refusal:
        load_checkpoint(absent)
    assert "expected" in str(refusal.value)


def test_a_shipped_name_goes_before_a_folder_of_that_name(
    network: SegmentationNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, working = tmp_path / "shipped", tmp_path / "working"
    save_checkpoint(network, shipped / "pocket", "")
    (working / "pocket").mkdir(parents=True)
    monkeypatch.setattr(checkpoint, "SHIPPED_MODELS", shipped)
    monkeypatch.chdir(working)
    assert checkpoint.shipped_models() == ["pocket"]
    assert load_checkpoint("pocket").config == network.config
    with pytest.raises(CheckpointError, match=r"has no weights\.safetensors"):
        load_checkpoint("./pocket")


def test_the_default_model_fits_the_size_that_may_ship(tmp_path: Path) -> None:
    save_checkpoint(SegmentationNetwork(load_config(MODELS / "default.yaml")), tmp_path, "")
    assert (tmp_path / "weights.safetensors").stat().st_size <= LARGEST_SHIPPED_BYTES


@pytest.mark.parametrize("name", checkpoint.shipped_models())
def test_every_shipped_model_loads(name: str) -> None:
    directory, weights = checkpoint.locate(name)
    assert weights.stat().st_size <= LARGEST_SHIPPED_BYTES
    assert (directory / "MODEL_CARD.md").read_text(encoding="utf-8").startswith("# ")
    loaded = load_checkpoint(name)
    assert replace(loaded.config, classes=small_config().classes) == load_config(MODELS / f"{name}.yaml")
    with torch.no_grad():
        assert torch.isfinite(loaded(random_image())).all()


@pytest.mark.parametrize("name", checkpoint.shipped_models())
def test_what_float16_drops_is_seen_by_no_one(name: str) -> None:
    """A trained network labels a street alike whichever of the weights that round to the stored ones it is given."""
    stored, finer = load_trainable(name), load_trainable(name)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in finer.parameters():
            if weight.dim() > 1:
                weight.mul_(1 + (torch.rand(weight.shape, generator=generator) - 0.5) * FLOAT16_ROUNDING)
    config = stored.config
    street = next(SyntheticStreet(config.input_size).frames())
    image = Preprocessor(config.input_size, torch.device("cpu"))(street)
    with torch.no_grad():
        logits = [prepare_for_inference(network)(image) for network in (stored, finer)]
    assert share_of_equal_labels(*logits) > 0.998

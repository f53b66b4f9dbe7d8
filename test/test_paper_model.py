"""The paper's own network, ``config/models/paper.yaml``, every way: trained, evaluated, driven with, exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from data_trees import SIZE, cityscapes_tree
from training_setup import RECIPE, STAGES, write_yaml

from lowlat_seg_ros import Segmenter
from lowlat_seg_ros.cli import main
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.config import load_config
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

PAPER = Path(__file__).parents[1] / "config" / "models" / "paper.yaml"
FRAMES = 4


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained in all three stages on a tree of Cityscapes' layout; narrower than the paper's, on small pictures."""
    folder = tmp_path_factory.mktemp("paper")
    cityscapes_tree(folder / "cityscapes")
    description = yaml.safe_load(PAPER.read_text())
    narrower = {"input_size": list(SIZE), "high_channels": 16, "kernel_channels": 8, "adapt_channels": 8}
    description.update(narrower, deviation_channels=8)
    description["tracks"]["pyramid_channels"] = 4
    write_yaml(folder / "model.yaml", description)
    write_yaml(folder / "recipe.yaml", {stage: {**RECIPE, "epochs": 1} for stage in STAGES})
    options = ["--data", str(folder / "cityscapes"), "--model", str(folder / "model.yaml"), "--from", "nothing"]
    run = ["--config", str(folder / "recipe.yaml"), "--out", str(folder / "run"), "--threads", "1"]
    assert main(["train", "all", *options, *run]) == 0
    return folder / "run" / "schedule" / "checkpoint"


@pytest.mark.slow  # a ResNet-101: 42 million weights
def test_it_is_the_papers_network_that_was_trained(checkpoint: Path) -> None:
    network = load_checkpoint(checkpoint)
    assert network.stride == 8 and network.tracks.low_channels == 1024
    assert network.classes == load_config(PAPER).classes and len(network.classes) == 19
    assert network.config.fusion == "concatenate" and network.config.kernels == "convolution"


@pytest.mark.slow
def test_it_is_evaluated_against_its_own_full_network(checkpoint: Path, tmp_path: Path) -> None:
    """Labels with other ids than CamVid's are not read yet; agreement needs none."""
    import cv2

    street = SyntheticStreet(SIZE, frame_count=FRAMES)
    (tmp_path / "frames").mkdir()
    for index in range(FRAMES):
        cv2.imwrite(str(tmp_path / "frames" / f"{index}.png"), street[index].image[..., ::-1])
    file = tmp_path / "found.json"
    command = ["evaluate", "--frames", str(tmp_path / "frames"), "--model", str(checkpoint), "--json", str(file)]
    assert main([*command, "--rows", "per-frame,fixed,low-latency", "--interval", "2"]) == 0
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}
    assert rows["per-frame"]["agreement_pixels"] == 1.0
    assert 0 < rows["fixed"]["agreement_pixels"] <= 1.0


@pytest.mark.slow
def test_it_labels_frames_as_the_node_does(checkpoint: Path) -> None:
    street = SyntheticStreet(SIZE, frame_count=FRAMES)
    with Segmenter(str(checkpoint), device="cpu", policy=FixedInterval(2)) as segmenter:
        results = [segmenter.segment(street[index].image, index * 66_666_667) for index in range(FRAMES)]
    assert all(result.labels.shape == SIZE[::-1] and result.labels.max() < 19 for result in results)
    assert all(result.unlabelled_reason == "" for result in results)


@pytest.mark.slow
def test_it_is_exported(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "paper.onnx")]) == 0
    assert "labels agree on" in capsys.readouterr().out
    assert (tmp_path / "paper.onnx").stat().st_size > 100_000_000

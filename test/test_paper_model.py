"""The paper's own network, ``config/models/paper.yaml``, every way: trained, evaluated, driven with, exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from data_trees import SIZE, cityscapes_train_ids, cityscapes_tree, drive_frame, write_labels, write_picture
from training_setup import RECIPE, STAGES, write_yaml

pytest.importorskip("rclpy")

from node_setup import FakeCamera, TestBench, own_namespace, running_node

from lowlat_seg_ros import Segmenter
from lowlat_seg_ros.cli import main
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.config import load_config

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
def test_it_is_evaluated_against_cityscapes_labels(checkpoint: Path, tmp_path: Path) -> None:
    """Of every frame, and by its own classes: their ids are Cityscapes' train ids."""
    ids = cityscapes_train_ids()
    for index in range(FRAMES):
        write_picture(tmp_path / "frames" / f"{index}.png", drive_frame(index)[0])
        write_labels(tmp_path / "labels" / f"{index}.png", ids)
    folders = ["--frames", str(tmp_path / "frames"), "--labels", str(tmp_path / "labels")]
    file = tmp_path / "found.json"
    command = ["evaluate", *folders, "--model", str(checkpoint), "--json", str(file), "--threads", "1"]
    assert main([*command, "--rows", "per-frame,fixed,low-latency", "--interval", "2", "--analyses", "none"]) == 0
    found = json.loads(file.read_text())
    assert tuple(found["classes"]) == load_config(PAPER).classes and found["warning"] is None
    confusion = ConfusionMatrix(19)
    with Segmenter(str(checkpoint), device="cpu") as segmenter:
        for _, result in segmenter.stills(drive_frame(index)[0] for index in range(FRAMES)):
            confusion.add(result.labels, ids)
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["per-frame"]["mean_iou"] == pytest.approx(confusion.mean_iou(), abs=1e-6)
    assert 0 < rows["fixed"]["pixel_accuracy"] <= 1


@pytest.mark.slow
def test_it_labels_a_camera_in_the_node(checkpoint: Path, tmp_path: Path) -> None:
    namespace = own_namespace("paper")
    parameters = {"device": "cpu", "model": str(checkpoint), "policy": "fixed_interval", "interval": 2}
    with running_node(tmp_path / "log", namespace, parameters) as node:
        bench = TestBench(namespace)
        camera = FakeCamera(bench).connect()
        stamps = [camera.segment(drive_frame(index)[0], "rgb8") for index in range(FRAMES)]
        labels = [camera.label_ids(stamp) for stamp in stamps]
        reasons = {camera.key_frames[stamp].unlabelled_reason for stamp in stamps}
        key_frames = [camera.key_frames[stamp].is_key_frame for stamp in stamps]
        bench.close()
        assert node.lines_with("19 classes")
    assert all(ids.shape == SIZE[::-1] and ids.max() < 19 for ids in labels)
    assert reasons == {""} and key_frames[0]


@pytest.mark.slow
def test_it_is_exported(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "paper.onnx")]) == 0
    assert "labels agree on" in capsys.readouterr().out
    assert (tmp_path / "paper.onnx").stat().st_size > 100_000_000

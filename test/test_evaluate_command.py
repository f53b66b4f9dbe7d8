"""`lowlat-seg`: the rows of an evaluation, and one sentence for each mistake."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_networks import small_network

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data.camvid import LabelledFolder
from lowlat_seg_ros.data.classes import CAMVID_VOID
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.network.checkpoint import load_checkpoint, save_checkpoint
from lowlat_seg_ros.stream.labelling import label_image
from lowlat_seg_ros.stream.preprocessing import Preprocessor

FRAMES = 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of noise that drifts, with labels in blocks, some of them void."""
    folder = tmp_path_factory.mktemp("clip")
    random = np.random.default_rng(0)
    street = random.integers(0, 256, (72, 96 + FRAMES, 3), dtype=np.uint8)
    blocks = np.kron(random.integers(0, CAMVID_VOID + 1, (6, 8)), np.ones((12, 12))).astype(np.uint8)
    for kind in ("frames", "labels"):
        (folder / kind).mkdir()
    for index in range(FRAMES):
        cv2.imwrite(str(folder / "frames" / f"{index:03d}.png"), street[:, index : index + 96])
        cv2.imwrite(str(folder / "labels" / f"{index:03d}.png"), blocks)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(small_network(), folder, "# A network that was never trained\n")
    return folder


def evaluate(clip: Path, model: Path, *options: str) -> int:
    folders = ["--frames", str(clip / "frames"), "--labels", str(clip / "labels")]
    return main(["evaluate", *folders, "--model", str(model), *options])


def test_every_row_is_scored_on_the_same_frames(clip: Path, model: Path, tmp_path: Path) -> None:
    assert evaluate(clip, model, "--interval", "3", "--threshold", "0", "--json", str(tmp_path / "rows.json")) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())["rows"]}
    assert list(rows) == ["per-frame", "fixed", "adaptive", "low-latency"]
    assert rows["per-frame"]["key_frame_ratio"] == 1.0
    assert rows["fixed"]["key_frame_ratio"] == pytest.approx(2 / FRAMES)
    assert rows["adaptive"]["key_frame_ratio"] == 1.0  # the threshold of nothing makes every frame a key frame
    assert rows["adaptive"]["mean_iou"] == rows["per-frame"]["mean_iou"]


def test_the_per_frame_row_is_the_network_on_each_frame(clip: Path, model: Path, tmp_path: Path) -> None:
    assert evaluate(clip, model, "--rows", "per-frame", "--json", str(tmp_path / "rows.json")) == 0
    network = load_checkpoint(model)
    config = network.config
    preprocess = Preprocessor(config.input_size, config.mean, config.std, torch.device("cpu"))
    matrix = ConfusionMatrix(config.class_count)
    for frame in LabelledFolder(clip / "frames", clip / "labels"):
        with torch.inference_mode():
            logits = network(preprocess(frame.image))
        matrix.add(label_image(logits, config.input_size, (96, 72)), frame.labels)
    row = json.loads((tmp_path / "rows.json").read_text())["rows"][0]
    assert row["mean_iou"] == pytest.approx(matrix.mean_iou(), abs=1e-6)


def test_the_table_is_printed(clip: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(clip, model, "--rows", "fixed,low-latency") == 0
    printed = capsys.readouterr().out
    assert "| fixed |" in printed and "| low-latency |" in printed and "| per-frame |" not in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows", "fastest"], "--rows names 'fastest'"),
        (["--model", "missing"], "no checkpoint at 'missing'"),
        (["--frames", "missing"], "missing does not exist"),
        (["--interval", "0"], "interval is 0"),
        (["--delay-frames", "0"], "0 frames late"),
    ],
)
def test_a_mistake_gets_one_sentence(
    options: list[str], message: str, clip: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(clip, model, *options) == 1
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1


def test_training_without_its_data_gets_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(__file__).parents[1] / "config"
    options = ["--model", str(config / "models/default.yaml"), "--config", str(config / "training/default.yaml")]
    assert main(["train", "base", "--data", str(tmp_path / "nowhere"), "--run", str(tmp_path / "run"), *options]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_a_later_stage_without_the_one_before_gets_one_sentence(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "camvid"
    data.mkdir()
    (data / "train").symlink_to(clip / "frames")
    (data / "trainannot").symlink_to(clip / "labels")
    config = Path(__file__).parents[1] / "config"
    options = ["--model", str(config / "models/default.yaml"), "--config", str(config / "training/default.yaml")]
    assert main(["train", "schedule", "--data", str(data), "--run", str(tmp_path / "run"), *options]) == 1
    assert "there is no checkpoint at" in capsys.readouterr().err

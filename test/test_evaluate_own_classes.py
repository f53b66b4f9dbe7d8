"""`lowlat-seg evaluate` on labels of any classes, matched by name, and on part of a drive; what is left out is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_networks import onnx_network
from PIL import Image
from small_networks import IN_TORCH, small_network
from written_files import PALETTE, RGB, png

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data.image_file import read_rgb
from lowlat_seg_ros.evaluation.per_frame_network import PerFrameNetwork
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.models.checkpoint import load_checkpoint, save_checkpoint

FRAMES, SIZE = 10, (96, 72)
CLASSES = ("other", "road", "vehicle")
COLOURS = ((10, 20, 30), (128, 64, 128), (64, 0, 128))
FEW = ("--rows", "per-frame", "--stills", *IN_TORCH)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ours, of three classes, never trained."""
    folder = tmp_path_factory.mktemp("model")
    network = small_network(kind="two_networks", input_size=SIZE, classes=CLASSES, colours=COLOURS)
    save_checkpoint(network, folder, "# Three classes\n")
    return folder


@pytest.fixture(scope="module")
def ids() -> list[np.ndarray]:
    """The true ids of each frame, of CLASSES."""
    random = np.random.default_rng(0)
    return [np.kron(random.integers(0, 3, (6, 8)), np.ones((12, 12), int)) for _ in range(FRAMES)]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    random = np.random.default_rng(1)
    street = random.integers(0, 256, (72, 96 + FRAMES, 3), np.uint8)
    for number in range(FRAMES):
        Image.fromarray(street[:, number : number + 96]).save(folder / f"f{number + 1}.jpg", quality=95)
    return folder


def labels_in(folder: Path, contents: list[bytes]) -> Path:
    folder.mkdir()
    for number, content in enumerate(contents):
        (folder / f"f{number + 1}.png").write_bytes(content)
    return folder


def evaluate(frames: Path, model: Path, out: Path, *options: str) -> dict[str, Any]:
    given = ["evaluate", "--frames", str(frames), "--model", str(model), "--json", str(out), *options]
    assert main(given) == 0
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def expected_iou(model: Path, frames: Path, truths: dict[int, np.ndarray]) -> float:
    network = load_checkpoint(model)
    label = PerFrameNetwork(network, network.forward)
    matrix = ConfusionMatrix(3)
    for number, truth in truths.items():
        matrix.add(label(read_rgb(frames / f"f{number + 1}.jpg")), truth.astype(np.uint8))
    return matrix.mean_iou()


def test_a_model_s_own_ids_as_palette_and_as_colours(
    frames: Path, model: Path, ids: list[np.ndarray], tmp_path: Path
) -> None:
    expected = pytest.approx(expected_iou(model, frames, dict(enumerate(ids))), abs=1e-9)
    palette = labels_in(tmp_path / "palette", [png(each, 4, PALETTE) for each in ids])
    colours = labels_in(tmp_path / "colours", [png(np.array(COLOURS)[each], 8, RGB) for each in ids])
    by_id = evaluate(frames, model, tmp_path / "1.json", "--labels", str(palette), *FEW)
    by_colour = evaluate(frames, model, tmp_path / "2.json", "--labels", str(colours), *FEW)
    assert by_id["rows"][0]["mean_iou"] == by_colour["rows"][0]["mean_iou"] == expected
    assert (by_id["problems"], by_id["warning"], by_id["classes"]) == ([], None, list(CLASSES))
    (problem,) = by_colour["problems"]
    assert "in RGB, read by the classes' colours (10 times in all)" in problem


def test_other_classes_are_matched_by_name_merged_and_ignored(
    frames: Path, model: Path, ids: list[np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The labels' van is the model's vehicle, their tram is ignored, their dog is a class that the model has not."""
    (tmp_path / "map.yaml").write_text(
        "classes: [dog, vehicle, tram, road, van, other]\nmerge: {van: vehicle}\nignore: [tram]\n"
    )
    theirs = [np.array([5, 3, 4])[each] for each in ids]
    for each in theirs:
        each[:12, :12], each[:12, 12:24] = 0, 2
    truths = {number: each.copy() for number, each in enumerate(ids)}
    for truth in truths.values():
        truth[:12, :24] = 255
    labels = labels_in(tmp_path / "labels", [png(each) for each in theirs])
    given = ("--labels", str(labels), "--classes", str(tmp_path / "map.yaml"))
    found = evaluate(frames, model, tmp_path / "found.json", *given, *FEW)
    assert found["rows"][0]["mean_iou"] == pytest.approx(expected_iou(model, frames, truths), abs=1e-9)
    assert found["problems"] == ["The model has no class dog: these pixels of the truth are left out."]
    share = 12 * 12 / (72 * 96 - 12 * 12)
    assert found["warning"].startswith("WARNING: these figures leave out 1440 of 67680 labelled pixels (2.1%)")
    assert share == pytest.approx(1440 / 67680)
    assert capsys.readouterr().out.splitlines()[-1] == found["warning"]


def test_the_last_part_of_a_drive_and_sparse_labels(
    frames: Path, model: Path, ids: list[np.ndarray], tmp_path: Path
) -> None:
    labels = labels_in(tmp_path / "labels", [png(each, 2) for each in ids])
    (labels / "f9.png").unlink()
    given = ("--labels", str(labels), "--part", "last 30 %")
    found = evaluate(frames, model, tmp_path / "found.json", *given, *FEW)
    assert found["frames"] == 3
    truths = {number: ids[number] for number in (7, 9)}
    assert found["rows"][0]["mean_iou"] == pytest.approx(expected_iou(model, frames, truths), abs=1e-9)
    assert any("1 of the 3 frames have no labels" in line for line in found["problems"])
    assert "1 of 3 frames (33.3%)" in found["warning"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--part", "first half"), "--part is 'first half'; expected 'last fifth'"),
        (("--classes", "nowhere.yaml", "--labels", "LABELS"), "--classes is nowhere.yaml, which is no file; expected"),
        (("--classes", "camvid"), "which explains labels; expected --labels beside it"),
        (("--classes", "voc", "--labels", "LABELS"), "none of the model's classes (other, road, vehicle) is among"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    options: tuple[str, ...],
    sentence: str,
    frames: Path,
    model: Path,
    ids: list[np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels = labels_in(tmp_path / "labels", [png(each) for each in ids])
    given = [str(labels) if option == "LABELS" else option for option in options]
    assert main(["evaluate", "--frames", str(frames), "--model", str(model), *FEW, *given]) == 1
    assert sentence in capsys.readouterr().err


def test_rows_name_the_runtime_of_a_foreign_network(frames: Path, model: Path, tmp_path: Path) -> None:
    plain = {"mean": [0, 0, 0], "std": [1, 1, 1], "classes": ["a", "b", "c"]}
    file = onnx_network(tmp_path / "x.onnx", plain, classes=3)
    found = evaluate(
        frames, file, tmp_path / "x.json", "--fast-model", str(model), *IN_TORCH[:2], "--rows", "per-frame,fixed"
    )
    keys = ("fast_runtime", "slow_runtime", "slow_precision")
    rows = [[row[key] for key in keys] for row in found["rows"]]
    assert rows == [[None, "onnxruntime", "fp32"], ["torch", "onnxruntime", "fp32"]]


@pytest.mark.slow
def test_a_foreign_network_is_scored_by_name_and_without_labels_by_agreement(
    frames: Path, model: Path, ids: list[np.ndarray], tmp_path: Path
) -> None:
    """Ours as a foreign one: a YAML that merges two of its classes."""
    (tmp_path / "network.yaml").write_text(f"source: {model}\nmerge: {{vehicle: other}}\n")
    (tmp_path / "map.yaml").write_text("classes: [Vehicle, Road, Other]\nmerge: {Vehicle: Other}\n")
    labels = labels_in(tmp_path / "labels", [png(2 - each) for each in ids])
    foreign = tmp_path / "network.yaml"
    fast = ("--fast-model", str(model), "--rows", "per-frame,fixed", "--interval", "4")
    given = ("--labels", str(labels), "--classes", str(tmp_path / "map.yaml"), "--analyses", "none")
    found = evaluate(frames, foreign, tmp_path / "scored.json", *fast, *given)
    assert found["classes"] == ["other", "road"] and found["problems"] == [] and found["warning"] is None
    assert 0 < found["rows"][0]["mean_iou"] < 1
    agreed = evaluate(frames, foreign, tmp_path / "agreed.json", *fast)
    per_frame, fixed = agreed["rows"]
    assert per_frame["agreement_pixels"] == 1 and 0 < fixed["agreement_pixels"] < 1
    assert len(fixed["agreement_class_iou"]) == 2
    assert len(agreed["distances"]["mean_iou"]) == FRAMES and agreed["distances"]["mean_iou"][0] == 1

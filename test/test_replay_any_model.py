"""Replay and ``evaluate --latency`` take any model that the node takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from bag_parts import SIZE, image, label_map, labels, picture, write_bag_of
from foreign_networks import onnx_network, segformer
from json_schema import violations
from small_networks import small_network

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data.classes import CAMVID_CLASSES
from lowlat_seg_ros.fast.pictures import as_image, label_image
from lowlat_seg_ros.models.checkpoint import save_checkpoint
from lowlat_seg_ros.slow.registry import fingerprint_of, load_model

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "replay_report.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fast")
    save_checkpoint(small_network(input_size=(64, 48)), folder, "For tests.")
    return folder


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drive = [each for number in range(5) for each in (image(number), labels(number))]
    return write_bag_of(tmp_path_factory.mktemp("drive") / "bag", drive)


def report_of(bag: Path, fast: Path, model: Path, out: Path, *options: str) -> dict[str, Any]:
    arguments = ["replay", str(bag), "--out", str(out), "--model", str(model), "--fast-model", str(fast), *options]
    assert main([*arguments, "--workers", "1"]) == 0
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    assert list(violations(report, SCHEMA, SCHEMA)) == []
    return report


def test_a_network_of_the_same_classes_is_scored_against_the_truth(bag: Path, fast: Path, tmp_path: Path) -> None:
    model = onnx_network(tmp_path / "mine.onnx", {"classes": list(CAMVID_CLASSES)}, classes=len(CAMVID_CLASSES))
    report = report_of(bag, fast, model, tmp_path / "out", "--propagation", "just_in_time")
    assert report["model"]["name"] == "mine.onnx" and report["model"]["classes"] == list(CAMVID_CLASSES)
    assert report["settings"]["propagation"] == "just_in_time" and report["settings"]["fast_model"] == str(fast)
    (camera,) = report["cameras"]
    systems = {system["name"]: system for system in camera["systems"]}
    assert list(systems) == ["two tracks", "full network", "fast single-frame network"]
    assert all(system["scores"]["frames"] == 5 for system in systems.values())
    assert any("the times are those of the shipped model's networks" in line for line in report["bag"]["problems"])
    # The full network's labels are those of the file itself, on the camera's own picture.
    assert systems["full network"]["scores"]["confusion"] == confusion_of(model)
    assert main(["replay", str(bag), "--out", str(tmp_path / "out"), "--model", str(model), "--fast-model", str(fast),
                 "--propagation", "just_in_time", "--resume"]) == 0  # fmt: skip


def confusion_of(model: Path) -> list[list[int]]:
    network = load_model(str(model))
    counts = np.zeros((len(CAMVID_CLASSES), len(CAMVID_CLASSES) + 1), int)
    for number in range(5):
        answer = network.answer(as_image(picture(number), torch.device("cpu")), torch.empty(0))
        found = label_image(answer.logits, (64, 48), SIZE, answer.ids)
        np.add.at(counts, (label_map(number).ravel(), np.minimum(found, len(CAMVID_CLASSES)).ravel()), 1)
    return counts.tolist()


def test_other_classes_are_matched_by_name_or_the_truth_is_left_out(bag: Path, fast: Path, tmp_path: Path) -> None:
    model = onnx_network(tmp_path / "some.onnx", {"classes": ["road", "cow", "SKY"]}, classes=3)
    report = report_of(bag, fast, model, tmp_path / "some")
    (camera,) = report["cameras"]
    assert [system["name"] for system in camera["systems"]] == ["two tracks", "full network"]
    assert camera["systems"][1]["scores"]["frames"] == 5
    assert any("The model has no class" in line for line in report["bag"]["problems"])
    assert any("The truth has no class cow" in line for line in report["bag"]["problems"])
    model = onnx_network(tmp_path / "none.onnx", {"classes": ["cow", "cat", "dog"]}, classes=3)
    report = report_of(bag, fast, model, tmp_path / "none")
    assert report["cameras"][0]["systems"][0]["scores"] is None
    assert any("the truth is left out: none of the model's classes" in line for line in report["bag"]["problems"])


@pytest.mark.slow
def test_a_hugging_face_model_is_replayed(bag: Path, fast: Path, tmp_path: Path) -> None:
    report = report_of(bag, fast, segformer(tmp_path / "segformer"), tmp_path / "out")
    assert report["cameras"][0]["systems"][0]["counts"]["labelled"] == 5


def test_latency_takes_a_foreign_model(fast: Path, tmp_path: Path) -> None:
    model = onnx_network(tmp_path / "mine.onnx", {"classes": ["Road", "Sky", "cow"]}, classes=3)
    for kind in ("frames", "labels"):
        (tmp_path / kind).mkdir()
    for number in range(3):
        rgb = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), rgb)
        cv2.imwrite(str(tmp_path / "labels" / f"{number}.png"), rgb[..., 0] % 11)
    folders = ["--frames", str(tmp_path / "frames"), "--labels", str(tmp_path / "labels")]
    few = ["--rows", "per-frame", "--rate", "100", "--rounds", "1", "--latency"]
    out = ["--json", str(tmp_path / "figures.json")]
    assert main(["evaluate", *folders, "--model", str(model), "--fast-model", str(fast), *few, *out]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    rows = {row["name"]: row for row in figures["latency"]["rows"]}
    assert list(rows) == ["two tracks", "full network"]
    assert rows["full network"]["mean_iou"] == pytest.approx(figures["rows"][0]["mean_iou"], abs=1e-6)


def test_a_model_is_known_by_its_content(tmp_path: Path) -> None:
    model = onnx_network(tmp_path / "mine.onnx", {"classes": ["a", "b", "c"]}, classes=3)
    first = fingerprint_of(str(model))
    model.rename(tmp_path / "other.onnx")
    model = tmp_path / "other.onnx"
    (tmp_path / "it.yaml").write_text("source: other.onnx\nflip: true\n")
    described = fingerprint_of(str(tmp_path / "it.yaml"))
    onnx_network(model, {"classes": ["a", "b", "d"]}, classes=3)
    assert fingerprint_of(str(model)) != first
    assert fingerprint_of(str(tmp_path / "it.yaml")) != described
    assert fingerprint_of("default") != fingerprint_of("org/model") == fingerprint_of("org/model")


def test_the_truth_s_ids_are_what_classes_says(bag: Path, fast: Path, tmp_path: Path, capsys: Any) -> None:
    """As of evaluate, train and bag make; what changes the truth makes another report."""
    names = ["tree", *CAMVID_CLASSES[1:]]
    described = tmp_path / "classes.yaml"
    described.write_text(json.dumps({"classes": names, "merge": {"Car": "Road"}}))
    own = report_of(bag, fast, fast, tmp_path / "own")
    assert own["settings"]["truth"] is None
    given = ["--classes", str(described), "--void", "10"]
    report = report_of(bag, fast, fast, tmp_path / "out", *given)
    assert report["settings"]["truth"]["classes"][:4] == ["tree", "Building", "Pole", "Road"]
    assert report["settings"]["truth"]["ids"]["8"] == 3 and "10" not in report["settings"]["truth"]["ids"]
    told = " ".join(report["bag"]["problems"])
    assert "The truth has no class Sky, Car" in told and "The model has no class" not in told
    rows = [np.array(each["cameras"][0]["systems"][1]["scores"]["confusion"]) for each in (own, report)]
    road, car, tree = (CAMVID_CLASSES.index(name) for name in ("Road", "Car", "Tree"))
    assert rows[1][road].sum() == rows[0][road].sum() + rows[0][car].sum()
    assert rows[1][tree].sum() == rows[0][tree].sum() + rows[0][0].sum() and rows[1][car].sum() == 0
    capsys.readouterr()
    arguments = ["replay", str(bag), "--model", str(fast), "--fast-model", str(fast), "--workers", "1", "--resume"]
    assert main([*arguments, "--out", str(tmp_path / "out"), *given]) == 0
    assert "1 of 1 bags have their reports already" in capsys.readouterr().out
    assert main([*arguments, "--out", str(tmp_path / "out"), "--classes", str(described)]) == 0
    assert "have their reports already" not in capsys.readouterr().out


def test_an_id_that_is_none_of_the_truth_s_is_named_and_void_has_bounds(
    bag: Path, fast: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "few.yaml").write_text(json.dumps({"classes": ["Sky", "Building"]}))
    report = report_of(bag, fast, fast, tmp_path / "out", "--classes", str(tmp_path / "few.yaml"))
    assert any("has a truth with the class id 10, but the ids in " in line for line in report["bag"]["problems"])
    assert report["bag"]["problems"][-1].startswith("WARNING: these figures leave out 5 of 5 messages on /labels_truth")
    capsys.readouterr()
    replay = ["replay", str(bag), "--out", str(tmp_path / "no"), "--model", str(fast), "--fast-model", str(fast)]
    for command in (replay, ["bag", "make", "street", str(tmp_path / "made")]):
        assert main([*command, "--void", "-3"]) == 1
        assert "--void is -3; expected an id from 0 to 65535" in capsys.readouterr().err

"""A network of a user's own in the node, over real DDS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from foreign_networks import onnx_network
from node_setup import FakeCamera, NodeProcess, TestBench, own_namespace, running_node

BY_COLOUR = np.eye(3).reshape(3, 3, 1, 1)
METADATA = {"classes": ["red", "green", "blue"], "mean": [0, 0, 0], "std": [1, 1, 1]}


def test_labels_are_the_networks_own_and_what_it_ignores_is_unlabelled(tmp_path: Path) -> None:
    onnx_network(tmp_path / "x.onnx", METADATA, weights=BY_COLOUR)
    (tmp_path / "mine.yaml").write_text("source: x.onnx\nignore: [green]\n")
    frame = np.zeros((60, 90, 3), np.uint8)
    for stripe in range(3):
        frame[:, 30 * stripe : 30 * (stripe + 1), stripe] = 200
    namespace = own_namespace("foreign")
    parameters = {"device": "cpu", "model": str(tmp_path / "mine.yaml"), "propagation": "copy", "low_latency": False}
    with running_node(tmp_path / "log", namespace, parameters) as node:
        bench = TestBench(namespace)
        camera = FakeCamera(bench).connect()
        labels = camera.label_ids(camera.segment(frame, "rgb8"))
        bench.close()
        assert node.lines_with("2 classes")
    assert [int(labels[30, column]) for column in (15, 45, 75)] == [0, 255, 1]


def test_messages_tell_how_the_labels_came_about_and_what_they_are_worth(tmp_path: Path) -> None:
    """Two classes, since one alone teaches nothing: what is learned then stands in diagnostics too."""
    onnx_network(tmp_path / "x.onnx", METADATA, weights=BY_COLOUR)
    namespace = own_namespace("worth")
    parameters = {"device": "cpu", "model": str(tmp_path / "x.onnx"), "policy": "fixed_interval", "interval": 1}
    frame = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    with running_node(tmp_path / "log", namespace, parameters):
        bench = TestBench(namespace)
        camera = FakeCamera(bench).connect()
        messages = [camera.key_frames[camera.segment(frame)]]
        while not np.isfinite(messages[-1].classifier_agreement):
            messages.append(camera.key_frames[camera.segment(frame)])
        status = bench.status()
        bench.close()
    assert messages[0].unlabelled_reason == "no answer yet" and messages[-1].unlabelled_reason == ""
    assert {message.propagation for message in messages} == {status["propagation"]} == {"just_in_time"}
    assert np.isnan(messages[0].classifier_age_ms) and messages[-1].classifier_age_ms > 0
    assert 0 <= messages[-1].classifier_agreement <= 1 and 0 <= float(status["classifier agreement"]) <= 1
    assert float(status["classifier age (ms)"]) > 0 and status["unlabelled because"] == ""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x.onnx", "names no classes"),
        pytest.param("x.pt", "is not loaded: files of torch", marks=pytest.mark.slow),
        pytest.param("gone.yaml", "cannot be read", marks=pytest.mark.slow),
    ],
)
def test_a_model_that_cannot_be_used_ends_the_node_with_a_sentence(name: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"")
    onnx_network(tmp_path / "x.onnx", {})
    node = NodeProcess(tmp_path / "log", own_namespace("refused"), {"model": str(tmp_path / name), "device": "cpu"})
    assert node.wait_for_end() == 1
    assert len(node.lines_with(sentence)) == 1 and not node.lines_with("Traceback") and not node.lines_with("ready on")

"""SIGINT and SIGTERM end the node quietly and without leftovers, whatever it does; a bad start says why in a line."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
import torch
from node_setup import FakeCamera, NodeProcess, TestBench, own_namespace, ports_in_use, wait_until
from rclpy.parameter import Parameter
from stream_setup import moving_frames

from lowlat_seg_ros.errors import ParameterError
from lowlat_seg_ros.models.checkpoint import CheckpointError
from lowlat_seg_ros.ros.main import misplaced_argument
from lowlat_seg_ros.ros.node import SegmentationNode
from lowlat_seg_ros.ros.shared_memory import SHARED_MEMORY


def assert_ended_well(node: NodeProcess) -> None:
    assert node.wait_for_end() == 0, node.lines()
    assert not node.lines_with("Traceback") and not node.lines_with("Exception ignored"), node.lines()


def test_a_signal_while_the_node_starts_ends_it(tmp_path: Path, checkpoint: Path) -> None:
    node = NodeProcess(tmp_path / "log", own_namespace("starting"), {"model": checkpoint})
    maps = Path(f"/proc/{node.process.pid}/maps")
    wait_until(lambda: "libtorch" in maps.read_text(), "torch being imported")
    node.process.send_signal(signal.SIGINT)
    assert_ended_well(node)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_sh_runs_ends_the_node(tmp_path: Path, checkpoint: Path, number: signal.Signals) -> None:
    """At this size Sh takes a while, in the slow track, or in the callback where key frames wait for it."""
    namespace = own_namespace(number.name.lower())
    large = {"model": checkpoint, "input_size": [1024, 768], "policy": "fixed_interval", "interval": 1}
    in_slow_track = number == signal.SIGINT
    left_by_others = set(SHARED_MEMORY.iterdir())  # a port's file, of a node that was killed
    node = NodeProcess(tmp_path / "log", namespace, {**large, "low_latency": in_slow_track})
    bench = TestBench(namespace)
    try:
        node.wait_until_logged("ready on")
        camera = FakeCamera(bench).connect()
        first, second = moving_frames(2)
        camera.segment(first)
        if in_slow_track:
            camera.segment(second)  # its Sh is now in the slow track
        else:
            camera.send(second)  # Sh runs within the callback
        in_use = node.shared_memory() - left_by_others
        node.process.send_signal(number)
        assert_ended_well(node)
    finally:
        bench.close()
    assert in_use and not [file for file in in_use - ports_in_use() if file.exists()]


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"model": "/no/such/model"}, "there is no checkpoint at '/no/such/model'"),
        pytest.param(
            {"deviation_threshold": 7.5},
            "deviation_threshold is 7.5; expected a number with a decimal point ",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(tmp_path: Path, parameters: dict[str, Any], sentence: str) -> None:
    node = NodeProcess(tmp_path / "log", own_namespace("failing"), parameters)
    assert node.wait_for_end() == 1
    (line,) = node.lines()
    assert sentence in line and "[FATAL]" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--params-file", "/no/such/file.yaml"), "/no/such/file.yaml"),
        (("-p", "use_sim_time:=maybe"), "use_sim_time"),
        (("-r", "__node:=no-name"), "no-name"),
    ],
)
def test_arguments_that_ros_does_not_take_are_a_line_too(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    node = NodeProcess(tmp_path / "log", own_namespace("failing"), {}, arguments)
    assert node.wait_for_end() == 1
    assert not node.lines_with("Traceback"), node.lines()
    assert node.lines_with(words)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--ros-args image:=/x", "'image:=/x' stands without -r (a topic) or -p (a parameter); expected -r image:=/x"),
        ("image:=/x", "expected --ros-args -r image:=/x"),
        ("--loud", "'--loud' is no argument of seg_node"),
        ("--ros-args -r image:=/x --params-file a.yaml -p model:=b --log-level info --disable-stdout-logs", ""),
        ("--ros-args -r image:=/x -- --ros-args -p model:=b", ""),
        ("", ""),
    ],
)
def test_an_argument_that_ros_would_ignore_is_a_sentence(arguments: str, sentence: str) -> None:
    problem = misplaced_argument(["seg_node", *arguments.split()])
    assert sentence in problem and bool(sentence) == bool(problem)


@pytest.mark.parametrize(
    ("parameters", "error", "sentence"),
    [
        ({"device": "gpu"}, ParameterError, "device is 'gpu'; expected auto, cpu, cuda or cuda:N"),
        ({"policy": "never"}, ParameterError, "policy is 'never'"),
        ({"interval": 1.5}, ParameterError, "interval is 1.5; expected a whole number from 1 to 10000"),
        ({"cameras": ["a", "a"]}, ParameterError, "cameras contains 'a' more than once"),
        ({"cameras": "front"}, ParameterError, "cameras is 'front'; expected a list, each a string"),
        ({"class_names": ["a", "b"]}, ParameterError, "class_names has 2 entries; expected 11"),
        ({"low_latency": "yes"}, ParameterError, "low_latency is 'yes'; expected true or false"),
        ({"model": "nowhere"}, CheckpointError, "there is no checkpoint at 'nowhere'"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(
    checkpoint: Path, parameters: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with (
        _given({"model": str(checkpoint), "fast_track_threads": 1, **parameters}) as node,
        pytest.raises(error) as raised,
    ):
        node.start()
    assert sentence in str(raised.value)


def test_cuda_that_is_absent_is_an_error(checkpoint: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with _given({"model": str(checkpoint), "device": "cuda"}) as node, pytest.raises(ParameterError) as raised:
        node.start()
    assert "device is 'cuda'" in str(raised.value)


class _given:
    """A node in this process, not started, with parameters as from the command line."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._parameters = [Parameter(name, value=value) for name, value in parameters.items()]

    def __enter__(self) -> SegmentationNode:
        self._context = rclpy.Context()
        self._context.init(args=[])
        self._node = SegmentationNode(context=self._context, parameter_overrides=self._parameters)
        return self._node

    def __exit__(self, *_: object) -> None:
        self._node.stop()
        self._node.destroy_node()
        self._context.try_shutdown()

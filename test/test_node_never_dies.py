"""No message and no request ends the node: it is lost, counted, logged once with its traceback, and told. Real DDS."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from node_setup import FakeCamera, NodeProcess, TestBench, own_namespace, wait_until
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from stream_setup import moving_frames

from lowlat_seg_ros.ros.boundary import MOST_IN_A_ROW, Fatal, Faults, spin_guarded
from lowlat_seg_ros.ros.declarations import BY_NAME
from lowlat_seg_ros.ros.guarded_node import GuardedNode

UNKNOWN_TYPE = ParameterMessage(name="interval", value=ParameterValue(type=200))
(PICTURE,) = moving_frames(1)


@pytest.fixture(scope="module")
def bench() -> Iterator[TestBench]:
    """It hears the node from its first word on."""
    bench = TestBench(own_namespace("faults"))
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, bench: TestBench) -> Iterator[NodeProcess]:
    """It ends with 0, but its log has the tracebacks that are wanted here."""
    parameters = {"model": checkpoint, "policy": "fixed_interval", "use_sim_time": True}
    process = NodeProcess(tmp_path_factory.mktemp("log") / "node.log", bench.namespace, parameters)
    bench.spin_until(lambda: bool(process.lines_with("ready on")) or process.process.poll() is not None, "ready")
    yield process
    assert process.end() == 0, process.lines()


def test_diagnostics_come_before_the_model_is_loaded(bench: TestBench, node: NodeProcess) -> None:
    (first,) = bench.diagnostics[0].status
    assert first.name.endswith("/lowlat_seg: node")
    assert first.message.startswith(("Node starting up", "Node configuring"))


@pytest.fixture(scope="module")
def camera(bench: TestBench) -> FakeCamera:
    return FakeCamera(bench).connect()


def faults(bench: TestBench) -> int:
    return int(bench.status("node")["faults"])


@pytest.mark.parametrize("service", [SetParameters, SetParametersAtomically])
def test_requests_that_rclpy_raises_on_are_refused_and_counted(
    camera: FakeCamera, bench: TestBench, node: NodeProcess, service: Any
) -> None:
    """More of them than there may be of the executor's own errors in a row."""
    before = faults(bench)
    good = rclpy.parameter.Parameter("interval", value=7).to_parameter_msg()
    name = "set_parameters" if service is SetParameters else "set_parameters_atomically"
    for _ in range(MOST_IN_A_ROW + 1):
        response = bench._call(service, name, service.Request(parameters=[good, UNKNOWN_TYPE, good]))
    results = response.results if service is SetParameters else [response.result]
    assert [result.successful for result in results] == ([True, False, False] if service is SetParameters else [False])
    assert "200" in results[-1].reason
    assert faults(bench) == before + MOST_IN_A_ROW + 1
    assert len(node.lines_with(f"a request to lowlat_seg/{name} was lost")) <= 2
    camera.segment(PICTURE)


ANY_VALUES = (
    *(ParameterValue(type=1, bool_value=value) for value in (True, False)),
    *(ParameterValue(type=2, integer_value=value) for value in (-(2**63), -5, 1, 2**63 - 1)),
    *(ParameterValue(type=3, double_value=value) for value in (0.5, -0.5, 1e300, math.nan, math.inf)),
    *(ParameterValue(type=4, string_value=value) for value in ("", "x", "\x1b[31m\n" * 5000)),
    ParameterValue(type=5, byte_array_value=[b"a"]),
    *(ParameterValue(type=7, integer_array_value=value) for value in ([], [-1, 2**62])),
    *(ParameterValue(type=8, double_array_value=value) for value in ([], [math.nan])),
    *(ParameterValue(type=9, string_array_value=value) for value in ([], ["a", "a"], ["\x1b" * 1000])),
    ParameterValue(type=0),
)


def test_every_parameter_takes_any_value_or_says_why_not(
    node: NodeProcess, camera: FakeCamera, bench: TestBench
) -> None:
    before = dict(zip(BY_NAME, bench.parameters(*BY_NAME), strict=True))
    for name in BY_NAME:
        request = SetParameters.Request(parameters=[ParameterMessage(name=name, value=each) for each in ANY_VALUES])
        results = bench._call(SetParameters, "set_parameters", request).results
        reasons = [result.reason for result in results if not result.successful]
        assert len(results) == len(ANY_VALUES) and reasons
        assert all(name in reason and reason.isprintable() and len(reason) < 700 for reason in reasons), reasons
        taken = [each for each, result in zip(ANY_VALUES, results, strict=True) if result.successful]
        if taken:
            newest = ParameterMessage(name=name, value=taken[-1])
            assert bench.parameters(name) == [rclpy.parameter.Parameter.from_parameter_msg(newest).value]
        else:
            assert bench.parameters(name) == [before[name]]
        camera.segment(PICTURE)
    run_time = {name: before[name] for name, each in BY_NAME.items() if each.changes_at_run_time}
    assert bench.set_parameters(**run_time).successful
    assert not node.lines_with("\x1b")


def test_a_negative_clock_costs_that_clock(camera: FakeCamera, bench: TestBench, node: NodeProcess) -> None:
    before = faults(bench)
    clock = bench.node.create_publisher(Clock, "/clock", 10)
    message = Clock()
    message.clock.sec = -1

    def is_counted() -> bool:
        clock.publish(message)
        return faults(bench) > before

    bench.spin_until(is_counted, "the fault")
    assert node.lines_with("a message on /clock was lost") and node.lines_with("Traceback")
    assert bench.status("node")["level"] in ("0", "1")
    told = camera.key_frames[camera.segment(PICTURE)]
    assert math.isnan(told.age_ms), "simulated time has not begun"


def test_a_flood_of_long_encodings_writes_little_and_is_counted(
    camera: FakeCamera, bench: TestBench, node: NodeProcess
) -> None:
    before, size = bench.status(), node.log.stat().st_size
    for number in range(60):
        camera.send(PICTURE, f"\x1b[31m\n{number}" + "x" * 200_000)
        bench.executor.spin_once(timeout_sec=0.03)
    camera.segment(PICTURE)
    bench.spin_until(lambda: lost(bench.newest_status("image")) == lost(before) + 60, "the account of all 60")
    assert node.log.stat().st_size - size < 10_000
    log = node.log.read_text()
    assert "\x1b[31m" not in log and "\\x1b[31m\\n" in log
    assert all(len(line) < 1000 for line in node.lines())


def lost(status: dict[str, str]) -> int:
    return int(status["images refused"]) + int(status["images dropped"])


# --- in this process, where callbacks can be made to fail ------------------------------------------------------------


@pytest.fixture
def guarded() -> Iterator[tuple[GuardedNode, SingleThreadedExecutor, list[str]]]:
    context = rclpy.Context()
    context.init(args=[])
    node = GuardedNode("guarded", namespace=own_namespace("guarded"), context=context)
    log: list[str] = []
    node.faults = Faults(log.append)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield node, executor, log
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()


def raising(kind: type[Exception], counter: list[int]) -> Callable[..., None]:
    def callback(*arguments: Any, **options: Any) -> None:
        counter.append(1)
        raise kind("on purpose")

    return callback


@pytest.mark.parametrize("kind", [ValueError, MemoryError, AssertionError, TypeError])
def test_a_callback_that_raises_is_called_again(guarded: Any, kind: type[Exception]) -> None:
    node, executor, log = guarded
    calls: list[int] = []
    node.create_timer(0.001, raising(kind, calls))
    spin_guarded(executor, node.faults, lambda: len(calls) >= 2 * MOST_IN_A_ROW)
    assert node.faults.count == len(calls)
    assert sum("Traceback" in line for line in log) == 1
    assert f"a timer's turn was lost: {kind.__name__}: on purpose" in log[0]


def test_what_must_end_the_process_passes_every_boundary(guarded: Any) -> None:
    node, executor, _ = guarded
    node.create_timer(0.001, raising(Fatal, []))
    with pytest.raises(Fatal, match="on purpose"):
        spin_guarded(executor, node.faults, lambda: False)


def test_the_same_error_of_the_executor_ends_it_after_a_hundred_in_a_row(guarded: Any) -> None:
    node, executor, log = guarded
    calls: list[int] = []
    executor.spin_once = raising(RuntimeError, calls)
    with pytest.raises(Fatal, match="the same error came 100 times in a row: RuntimeError: on purpose"):
        spin_guarded(executor, node.faults, lambda: False)
    assert len(calls) == node.faults.count == MOST_IN_A_ROW
    assert len(log) == 2, "once with its traceback, once again, and then only now and then"


def test_errors_of_the_executor_that_are_not_in_a_row_do_not_end_it(guarded: Any) -> None:
    node, executor, _ = guarded
    turns: list[float] = []

    def spin_once(timeout_sec: float) -> None:
        turns.append(timeout_sec)
        if len(turns) % MOST_IN_A_ROW:
            raise RuntimeError("no memory")

    executor.spin_once = spin_once
    spin_guarded(executor, node.faults, lambda: len(turns) > 3 * MOST_IN_A_ROW)
    assert node.faults.count > 2 * MOST_IN_A_ROW


def test_the_loss_of_ros_context_ends_it(guarded: Any) -> None:
    node, executor, _ = guarded
    node.create_timer(0.001, lambda: node.context.try_shutdown())
    with pytest.raises(Fatal, match="context"):
        spin_guarded(executor, node.faults, lambda: False)


def test_another_node_of_the_name_is_told(bench: TestBench, camera: FakeCamera, node: NodeProcess) -> None:
    other = Node("lowlat_seg", namespace=bench.namespace, context=bench.context)
    bench.spin_until(lambda: "another node is called" in bench.status("node")["message"], "a warning")
    assert len(node.lines_with("another node is called")) == 1
    other.destroy_node()
    bench.spin_until(lambda: "another node" not in bench.status("node")["message"], "its end")


# --- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_closed_standard_output_does_not_keep_it_from_ending_well(tmp_path: Path, checkpoint: Path) -> None:
    command = f"exec {sys.executable} -m lowlat_seg_ros.ros.main --ros-args -p model:={checkpoint} >&-"
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(["bash", "-c", command], stderr=output)
    wait_until(lambda: b"ready on" in log.read_bytes() or process.poll() is not None, "ready")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert b"Traceback" not in log.read_bytes()


@pytest.mark.slow
def test_a_signal_at_any_moment_of_the_imports_ends_it_quietly(tmp_path: Path, checkpoint: Path) -> None:
    for number in range(16):
        node = NodeProcess(tmp_path / "log", own_namespace("imports"), {"model": checkpoint})
        time.sleep(0.15 * (number + 1))
        ended = node.end(signal.SIGTERM)
        assert ended in (0, -signal.SIGTERM), "the latter where Python itself is still starting"
        assert not node.lines_with("Traceback") and not node.lines_with("Exception ignored"), node.lines()

"""The lifecycle over real DDS: without autostart, with a configuration that fails, and under load."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_setup import PATIENCE, FakeCamera, NodeProcess, TestBench, own_namespace, running_node, wait_until
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool
from stream_setup import moving_frames

FRAMES = moving_frames(3)


@pytest.fixture(scope="module")
def bench() -> Iterator[TestBench]:
    bench = TestBench(own_namespace("lifecycle"))
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, bench: TestBench) -> Iterator[NodeProcess]:
    parameters = {"model": "/no/such/model", "autostart": False, "policy": "fixed_interval"}
    process = NodeProcess(tmp_path_factory.mktemp("log") / "log", bench.namespace, parameters)
    yield process
    assert process.end() == 0, process.lines()
    assert not process.lines_with("Traceback"), process.log.read_text()


@pytest.fixture(scope="module")
def camera(bench: TestBench) -> FakeCamera:
    return FakeCamera(bench)


def state(bench: TestBench) -> str:
    return str(bench._call(GetState, "get_state", GetState.Request()).current_state.label)


def change(bench: TestBench, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return bool(bench._call(ChangeState, "change_state", request).success)


def enable(bench: TestBench, data: bool) -> SetBool.Response:
    return bench._call(SetBool, "enable", SetBool.Request(data=data))


@contextmanager
def load(camera: FakeCamera) -> Iterator[None]:
    """Images 30 times a second, whatever the node does."""
    is_over = threading.Event()

    def send() -> None:
        number = 0
        while not is_over.wait(1 / 30):
            camera.send(FRAMES[number % len(FRAMES)])
            number += 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def is_labelled_anew(camera: FakeCamera) -> None:
    camera.labels.clear()
    camera.bench.spin_until(lambda: bool(camera.labels), "labels")


def test_the_lifecycle_under_load(bench: TestBench, node: NodeProcess, camera: FakeCamera, checkpoint: Path) -> None:
    with load(camera):
        assert state(bench) == "unconfigured"
        response = enable(bench, True)
        assert not response.success and response.message == "the node is unconfigured"

        assert not change(bench, Transition.TRANSITION_CONFIGURE)
        assert state(bench) == "unconfigured"
        assert len(node.lines_with("configuring failed: there is no checkpoint at '/no/such/model'")) == 1
        failed = bench.status("node")
        assert failed["level"] == "2" and "/no/such/model" in failed["message"]

        assert bench.set_parameters(model=str(checkpoint)).successful, "it can be changed while unconfigured"
        assert change(bench, Transition.TRANSITION_CONFIGURE)
        assert state(bench) == "inactive"
        assert bench.status("node")["level"] == "0"
        assert bench.status("image")["message"] == "inactive: no images are taken"
        assert not bench.set_parameters(model="other").successful
        classes = bench.parameters("class_names")

        assert change(bench, Transition.TRANSITION_ACTIVATE)
        is_labelled_anew(camera)
        for _ in range(5):
            assert enable(bench, False).success and state(bench) == "inactive"
            assert enable(bench, False).success, "it is what was asked for already"
            assert enable(bench, True).success and state(bench) == "active"
            is_labelled_anew(camera)
        assert not change(bench, Transition.TRANSITION_CONFIGURE), "there is no such way"
        assert bench.status("node")["faults"] == "0"
        assert bench.status("image")["stream restarts"] == "0"

        assert change(bench, Transition.TRANSITION_DEACTIVATE)
        assert change(bench, Transition.TRANSITION_CLEANUP)
        assert state(bench) == "unconfigured" and bench.parameters("class_names") == [[""]] != classes
        assert change(bench, Transition.TRANSITION_CONFIGURE) and change(bench, Transition.TRANSITION_ACTIVATE)
        is_labelled_anew(camera)


def test_images_of_an_inactive_node_are_not_lost(bench: TestBench, camera: FakeCamera) -> None:
    """Whoever deactivates a node does not want to be told that it loses images."""
    lost = camera.connect().key_frames[camera.segment(FRAMES[0])].frames_dropped
    assert enable(bench, False).success
    for _ in range(20):
        camera.send(FRAMES[1])
    assert enable(bench, True).success
    camera.connect()
    labelled = camera.key_frames[camera.segment(FRAMES[2])]
    assert (labelled.frames_dropped, labelled.key_reason) == (lost, "first frame")


def test_a_node_that_is_shut_down_waits_for_its_end(bench: TestBench, node: NodeProcess, camera: FakeCamera) -> None:
    with load(camera):
        assert change(bench, Transition.TRANSITION_ACTIVE_SHUTDOWN)
        assert state(bench) == "finalized"
        assert not enable(bench, True).success
    assert node.process.poll() is None


def test_what_cannot_be_configured_or_activated_leaves_no_half_of_it(tmp_path: Path, checkpoint: Path) -> None:
    """A value that cannot be used can be set; an override that cannot keeps both cameras from being subscribed to."""
    bench = TestBench(own_namespace("halves"))
    parameters = {
        "model": checkpoint,
        "autostart": False,
        "cameras": "[front, rear]",
        "interval": 0,
        f"qos_overrides.{bench.namespace}/rear/image.subscription.reliability": "perhaps",
    }
    process = NodeProcess(tmp_path / "log", bench.namespace, parameters)
    try:
        publisher = bench.node.create_publisher(Image, "front/image", 1)
        assert not change(bench, Transition.TRANSITION_CONFIGURE)
        assert process.lines_with("configuring failed: interval is 0; expected")
        assert not process.lines_with("there is no parameter")
        assert bench.set_parameters(interval=5).successful
        assert change(bench, Transition.TRANSITION_CONFIGURE)
        for _ in range(2):
            assert not change(bench, Transition.TRANSITION_ACTIVATE)
            assert bench.status("node")["level"] == "2"
            told = [bench.status(f"{name}/image")["message"] for name in ("front", "rear")]
            assert told == 2 * ["inactive: no images are taken"] and publisher.get_subscription_count() == 0
        assert change(bench, Transition.TRANSITION_CLEANUP)
        assert (bench.status("node")["level"], bench.status("node")["message"]) == ("0", "unconfigured")
        assert process.end() == 0
        assert not process.lines_with("Traceback")
    finally:
        process.process.kill()
        process.process.wait()
        bench.close()


def test_a_node_says_that_it_is_ready_at_any_log_level(tmp_path: Path, checkpoint: Path) -> None:
    """The launch file starts one that was ready again when it dies."""
    with running_node(
        tmp_path / "log", own_namespace("quiet"), {"model": checkpoint}, ("--log-level", "error")
    ) as node:
        assert not node.lines_with("[INFO]")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ros2") is None, reason="needs `ros2 lifecycle`: a ROS 2 from apt")
def test_the_command_line_takes_the_node_through_its_lifecycle(tmp_path: Path, checkpoint: Path) -> None:
    namespace = own_namespace("command_line")
    process = NodeProcess(tmp_path / "log", namespace, {"model": checkpoint, "autostart": False})

    def ros2(verb: str, *transition: str) -> str:
        command = ["ros2", "lifecycle", verb, "--no-daemon", "--spin-time", "5", f"{namespace}/lowlat_seg", *transition]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout + done.stderr

    try:
        wait_until(lambda: "unconfigured" in ros2("get"), "the node's state")
        for transition, reached in (
            ("configure", "inactive"),
            ("activate", "active"),
            ("deactivate", "inactive"),
            ("cleanup", "unconfigured"),
            ("shutdown", "finalized"),
        ):
            assert "Transitioning successful" in ros2("set", transition)
            assert ros2("get").startswith(reached)
        assert process.end() == 0
    finally:
        process.process.kill()
        process.process.wait()

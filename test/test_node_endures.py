"""What a node meets in a year on a vehicle: configured again and again, listeners that come, go and hang. Real DDS."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("rclpy")

import numpy as np
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_setup import FakeCamera, NodeProcess, TestBench, own_namespace, running_node
from sensor_msgs.msg import Image
from stream_setup import moving_frames

pytestmark = pytest.mark.slow
(PICTURE,) = moving_frames(1)
CYCLE = (
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_ACTIVATE,
    Transition.TRANSITION_DEACTIVATE,
    Transition.TRANSITION_CLEANUP,
)

HANGING_LISTENER = """
import sys, rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("hanging")
told = []
def tell(message):
    if not told:
        print("heard", flush=True)
    told.append(True)
node.create_subscription(Image, sys.argv[1], tell, QoSProfile(depth=5, reliability=ReliabilityPolicy[sys.argv[2]]))
rclpy.spin(node)
"""


class Held(NamedTuple):
    """What a process holds."""

    threads: int
    files: int
    mebibytes: float


def held_by(process: int) -> Held:
    folder = Path(f"/proc/{process}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    files = len(list((folder / "fd").iterdir()))
    return Held(int(status["Threads"]), files, int(status["RssAnon"].split()[0]) / 1024)


@pytest.fixture
def bench() -> Iterator[TestBench]:
    bench = TestBench(own_namespace("endures"))
    yield bench
    bench.close()


def change(bench: TestBench, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return bool(bench._call(ChangeState, "change_state", request).success)


@pytest.mark.timeout(600)
def test_twenty_configurations_leave_nothing_behind(tmp_path: Path, checkpoint: Path, bench: TestBench) -> None:
    node = NodeProcess(tmp_path / "log", bench.namespace, {"model": checkpoint, "autostart": False})
    held = []
    try:
        camera = FakeCamera(bench)
        for _ in range(20):
            for transition in CYCLE:
                assert change(bench, transition)
                if transition == Transition.TRANSITION_ACTIVATE:
                    camera.connect().segment(PICTURE)
            held.append(held_by(node.process.pid))
        assert node.end() == 0 and not node.lines_with("Traceback"), node.lines()
    finally:
        node.process.kill()
        node.process.wait()
    settled, last = held[9], held[-1]
    assert (last.threads, last.files) == (settled.threads, settled.files), held
    assert last.mebibytes < settled.mebibytes + 10, held  # a lost copy of the shipped model alone is 30 MB


@pytest.mark.timeout(600)
def test_a_signal_at_any_moment_of_configuring_ends_it_well(tmp_path: Path, bench: TestBench) -> None:
    """With the shipped model, so that there is something to be interrupted in."""
    chance = random.Random(15)
    for _ in range(8):
        node = NodeProcess(tmp_path / "log", bench.namespace, {"autostart": False, "device": "cpu"})
        client = bench.node.create_client(ChangeState, f"{bench.namespace}/lowlat_seg/change_state")
        bench.spin_until(client.service_is_ready, "the lifecycle")
        client.call_async(ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE)))
        end = time.monotonic() + 5 * chance.random()
        bench.spin_until(lambda end=end: time.monotonic() > end, "the moment")  # type: ignore[misc]
        assert node.end(chance.choice((signal.SIGINT, signal.SIGTERM))) == 0, node.lines()
        assert not node.lines_with("Traceback") and not node.lines_with("Exception ignored"), node.lines()
        bench.node.destroy_client(client)


@pytest.mark.timeout(600)
def test_listeners_come_and_go_and_hang(tmp_path: Path, checkpoint: Path, bench: TestBench) -> None:
    large = np.zeros((1080, 1920, 3), np.uint8)
    with running_node(tmp_path / "log", bench.namespace, {"model": checkpoint, "fast_track_threads": 1}) as node:
        camera = FakeCamera(bench).connect()
        topics = [f"lowlat_seg/{name}" for name in ("labels", "color", "overlay", "confidence")]
        for _ in range(100):
            each = [bench.node.create_subscription(Image, topic, lambda message: None, 1) for topic in topics]
            camera.send(PICTURE)
            bench.executor.spin_once(timeout_sec=0.01)
            for subscription in each:
                bench.node.destroy_subscription(subscription)
        crowd = [bench.node.create_subscription(Image, topics[0], lambda message: None, 1) for _ in range(200)]
        camera.segment(PICTURE)
        for subscription in crowd:
            bench.node.destroy_subscription(subscription)
        for reliability in ("RELIABLE", "BEST_EFFORT"):
            arguments = [f"{bench.namespace}/{topics[0]}", reliability]
            command = [sys.executable, "-c", HANGING_LISTENER, *arguments]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
                try:
                    while bench.newest_status("image")["labels subscribers"] != "2":
                        camera.segment(large)
                    listener.send_signal(signal.SIGSTOP)
                    for _ in range(60):
                        camera.segment(large)
                finally:
                    listener.kill()
        assert bench.status("node")["faults"] == "0"
        assert bench.status("node")["level"] == "0", node.lines()

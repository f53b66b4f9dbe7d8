"""What node tests need: the node as a process, and a camera and a listener of its own domain in the test's process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lowlat_seg_ros.msg import KeyFrameDiagnostics
from numpy.typing import NDArray
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import GetParameters, SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lowlat_seg_ros.ros.conversions import image_message, nanoseconds, stamp_of

PATIENCE = 120.0  # seconds until a test that waits for a condition fails
KEEP_ALL = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
STEP = 50_000_000  # nanoseconds from frame to frame


class NodeProcess:
    """`seg_node` as `ros2 run` starts it, its log in a file."""

    def __init__(self, log: Path, namespace: str, parameters: dict[str, Any], more: tuple[str, ...] = ()) -> None:
        self.log = log
        given = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
        command = ["-m", "lowlat_seg_ros.ros.main", "--ros-args", "-r", f"__ns:={namespace}", *given, *more]
        with log.open("wb") as output:
            self.process = subprocess.Popen([sys.executable, *command], stdout=output, stderr=subprocess.STDOUT)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def lines_with(self, words: str) -> list[str]:
        return [line for line in self.lines() if words in line]

    def wait_until_logged(self, words: str) -> None:
        wait_until(lambda: bool(self.lines_with(words)) or self.process.poll() is not None, f"the log line {words!r}")
        assert self.lines_with(words), self.lines()

    def shared_memory(self) -> set[Path]:
        """The files of Fast DDS that the process uses now, its own and those of whom it talks to."""
        return shared_memory_of(self.process.pid)

    def wait_for_end(self) -> int:
        return self.process.wait(PATIENCE)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait_for_end()


def shared_memory_of(process: int) -> set[Path]:
    """The files of Fast DDS that a process has mapped; none where it has ended."""
    with suppress(OSError):
        maps = Path(f"/proc/{process}/maps").read_text()
        return {Path(path) for path in re.findall(r"/dev/shm/\S*fast(?:dds|rtps)\S*", maps)}
    return set()


def ports_in_use() -> set[Path]:
    """The files of the ports at which any process is listening now: some belong to all of a domain."""
    processes = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    mapped = set().union(*map(shared_memory_of, processes))
    return {file for file in mapped if "_port" in file.name}


@contextmanager
def running_node(
    log: Path, namespace: str, parameters: dict[str, Any], more: tuple[str, ...] = ()
) -> Iterator[NodeProcess]:
    """The node, ready; it has to end well."""
    node = NodeProcess(log, namespace, parameters, more)
    try:
        node.wait_until_logged("ready on")
        yield node
        assert node.end() == 0, node.lines()
        assert not node.lines_with("Traceback"), node.lines()
    finally:
        node.process.kill()
        node.process.wait()


class TestBench:
    """A ROS node in the test's process: sends images, hears what comes back, asks for parameters."""

    __test__ = False  # no test class, whatever pytest makes of its name

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.context = rclpy.Context()
        self.context.init(args=[])
        self.node = Node("test_bench", namespace=namespace, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.diagnostics: list[DiagnosticArray] = []
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if any(status.name.startswith(f"{self.namespace}/") for status in message.status):
            self.diagnostics.append(message)

    def spin_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come within {PATIENCE:g} seconds"
            self.executor.spin_once(timeout_sec=0.05)

    def status(self, topic: str = "image") -> dict[str, str]:
        """The next diagnostics of the camera of that topic, its level and message among the values."""
        self.diagnostics.clear()
        return self.newest_status(topic)

    def newest_status(self, topic: str) -> dict[str, str]:
        """The newest diagnostics of that camera that have come, or of the node itself; waits where none has."""
        ending = ": node" if topic == "node" else f"{self.namespace}/{topic}"

        def statuses() -> list[DiagnosticStatus]:
            told = self.diagnostics[-1].status if self.diagnostics else []
            return [status for status in told if status.name.endswith(ending)]

        self.spin_until(lambda: bool(statuses()), "diagnostics")
        (status,) = statuses()
        values = {pair.key: pair.value for pair in status.values}
        return {**values, "level": str(status.level[0]), "message": status.message, "hardware_id": status.hardware_id}

    def set_parameters(self, **values: Any) -> SetParametersResult:
        request = SetParametersAtomically.Request()
        request.parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        return self._call(SetParametersAtomically, "set_parameters_atomically", request).result

    def parameters(self, *names: str) -> list[Any]:
        answer = self._call(GetParameters, "get_parameters", GetParameters.Request(names=list(names)))
        return [Parameter.from_parameter_msg(_parameter_message(value)).value for value in answer.values]

    def _call(self, service: Any, name: str, request: Any) -> Any:
        client = self.node.create_client(service, f"{self.namespace}/lowlat_seg/{name}")
        self.spin_until(client.service_is_ready, f"the service {name}")
        future = client.call_async(request)
        self.spin_until(future.done, f"an answer of {name}")
        self.node.destroy_client(client)
        return future.result()

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


def _parameter_message(value: Any) -> Any:
    from rcl_interfaces.msg import Parameter as ParameterMessage

    return ParameterMessage(name="any", value=value)


class FakeCamera:
    """One camera's topics at a test bench: images out, labels and key frame messages in, by stamp."""

    def __init__(self, bench: TestBench, name: str = "") -> None:
        self.bench = bench
        self.image_topic = f"{name}/image" if name else "image"
        self._outputs = f"lowlat_seg/{name}" if name else "lowlat_seg"
        self.labels: dict[int, Image] = {}
        self.key_frames: dict[int, KeyFrameDiagnostics] = {}
        self.overlays: dict[int, Image] = {}
        self._overlay_subscription: Subscription | None = None
        self.stamp = 1_000 * 1_000_000_000
        node = bench.node
        self._publisher = node.create_publisher(Image, self.image_topic, KEEP_ALL)
        self._listening: list[Subscription] = []
        self.listen()

    @property
    def subscriber_count(self) -> int:
        return self._publisher.get_subscription_count()

    def connect(self) -> FakeCamera:
        """Wait until node and bench have found each other at every topic, seen from both ends."""
        ends = ("image publishers", "labels subscribers", "keyframe subscribers")
        self.bench.spin_until(lambda: self.subscriber_count > 0, "a subscriber")
        self.bench.spin_until(
            lambda: all(self.bench.newest_status(self.image_topic)[end] != "0" for end in ends), "all connections"
        )
        return self

    def listen(self) -> None:
        create, outputs = self.bench.node.create_subscription, self._outputs
        self._listening = [
            create(Image, f"{outputs}/labels", _by_stamp(self.labels), KEEP_ALL),
            create(KeyFrameDiagnostics, f"{outputs}/keyframe", _by_stamp(self.key_frames), KEEP_ALL),
        ]

    def stop_listening(self) -> None:
        for subscription in self._listening:
            self.bench.node.destroy_subscription(subscription)

    def stop_sending(self) -> None:
        self.bench.node.destroy_publisher(self._publisher)

    def start_sending(self) -> None:
        self._publisher = self.bench.node.create_publisher(Image, self.image_topic, KEEP_ALL)

    def listen_to_overlay(self) -> None:
        topic = f"{self._outputs}/overlay"
        self._overlay_subscription = self.bench.node.create_subscription(
            Image, topic, _by_stamp(self.overlays), KEEP_ALL
        )

    def stop_listening_to_overlay(self) -> None:
        assert self._overlay_subscription is not None
        self.bench.node.destroy_subscription(self._overlay_subscription)

    def send(self, pixels: NDArray[np.uint8], encoding: str = "rgb8", **changes: Any) -> int:
        """Send an image, `changes` replacing fields of its message; returns its stamp. Does not wait."""
        self.stamp += STEP
        stamp = changes.pop("stamp", self.stamp)
        header = Header(stamp=stamp_of(stamp), frame_id="front_camera")
        message = image_message(pixels, encoding, header)
        for name, value in changes.items():
            setattr(message, name, value)
        self._publisher.publish(message)
        return stamp

    def segment(self, pixels: NDArray[np.uint8], encoding: str = "rgb8", **changes: Any) -> int:
        """Send an image and wait for its labels and its key frame message; returns its stamp."""
        stamp = changes.get("stamp")
        for each in (self.labels, self.key_frames):
            each.pop(stamp, None) if stamp is not None else None
        sent = self.send(pixels, encoding, **changes)
        self.bench.spin_until(lambda: sent in self.labels and sent in self.key_frames, f"labels for {sent}")
        return sent

    def label_ids(self, stamp: int) -> NDArray[np.uint8]:
        message = self.labels[stamp]
        return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)


def _by_stamp(messages: dict[int, Any]) -> Callable[[Any], None]:
    def add(message: Any) -> None:
        messages[nanoseconds(message.header.stamp)] = message

    return add


def children_of(process: int | str) -> set[str]:
    """The processes that one has started, by their ids, dead ones that nobody waited for included."""
    children: set[str] = set()
    for task in Path(f"/proc/{process}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread may end between being listed and being read
            children.update((task / "children").read_text().split())
    return children


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {PATIENCE:g} seconds"
        time.sleep(0.02)


def own_namespace(name: str) -> str:
    """Topics of one test's own, should another test or another program share the domain."""
    return f"/{name}_{os.getpid()}"

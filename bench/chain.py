"""A camera, what segments its images, and who hears the labels: three processes over DDS, played to when it is time."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import rclpy
from lowlat_seg_ros.demo.child_process import ChildProcess
from lowlat_seg_ros.demo.performance import SECONDS_TO_START, SECONDS_WITHOUT_PROGRESS
from lowlat_seg_ros.demo.recorder import Recorder, Recording
from lowlat_seg_ros.msg import KeyFrameDiagnostics
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from bench.process_memory import cpu_seconds, resident_mebibytes
from lowlat_seg_ros.demo import DemoError
from lowlat_seg_ros.ros.conversions import nanoseconds

SECONDS_FOR_STRAGGLERS: Final = 1.0
"""What the last frames of a play get to come back; the newest of them may have been lost."""

NODE: Final = "lowlat_seg_ros.ros.main"
FLOOR: Final = "bench.floor_node"
STAGES: Final = ("low", "schedule", "propagate", "labels")
"""The network's own, resizing and enlarging included; the rest of a frame's way is overhead."""


@dataclass
class Arrivals(Recording):
    """When the labels of each image arrived, by its stamp; the labels themselves are let go."""

    labels_at: dict[int, int] = field(default_factory=dict)  # nanoseconds of the system's clock, as stamps are

    def add_labels(self, message: Image) -> None:
        self.labels_at[nanoseconds(message.header.stamp)] = time.time_ns()

    @property
    def labelled_count(self) -> int:
        return len(self.labels_at)

    def has_all_of(self, stamp: int) -> bool:
        return stamp in self.labels_at and stamp in self.key_frames


class FrameWay(NamedTuple):
    """What became of one image that was sent."""

    stamp: int  # nanoseconds: when it was due
    labels_at: int | None  # nanoseconds; None where no labels came
    message: KeyFrameDiagnostics | None

    @property
    def end_to_end_ms(self) -> float:
        """From the time it was due to its labels' arrival in the listener's callback."""
        assert self.labels_at is not None
        return (self.labels_at - self.stamp) / 1e6

    @property
    def network_ms(self) -> float:
        return float(sum(getattr(self.message, f"{stage}_ms") for stage in STAGES))

    @property
    def overhead_ms(self) -> float:
        """All that is not the network: transport both ways, waiting, decoding, publishing."""
        return self.end_to_end_ms - self.network_ms


@dataclass(frozen=True)
class Play:
    """One turn of a chain: the ways of its images, for each topic, and what the segmenting process took."""

    ways: list[list[FrameWay]]
    counted_as_lost: int  # by the node, over all topics
    put_off_ms: float  # how much the camera fell behind its own pace
    cpu_share: float  # of one core
    resident_mebibytes: float

    @property
    def all_ways(self) -> list[FrameWay]:
        return [way for topic in self.ways for way in topic]


@dataclass(frozen=True)
class ChainOptions:
    """What a chain is made of."""

    name: str  # of its own, a ROS name
    module: str  # NODE or FLOOR
    cameras: int = 1
    parameters: tuple[str, ...] = ()  # "name:=value", of the node


class Camera(NamedTuple):
    """A process that plays a clip to all topics of a chain, and what it says."""

    process: ChildProcess
    events: queue.SimpleQueue[dict[str, Any]]


class Chain:
    """The processes of one chain. Everything is started at once; `wait_until_connected` before the first play."""

    def __init__(self, options: ChainOptions, listener: Node, logs: Path) -> None:
        """``listener``: this process's own node; its namespace is the bench's."""
        self.options = options
        self._listener = listener
        self._logs = logs
        self._namespace = f"{listener.get_namespace()}/{options.name}"
        node = "floor" if options.module == FLOOR else "lowlat_seg"
        names = [f"camera_{number}" for number in range(options.cameras)] if options.cameras > 1 else [""]
        self.topics = [f"{name}/image" if name else "image" for name in names]
        self._parameters = list(options.parameters)
        if options.cameras > 1:
            self._parameters.append(f"cameras:=[{', '.join(names)}]")
        self.recordings = [Arrivals() for _ in names]
        self._recorders = [
            Recorder(
                listener,
                f"{self._namespace}/{topic}",
                "/".join(part for part in (self._namespace, node, name, "labels") if part),
                "/".join(part for part in (self._namespace, node, name, "keyframe") if part),
                recording,
            )
            for name, topic, recording in zip(names, self.topics, self.recordings, strict=True)
        ]
        self.cameras: dict[str, Camera] = {}
        self._children = ExitStack()
        self.segmenter = self._start_segmenter()

    def _start_segmenter(self) -> ChildProcess:
        given = [argument for parameter in self._parameters for argument in ("-p", parameter)]
        arguments = ["--ros-args", "-r", f"__ns:={self._namespace}", *given]
        return self._start(self.options.module, arguments, self.options.name)

    def _start(self, module: str, arguments: list[str], name: str) -> ChildProcess:
        return self._children.enter_context(ChildProcess(module, arguments, self._logs / f"{name}.log"))

    def add_camera(self, name: str, clip: Path, rate_hz: float, rounds: int) -> None:
        """Start a camera that plays ``clip`` ``rounds`` times at every turn."""
        topics = [argument for topic in self.topics for argument in ("--topic", topic)]
        play = ["--rate", str(rate_hz), "--rounds", str(rounds), "--in-memory", "--supervised"]
        arguments = [str(clip), *topics, *play, "--ros-args", "-r", f"__ns:={self._namespace}"]
        process = self._start("lowlat_seg_ros.ros.camera_player", arguments, f"{self.options.name}_{name}")
        events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(process.output, events), daemon=True).start()
        self.cameras[name] = Camera(process, events)

    @property
    def processes(self) -> list[ChildProcess]:
        return [self.segmenter, *(camera.process for camera in self.cameras.values())]

    def is_connected(self) -> bool:
        """Whether the segmenting process sees every camera and this process on every topic."""
        return all(self._sees_all(recorder) for recorder in self._recorders)

    def _sees_all(self, recorder: Recorder) -> bool:
        publishers = int(recorder.diagnostics.get("image publishers", "0"))
        return recorder.is_connected() and publishers == len(self.cameras)

    def close(self) -> None:
        """End all processes."""
        self._children.close()


def _read(lines: Iterable[str], events: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in lines:
        events.put(json.loads(line))


class Stage:
    """This process's node and executor, and the chains that are played on it."""

    def __init__(self, listener: Node, executor: SingleThreadedExecutor, logs: Path) -> None:
        self._listener = listener
        self._executor = executor
        self._logs = logs
        self.chains: dict[str, Chain] = {}

    def add(self, options: ChainOptions) -> Chain:
        chain = Chain(options, self._listener, self._logs)
        self.chains[options.name] = chain
        return chain

    def wait_until_connected(self) -> None:
        """Until all processes of all chains have found each other.

        Raises:
            DemoError: one of them ended, or it took too long.
        """
        deadline = time.monotonic() + SECONDS_TO_START
        while not all(chain.is_connected() for chain in self.chains.values()):
            if time.monotonic() > deadline:
                waiting = [name for name, chain in self.chains.items() if not chain.is_connected()]
                raise DemoError(f"{', '.join(waiting)} not connected within {SECONDS_TO_START:g} seconds")
            self._work()

    def play(self, chain: Chain, camera: str) -> Play:
        """One turn: the camera plays, the labels are awaited.

        Raises:
            DemoError: a process ended, or the camera sent nothing for SECONDS_WITHOUT_PROGRESS.
        """
        recordings = chain.recordings
        lost_before = sum(recording.dropped_count for recording in recordings)
        cpu_before, began = cpu_seconds(chain.segmenter.pid), time.monotonic()
        process, events = chain.cameras[camera]
        process.input.write("\n")
        process.input.flush()
        stamps, end = self._until_sent(events)
        cpu_share = (cpu_seconds(chain.segmenter.pid) - cpu_before) / (time.monotonic() - began)
        self._wait_for_stragglers(recordings, stamps[-1])
        return Play(
            ways=[_ways(recording, stamps) for recording in recordings],
            counted_as_lost=sum(recording.dropped_count for recording in recordings) - lost_before,
            put_off_ms=end["put_off"] / 1e6,
            cpu_share=cpu_share,
            resident_mebibytes=resident_mebibytes(chain.segmenter.pid),
        )

    def _until_sent(self, events: queue.SimpleQueue[dict[str, Any]]) -> tuple[list[int], dict[str, Any]]:
        """The stamps of all that the camera sent, and its last word."""
        stamps: list[int] = []
        last_sign = time.monotonic()
        while True:
            self._work()
            while not events.empty():
                event = events.get()
                last_sign = time.monotonic()
                if "stamp" not in event:
                    return stamps, event
                stamps.append(event["stamp"])
            if time.monotonic() - last_sign > SECONDS_WITHOUT_PROGRESS:
                raise DemoError(f"the camera sent nothing for {SECONDS_WITHOUT_PROGRESS:g} seconds")

    def _wait_for_stragglers(self, recordings: Sequence[Arrivals], last: int) -> None:
        deadline = time.monotonic() + SECONDS_FOR_STRAGGLERS
        while time.monotonic() < deadline and not all(recording.has_all_of(last) for recording in recordings):
            self._work()

    def _work(self) -> None:
        self._executor.spin_once(timeout_sec=0.05)
        for chain in self.chains.values():
            for process in chain.processes:
                process.require_alive()


def _ways(arrivals: Arrivals, stamps: Sequence[int]) -> list[FrameWay]:
    return [FrameWay(stamp, arrivals.labels_at.get(stamp), arrivals.key_frames.get(stamp)) for stamp in stamps]


@contextmanager
def stage(logs: Path) -> Iterator[Stage]:
    """A stage in a namespace of its own; every process on it has ended at the end."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    listener = rclpy.create_node("listener", namespace=f"/bench_{os.getpid()}")
    executor = SingleThreadedExecutor()
    executor.add_node(listener)
    made = Stage(listener, executor, logs)
    try:
        yield made
    finally:
        for chain in made.chains.values():
            chain.close()
        executor.shutdown()
        listener.destroy_node()
        rclpy.try_shutdown()

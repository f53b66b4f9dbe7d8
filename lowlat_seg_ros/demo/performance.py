"""The demo's performance: camera and node run, the recorder listens, a bar shows how far they are."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rclpy.executors import SingleThreadedExecutor
from tqdm import tqdm

from lowlat_seg_ros.demo import DemoError
from lowlat_seg_ros.demo.child_process import ChildProcess
from lowlat_seg_ros.demo.recorder import Recorder, Recording, recorder_node

SECONDS_TO_START: Final = 600.0
"""Loading torch takes minutes on a machine that others use. A process that ends before its time is noticed at once."""

SECONDS_WITHOUT_PROGRESS: Final = 60.0


@dataclass(frozen=True)
class PerformanceOptions:
    """What is played into what."""

    clip: str
    rate_hz: float | None
    model: str
    node_parameters: tuple[str, ...]  # "name:=value"
    log_folder: Path
    in_memory: bool  # the camera has its frames before it sends the first: drawing or reading them takes no core then


@dataclass(frozen=True)
class Performance:
    """What was sent and what came of it."""

    sent_stamps: list[int]  # nanoseconds, in order
    recording: Recording
    device: str
    threads: dict[str, int]  # of each track


def perform(options: PerformanceOptions, frame_count: int) -> Performance:
    """Play the clip into the node once.

    Raises:
        DemoError: a process ended before its time, or nothing happened for too long.
    """
    # A namespace of its own, so that neither another demo nor a vehicle's real topics in the same domain take part.
    namespace = f"/demo_{os.getpid()}"
    with recorder_node(namespace) as (own_node, executor), _node(options, namespace) as node:
        recorder = Recorder(own_node, f"{namespace}/image", "lowlat_seg/labels", "lowlat_seg/keyframe")
        with _camera(options, namespace) as camera:
            stage = _Stage(recorder, executor, (node, camera))
            stage.wait_until_connected()
            sent_stamps = stage.play(camera, frame_count)
            camera.input.close()
            camera.wait_for_success()
        node.interrupt()
        node.wait_for_success()
    threads = {track: int(recorder.diagnostics[f"{track}-track threads"]) for track in ("fast", "slow")}
    return Performance(sent_stamps, recorder.recording, recorder.device, threads)


def _node(options: PerformanceOptions, namespace: str) -> ChildProcess:
    parameters = (f"model:={options.model}", *options.node_parameters)
    ros_arguments = [argument for parameter in parameters for argument in ("-p", parameter)]
    return ChildProcess(
        "lowlat_seg_ros.ros.main",
        ["--ros-args", "-r", f"__ns:={namespace}", *ros_arguments],
        options.log_folder / "seg_node.log",
    )


def _camera(options: PerformanceOptions, namespace: str) -> ChildProcess:
    rate = [] if options.rate_hz is None else ["--rate", str(options.rate_hz)]
    return ChildProcess(
        "lowlat_seg_ros.ros.camera_player",
        [
            options.clip,
            "--supervised",
            *(["--in-memory"] if options.in_memory else []),
            *rate,
            "--ros-args",
            "-r",
            f"__ns:={namespace}",
        ],
        options.log_folder / "camera_player.log",
    )


class _Stage:
    """Lets the recorder work while it waits for something to happen among the processes."""

    def __init__(
        self, recorder: Recorder, executor: SingleThreadedExecutor, processes: tuple[ChildProcess, ...]
    ) -> None:
        self._recorder = recorder
        self._executor = executor
        self._processes = processes

    def wait_until_connected(self) -> None:
        """Until camera, node and recorder have found each other, so that not one image is sent in vain."""
        print("loading the model ...", file=sys.stderr)
        deadline = time.monotonic() + SECONDS_TO_START
        while not self._recorder.is_connected():
            if time.monotonic() > deadline:
                raise DemoError(f"node and camera were not ready within {SECONDS_TO_START:g} seconds")
            self._work()

    def play(self, camera: ChildProcess, frame_count: int) -> list[int]:
        """Give the camera its sign; returns the stamps of all it sent once the node has answered the last one."""
        sent = _SentFrames(camera.output)
        camera.input.write("\n")
        camera.input.flush()
        recording = self._recorder.recording
        last_change, last_state = time.monotonic(), (0, 0)
        with tqdm(total=frame_count, unit="frame", desc="playing") as bar:
            while not (sent.is_whole and recording.is_complete(sent.stamps)):
                self._work()
                bar.update(len(sent.stamps) - bar.n)
                state = (len(sent.stamps), recording.labelled_count)
                if state != last_state:
                    last_change, last_state = time.monotonic(), state
                elif time.monotonic() - last_change > SECONDS_WITHOUT_PROGRESS:
                    break  # the last image was lost; the caller counts
        return sent.stamps

    def _work(self) -> None:
        self._executor.spin_once(timeout_sec=0.05)
        for process in self._processes:
            process.require_alive()


class _SentFrames:
    """Reads what the supervised camera prints."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.stamps: list[int] = []
        self.is_whole = False
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            event = json.loads(line)
            if "stamp" in event:
                self.stamps.append(event["stamp"])
            else:
                self.is_whole = True
                return

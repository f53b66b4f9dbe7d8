"""A bag played into the node: player and node as processes of their own, a recorder in this one."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from lowlat_seg_ros.demo import DemoError
from lowlat_seg_ros.demo.child_process import ChildProcess
from lowlat_seg_ros.demo.performance import SECONDS_TO_START, SECONDS_WITHOUT_PROGRESS
from lowlat_seg_ros.demo.recorder import Recorder, recorder_node
from lowlat_seg_ros.replay.settings import PolicySettings, ReplaySettings
from lowlat_seg_ros.ros.bag_playback import played_topic
from lowlat_seg_ros.ros.live_recording import Answer, LiveRecording, SentFrame


@dataclass(frozen=True)
class LiveOptions:
    """How a bag is played."""

    rate: float = 1.0  # seconds of the drive played in one second
    rounds: int = 1


@dataclass(frozen=True)
class LivePerformance:
    """What was sent and what came back, by camera topic, in the order of sending."""

    sent: dict[str, list[SentFrame]]
    answers: dict[str, list[Answer | None]]
    dropped: dict[str, int]  # pictures that the node said were lost on their way to it
    device: str
    longest_delay: int  # nanoseconds: how late the player was at most
    put_off: int  # nanoseconds: how much longer than the drive the play took
    left_out: int  # nanoseconds of the drive's pauses that were not played


def perform_live(
    bag: Path,
    cameras: tuple[str, ...],
    model: str,
    settings: ReplaySettings,
    options: LiveOptions,
    progress: Callable[[int], None] = lambda done: None,
) -> LivePerformance:
    """Play a bag's cameras into the node; ``progress`` is told how many frames were sent.

    Raises:
        DemoError: a process ended before its time or was not ready in time, or the player stopped sending.
    """
    # A namespace of its own, clock included, so that nothing else in the same domain takes part.
    namespace = f"/replay_{os.getpid()}"
    with (
        tempfile.TemporaryDirectory() as logs,
        recorder_node(namespace) as (own_node, executor),
        _node(namespace, cameras, model, settings, Path(logs)) as node,
    ):
        recorders = _recorders(own_node, namespace, cameras)
        with _player(namespace, bag, cameras, options, Path(logs)) as player:
            stage = _Stage(recorders, executor, (node, player))
            stage.wait_until_connected()
            events = stage.play(player, progress)
            player.input.close()
            player.wait_for_success()
        node.interrupt()
        node.wait_for_success()
    recordings = {camera: recorder.recording for camera, recorder in recorders.items()}
    return LivePerformance(
        sent=events.sent,
        answers={camera: recording.answers(events.sent[camera]) for camera, recording in recordings.items()},
        dropped={camera: recording.dropped_count for camera, recording in recordings.items()},
        device=recorders[cameras[0]].device,
        longest_delay=events.longest_delay,
        put_off=events.put_off,
        left_out=events.left_out,
    )


class LiveRecorder(Recorder):
    """Subscribes to what the node publishes for one camera, and keeps it in order."""

    recording: LiveRecording


def _recorders(node: Node, namespace: str, cameras: tuple[str, ...]) -> dict[str, LiveRecorder]:
    return {
        camera: LiveRecorder(
            node,
            f"{namespace}/{played_topic(camera)}",
            f"lowlat_seg/{name}/labels",
            f"lowlat_seg/{name}/keyframe",
            LiveRecording(),
        )
        for camera, name in zip(cameras, _names(cameras), strict=True)
    }


def _names(cameras: tuple[str, ...]) -> list[str]:
    """What the node calls the cameras: a bag's topics may be no names that it takes."""
    return [f"camera_{number}" for number in range(len(cameras))]


def _node(namespace: str, cameras: tuple[str, ...], model: str, settings: ReplaySettings, logs: Path) -> ChildProcess:
    names = _names(cameras)
    parameters = {
        "model": model,
        "use_sim_time": "true",
        "cameras": f"[{', '.join(names)}]",
        "low_latency": str(settings.low_latency).lower(),
        **policy_parameters(settings.policy),
    }
    given = [argument for name, value in parameters.items() for argument in ("-p", f"{name}:={value}")]
    renamed = [
        argument
        for camera, name in zip(cameras, names, strict=True)
        for argument in ("-r", f"{name}/image:={played_topic(camera)}")
    ]
    arguments = ["--ros-args", *_in_namespace(namespace), *renamed, *given]
    return ChildProcess("lowlat_seg_ros.ros.main", arguments, logs / "seg_node.log")


def policy_parameters(policy: PolicySettings) -> dict[str, str]:
    """The node's parameters for a replay's key-frame policy."""
    values = policy.to_mapping()
    name = values.pop("name")
    # The node has a threshold for each policy, so that all can be set before one is chosen.
    threshold_name = "deviation_threshold" if name == "predicted_deviation" else "feature_difference_threshold"
    if "threshold" in values:
        values[threshold_name] = float(values.pop("threshold"))
    return {"policy": name, **{key: str(value) for key, value in values.items()}}


def _player(namespace: str, bag: Path, cameras: tuple[str, ...], options: LiveOptions, logs: Path) -> ChildProcess:
    chosen = [argument for camera in cameras for argument in ("--camera", camera)]
    played = ["--rate", str(options.rate), "--loop", str(options.rounds), "--clock", "--supervised"]
    arguments = [str(bag), *chosen, *played, "--ros-args", *_in_namespace(namespace)]
    return ChildProcess("lowlat_seg_ros.ros.bag_player", arguments, logs / "bag_player.log")


def _in_namespace(namespace: str) -> list[str]:
    return ["-r", f"__ns:={namespace}", "-r", f"/clock:={namespace}/clock"]


class _Stage:
    """Lets the recorders work while it waits for something to happen among the processes."""

    def __init__(
        self,
        recorders: dict[str, LiveRecorder],
        executor: SingleThreadedExecutor,
        processes: tuple[ChildProcess, ...],
    ) -> None:
        self._recorders = recorders
        self._executor = executor
        self._processes = processes

    def wait_until_connected(self) -> None:
        """Until player, node and recorders have found each other, so that not one picture is sent in vain."""
        deadline = time.monotonic() + SECONDS_TO_START
        while not all(recorder.is_connected() for recorder in self._recorders.values()):
            if time.monotonic() > deadline:
                raise DemoError(f"node and bag player were not ready within {SECONDS_TO_START:g} seconds")
            self._work()

    def play(self, player: ChildProcess, progress: Callable[[int], None]) -> PlayerEvents:
        """Give the player its sign; returns what it told once the node has accounted for every picture.

        Raises:
            DemoError: a process ended, or nothing happened for SECONDS_WITHOUT_PROGRESS while pictures were to come.
        """
        events = PlayerEvents({camera: [] for camera in self._recorders})
        threading.Thread(target=events.read, args=(player.output,), daemon=True).start()
        player.input.write("\n")
        player.input.flush()
        last_change, last_state = time.monotonic(), (0, 0, 0)
        while not (events.is_whole and self._accounts_for(events)):
            self._work()
            state = (
                events.count,
                events.waits,
                sum(each.recording.labelled_count for each in self._recorders.values()),
            )
            if state != last_state:
                last_change, last_state = time.monotonic(), state
                progress(events.count)
            elif time.monotonic() - last_change > SECONDS_WITHOUT_PROGRESS:
                if not events.is_whole:
                    raise DemoError(f"the bag player sent nothing for {SECONDS_WITHOUT_PROGRESS:g} seconds")
                break  # the last picture was lost, and with it the node's word on the others
        return events

    def _accounts_for(self, events: PlayerEvents) -> bool:
        return all(
            recorder.recording.accounts_for(len(events.sent[camera])) for camera, recorder in self._recorders.items()
        )

    def _work(self) -> None:
        self._executor.spin_once(timeout_sec=0.05)
        for process in self._processes:
            process.require_alive()


@dataclass
class PlayerEvents:
    """What the supervised bag player prints."""

    sent: dict[str, list[SentFrame]]
    count: int = 0
    waits: int = 0  # times that it said it still waits for the next frame to be due
    is_whole: bool = field(default=False)
    longest_delay: int = 0
    put_off: int = 0
    left_out: int = 0

    def read(self, lines: Iterable[str]) -> None:
        """Take all lines in, until the player's last."""
        for line in lines:
            event = json.loads(line)
            if "camera" in event:
                self.sent[event["camera"]].append(SentFrame(event["stamp"], event["sent"]))
                self.count += 1
            elif "waiting" in event:
                self.waits += 1
            else:
                self.longest_delay, self.put_off = event["longest_delay"], event["put_off"]
                self.left_out = event["left_out"]
                self.is_whole = True
                return

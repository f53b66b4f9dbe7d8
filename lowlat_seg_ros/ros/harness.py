"""Processes that play to each other over DDS: nodes, players and, in this process, recorders of what is published.

Shared by the demo, live replay and the bench.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, TypeVar

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.ros.recorder import Recorder, Recording

SECONDS_TO_START: Final = 600.0
"""Loading torch takes minutes on a machine that others use. A process that ends before its time is noticed at once."""

SECONDS_WITHOUT_PROGRESS: Final = 60.0

SECONDS_TO_END: Final = 60.0
"""A busy machine takes many times the half second that it takes otherwise."""

NODE: Final = "lowlat_seg_ros.ros.main"


class HarnessError(Error):
    """A process ended early, or was silent or not ready for too long; the message is one sentence."""


class ChildProcess:
    """A module run as a process that does not outlive this one.

    What it logs (standard error) goes to a file; standard input and output are the parent's to use.
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        self.name = log.stem
        self._log = log
        tied = [sys.executable, "-m", "lowlat_seg_ros.ros.tied_process", str(os.getpid())]
        log.write_bytes(b"")
        with log.open("ab") as log_file:  # so that what `Player` adds overwrites nothing
            self._process = subprocess.Popen(
                [*tied, module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                text=True,
            )

    @property
    def input(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    def require_alive(self) -> None:
        """Raise HarnessError with the last line it logged if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise self._ended(code)

    def finish(self) -> None:
        """End it as Ctrl-C would; raises HarnessError unless it ends with code 0 within SECONDS_TO_END."""
        self._process.send_signal(signal.SIGINT)
        self._require_success()

    def close(self) -> None:
        """End it whatever it does: first as Ctrl-C would, after SECONDS_TO_END by force."""
        try:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)
                self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self.input.close()
            self.output.close()

    def _require_success(self) -> None:
        try:
            code = self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired as error:
            raise HarnessError(f"{self.name} did not end within {SECONDS_TO_END:g} seconds") from error
        if code != 0:
            raise self._ended(code)

    def _ended(self, code: int) -> HarnessError:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return HarnessError(f"{self.name} ended with code {code}: {lines[-1] if lines else 'it said nothing'}")


Process = TypeVar("Process", bound=ChildProcess)


class Player(ChildProcess):
    """A supervised camera or bag player: plays at a line on its input, tells what it sends, ends with its input."""

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        super().__init__(module, arguments, log)
        self.events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def give_sign(self) -> None:
        self.input.write("\n")
        self.input.flush()

    def finish(self) -> None:
        self.input.close()
        self._require_success()

    def _read(self) -> None:
        for line in self.output:
            if line.startswith("{"):
                self.events.put(json.loads(line))
            else:  # of a library: Fast DDS 2 logs to standard output
                with self._log.open("a") as log:
                    log.write(line)


@dataclass
class Played:
    """What a supervised player has told of one play."""

    sent: list[dict[str, Any]] = field(default_factory=list)  # of each frame, in order: at least its "stamp"
    seconds: float = 0.0  # that the play took
    end: dict[str, Any] | None = None  # its last word: "longest_delay", "put_off" (nanoseconds), …

    def take(self, event: dict[str, Any]) -> None:
        """A line of it; one that says that it waits for a recording's pause to end is only a sign of life."""
        if "stamp" in event:
            self.sent.append(event)
        elif "waiting" not in event:
            self.end = event

    @property
    def stamps(self) -> list[int]:
        """Nanoseconds, in order."""
        return [event["stamp"] for event in self.sent]


class Harness:
    """Child processes in a namespace of their own, and the recorders in this process; a context manager.

    Nothing else in the same DDS domain takes part, and no process outlives the block.
    """

    def __init__(self, name: str, logs: Path) -> None:
        """
        Args:
            name: of the namespace, which also has this process's id.
            logs: folder for a log of each process.
        """
        self.namespace = f"/{name}_{os.getpid()}"
        self._logs = logs
        self._exits = ExitStack()
        self._processes: list[ChildProcess] = []
        self._recorders: list[Recorder] = []

    def __enter__(self) -> Harness:
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._exits.callback(rclpy.try_shutdown)
        self._node = rclpy.create_node("recorder", namespace=self.namespace)
        self._exits.callback(self._node.destroy_node)
        self._executor = SingleThreadedExecutor()
        self._exits.callback(self._executor.shutdown)
        self._executor.add_node(self._node)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exits.close()

    def start(
        self,
        module: str,
        name: str,
        parameters: Sequence[str] = (),
        remappings: Sequence[str] = (),
        group: str = "",
        arguments: Sequence[str] = (),
    ) -> ChildProcess:
        """Start what segments.

        Args:
            module: such as NODE.
            name: of its log; errors name it.
            parameters: each "name:=value".
            remappings: each "from:=to".
            group: a namespace within the harness's own.
            arguments: the module's own, before ROS's.
        """
        given = [*arguments, *self._ros_arguments(group, parameters, remappings)]
        return self._watch(ChildProcess(module, given, self._logs / f"{name}.log"))

    def start_player(
        self, module: str, name: str, arguments: Sequence[str], remappings: Sequence[str] = (), group: str = ""
    ) -> Player:
        """Start a player with these arguments; see `start` for the others. It waits for `play`."""
        given = [*arguments, "--supervised", *self._ros_arguments(group, (), remappings)]
        return self._watch(Player(module, given, self._logs / f"{name}.log"))

    def record(self, image: str, outputs: str, recording: Recording, image_publishers: int = 1) -> Recorder:
        """Listen to what is published for one camera; topics are relative to the harness's namespace.

        Args:
            image: the camera's own topic.
            outputs: where its labels and key frame messages are.
            recording: what keeps them.
            image_publishers: how many processes play to the camera.
        """
        topics = f"{self.namespace}/{image}", f"{self.namespace}/{outputs}"
        recorder = Recorder(self._node, *topics, recording, image_publishers)
        self._recorders.append(recorder)
        return recorder

    def wait_until_connected(self) -> None:
        """Until players, nodes and recorders have found each other, so that not one image is sent in vain.

        Raises:
            HarnessError: one of them ended, or it took too long.
        """
        deadline = time.monotonic() + SECONDS_TO_START
        while not all(recorder.is_connected() for recorder in self._recorders):
            if time.monotonic() > deadline:
                names = ", ".join(process.name for process in self._processes)
                raise HarnessError(f"{names} were not ready within {SECONDS_TO_START:g} seconds")
            self._work()

    def play(self, player: Player, progress: Callable[[int], object] = lambda count: None) -> Played:
        """Let a player play once, until its last word; ``progress`` is told how many frames it has sent.

        Raises:
            HarnessError: a process ended, or the player said nothing for SECONDS_WITHOUT_PROGRESS.
        """
        played = Played()
        player.give_sign()
        began = last_sign = time.monotonic()
        while played.end is None:
            self._work()
            while played.end is None and not player.events.empty():
                played.take(player.events.get())
                last_sign = time.monotonic()
            progress(len(played.sent))
            if time.monotonic() - last_sign > SECONDS_WITHOUT_PROGRESS:
                raise HarnessError(f"{player.name} sent nothing for {SECONDS_WITHOUT_PROGRESS:g} seconds")
        played.seconds = time.monotonic() - began
        return played

    def wait_for_answers(
        self, are_complete: Callable[[], bool], seconds_without_progress: float = SECONDS_WITHOUT_PROGRESS
    ) -> None:
        """Until the recordings are complete, or nothing has come for so long: the last images may have been lost."""
        last_change, last_count = time.monotonic(), -1
        while not are_complete() and time.monotonic() - last_change < seconds_without_progress:
            self._work()
            count = sum(recorder.recording.labelled_count for recorder in self._recorders)
            if count != last_count:
                last_change, last_count = time.monotonic(), count

    def finish(self) -> None:
        """End all processes in good order, the last one started first; raises HarnessError if one fails in it."""
        while self._processes:
            self._processes.pop().finish()

    def _work(self) -> None:
        """Let the recorders take what has come, and look after the processes."""
        self._executor.spin_once(timeout_sec=0.05)
        for process in self._processes:
            process.require_alive()

    def _watch(self, process: Process) -> Process:
        self._processes.append(process)
        self._exits.callback(process.close)
        return process

    def _ros_arguments(self, group: str, parameters: Sequence[str], remappings: Sequence[str]) -> list[str]:
        namespace = f"{self.namespace}/{group}" if group else self.namespace
        arguments = ["--ros-args"]
        for renamed in (f"__ns:={namespace}", *remappings):
            arguments += ["-r", renamed]
        for parameter in parameters:
            arguments += ["-p", parameter]
        return arguments

"""A contained run has a ROS domain of its own and leaves no process and no shared memory, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
CONTAINED = [sys.executable, str(CHECKOUT / "scripts" / "run_contained.py")]

# A ROS node in a session of its own, as a daemon would be, beside one in the foreground. Each says who it is.
NODE = """
import os, rclpy
rclpy.init()
node = rclpy.create_node("left_behind")
print(os.environ["ROS_DOMAIN_ID"], os.getppid(), os.getpid(), flush=True)
while True:
    rclpy.spin_once(node)
"""
TWO_NODES = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", '''{NODE}'''], start_new_session=True)
{NODE}
"""
SECONDS_TO_END = 60.0


class ContainedNodes:
    """Two nodes in a contained run, both up; knows every process of the run and the shared memory the nodes hold."""

    def __init__(self) -> None:
        self.outer = subprocess.Popen([*CONTAINED, sys.executable, "-c", TWO_NODES], text=True, stdout=subprocess.PIPE)
        assert self.outer.stdout is not None
        lines = [[int(number) for number in self.outer.stdout.readline().split()] for _ in range(2)]
        self.domains = {domain for domain, _, _ in lines}
        self.nodes = {process for _, _, process in lines}
        (self.command,) = {parent for _, parent, _ in lines} & self.nodes
        (self.keeper,) = {parent for _, parent, _ in lines} - self.nodes
        self.shared_memory = {file for process in self.nodes for file in mapped_shared_memory(process)}

    def is_gone(self) -> bool:
        return self.outer.poll() is not None and not any(map(is_alive, (self.keeper, *self.nodes)))


def mapped_shared_memory(process: int) -> set[Path]:
    """Fast DDS' segments, whose names are random. Its ports' names are not: another run may have them meanwhile."""
    maps = Path(f"/proc/{process}/maps").read_text()
    return set(map(Path, re.findall(r"/dev/shm/fastdds_[0-9a-f]{16}$", maps, re.MULTILINE)))


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS_TO_END
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.fixture
def nodes() -> Iterator[ContainedNodes]:
    pytest.importorskip("rclpy", reason="needs ROS: make test")
    running = ContainedNodes()
    yield running
    for process in (running.outer.pid, running.keeper, *running.nodes):
        if is_alive(process):
            os.kill(process, signal.SIGKILL)
    running.outer.wait()


@pytest.mark.parametrize(
    ("victim", "number"),
    [
        ("outer", signal.SIGTERM),
        ("outer", signal.SIGKILL),
        ("keeper", signal.SIGKILL),
        ("command", signal.SIGKILL),
    ],
)
def test_nothing_is_left_when_a_run_is_killed(nodes: ContainedNodes, victim: str, number: signal.Signals) -> None:
    assert nodes.shared_memory
    process = nodes.outer.pid if victim == "outer" else getattr(nodes, victim)
    os.kill(process, number)
    assert wait_until(nodes.is_gone)
    assert not [file for file in nodes.shared_memory if file.exists()]


def test_runs_at_the_same_time_have_different_domains() -> None:
    say_domain_and_wait = [*CONTAINED, "sh", "-c", "echo $ROS_DOMAIN_ID; cat"]
    runs = [
        subprocess.Popen(say_domain_and_wait, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    domains = {run.stdout.readline() for run in runs if run.stdout}
    for run in runs:
        run.communicate()
    assert len(domains) == 3


def test_the_exit_status_is_the_commands() -> None:
    assert subprocess.run([*CONTAINED, "sh", "-c", "exit 3"], check=False).returncode == 3
    assert subprocess.run([*CONTAINED, "sh", "-c", "kill -9 $$"], check=False).returncode == 128 + signal.SIGKILL


def test_a_command_that_is_not_there_is_named() -> None:
    run = subprocess.run([*CONTAINED, "no-such-command"], check=False, text=True, stderr=subprocess.PIPE)
    assert run.returncode == 127
    assert run.stderr == "run_contained: cannot start no-such-command: No such file or directory\n"

#!/usr/bin/env python3
"""Run a command in a ROS domain of its own and leave nothing of it behind.

    scripts/with_ros scripts/run_contained.py COMMAND...

However the command ends (by itself, by Ctrl-C, by a signal, or because the process that started this one is gone),
every process that it started is ended, and the shared-memory files that they could not remove themselves are removed.

Two processes stand guard, since one alone could itself be killed: the keeper starts the command and cleans up after it;
the outer process waits for the keeper, passes signals on, and cleans up in its place if it was killed.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lowlat_seg_ros.ros.shared_memory import SHARED_MEMORY, remove_dead_files

DOMAINS = range(1, 101)  # those whose ports lie below the ports that Linux hands out by itself
COORDINATION_PORT = 22119  # ROS 2's own test tools claim domain N by binding this port + N
DDS_PORT = 7400  # participants of domain N listen from this port + 250 N + 10 on
SECONDS_TO_END = 10  # what a process gets to end by itself after a signal
SIGNALS_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> int:
    if not command:
        print("usage: run_contained.py COMMAND...", file=sys.stderr)
        return 2
    tracing_files_before = tracing_files()
    claim = use_own_domain()
    stand_guard()
    keeper = os.fork()
    if keeper == 0:
        stand_guard()
        status = run(command)
    else:
        status = wait_passing_signals_on(keeper)
    end_descendants()
    remove_dead_shared_memory(tracing_files_before)
    remove_ports(claim)
    return status


def use_own_domain() -> socket.socket:
    """Let this process and those that it starts use a ROS domain of their own, for as long as the socket is open."""
    claim = claim_domain()
    os.environ["ROS_DOMAIN_ID"] = str(domain_of(claim))
    return claim


def domain_of(claim: socket.socket) -> int:
    return int(claim.getsockname()[1]) - COORDINATION_PORT


def claim_domain() -> socket.socket:
    """A socket whose port claims a free ROS domain for as long as it is open, as ROS 2's own test tools do it."""
    for domain in DOMAINS:
        claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            claim.bind(("127.0.0.1", COORDINATION_PORT + domain))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first_participant:
                first_participant.bind(("", DDS_PORT + 250 * domain + 10))  # fails if others use it unclaimed
            return claim
        except OSError:
            claim.close()
    raise SystemExit("run_contained: every ROS domain from 1 to 100 is taken on this machine")


def stand_guard() -> None:
    """End with the process that started this one, and inherit the children of children that die."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def run(command: list[str]) -> int:
    """Run the command and return its exit status."""
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        print(f"run_contained: cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    return wait_passing_signals_on(process.pid, seconds_to_end=SECONDS_TO_END)


def wait_passing_signals_on(child: int, seconds_to_end: int = 0) -> int:
    """Wait for a child and return its exit status, as a shell counts it.

    SIGTERM and SIGHUP go on to the child; Ctrl-C does not, since the terminal sends it to the child as well. A child
    that has not ended seconds_to_end after a signal is killed (0: it is waited for).
    """

    def pass_on(number: int, _frame: object) -> None:
        if number != signal.SIGINT:
            os.kill(child, number)
        signal.alarm(seconds_to_end)

    for number in SIGNALS_TO_END:
        signal.signal(number, pass_on)
    signal.signal(signal.SIGALRM, lambda _number, _frame: os.kill(child, signal.SIGKILL))
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # leaves it a zombie, so that a late signal finds it
    for number in (*SIGNALS_TO_END, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def end_descendants() -> None:
    """End every process below this one: first asked to, after SECONDS_TO_END killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        deadline = time.monotonic() + SECONDS_TO_END
        while descendants() and time.monotonic() < deadline:
            time.sleep(0.02)


def descendants() -> list[int]:
    """Living processes below this one; the dead ones that fell to it are reaped."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                break
        except ChildProcessError:
            return []
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [os.getpid()]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found[1:]


def remove_dead_shared_memory(tracing_files_before: set[Path]) -> None:
    """Remove this user's Fast DDS files that no living process holds, and LTTng's if they are new and unused.

    Fast DDS removes its own files unless it is killed.
    """
    remove_dead_files(minimum_age_seconds=0.0)
    for file in tracing_files() - tracing_files_before:
        if not is_mapped(file):
            file.unlink(missing_ok=True)


def remove_ports(claim: socket.socket) -> None:
    """Remove Fast DDS' files for the ports of a domain of which no participant is left."""
    first = DDS_PORT + 250 * domain_of(claim)
    for port in range(first, first + 250):
        for file in SHARED_MEMORY.glob(f"*fast*_port{port}*"):
            file.unlink(missing_ok=True)


def tracing_files() -> set[Path]:
    """LTTng's shared-memory files: the ROS wheels bring LTTng, which makes them when it is loaded and leaves them."""
    return {file for file in SHARED_MEMORY.glob("lttng-ust-wait-*") if file.stat().st_uid == os.getuid()}


def is_mapped(file: Path) -> bool:
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):  # another user's process, or one that has just ended
            if str(file) in maps.read_text():
                return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

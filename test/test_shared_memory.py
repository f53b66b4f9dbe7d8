"""Fast DDS' files in /dev/shm: dead ones of this user are removed by Fast DDS' own lock test, living ones never."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from node_setup import ports_in_use, wait_until

from lowlat_seg_ros.ros.loss_causes import segment_trouble
from lowlat_seg_ros.ros.shared_memory import remove_dead_files

NODE = """
import os, rclpy
from lowlat_seg_ros.ros.shared_memory import own_segments
rclpy.init()
node = rclpy.create_node("holder")
sizes = own_segments()
print(max(sizes, key=sizes.get), flush=True)
input()
"""


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[str]]:
    """A process with a segment of its own, whose file it has told."""
    command = [sys.executable, "-c", NODE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def segment_of(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def test_a_dead_process_leaves_its_segment_only_until_the_next_starts(holder: subprocess.Popen[str]) -> None:
    segment = segment_of(holder)
    lock = segment.with_name(f"{segment.name}_el")
    assert segment.is_file() and lock.is_file()
    assert segment not in remove_dead_files()
    mapped = re.findall(r"/dev/shm/\S*fast(?:dds|rtps)_\S+", Path(f"/proc/{holder.pid}/maps").read_text())
    ports = [Path(file) for file in mapped if "_port" in file]
    assert ports
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lock.is_file()
    removed: set[Path] = set()

    def all_are_gone() -> bool:
        removed.update(remove_dead_files())
        return not [file for file in {segment, lock, *ports} - ports_in_use() if file.exists()]

    # No sooner than a node does: what is a moment old may be another test's, which is about to lock it.
    wait_until(all_are_gone, "the end of its files")
    assert {segment, lock} <= removed


def test_a_lock_that_is_just_being_made_is_left_alone(holder: subprocess.Popen[str]) -> None:
    segment = segment_of(holder)
    holder.kill()
    holder.wait()
    remove_dead_files(minimum_age_seconds=3600.0)
    assert segment.is_file()


def test_a_process_without_a_segment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small one that Fast DDS makes beside the profile's is not for images."""
    monkeypatch.setattr("lowlat_seg_ros.ros.loss_causes.own_segments", lambda: {Path("/dev/shm/small"): 552960})
    assert "--shm-size" in segment_trouble("rmw_fastrtps_cpp")
    assert segment_trouble("rmw_cyclonedds_cpp") == ""
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
    assert segment_trouble("rmw_fastrtps_cpp") == ""

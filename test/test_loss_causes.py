"""The remedy of a loss is that of a cause that was found."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lowlat_seg_ros.ros import loss_causes
from lowlat_seg_ros.ros.loss_causes import Circumstances, remedy

HERE, ELSEWHERE = b"\x01\x0f\x78\xfd", b"\x01\x0f\x11\x22"
PROCESS = b"\xa4\x0f"  # 0x0fa4
IMAGE_BYTES = 900_000
CALM = Circumstances(0.1, IMAGE_BYTES, "rmw_fastrtps_cpp", False, HERE + b"\x01\x00", [HERE + PROCESS])


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """One on which nothing is wrong."""
    buffer = tmp_path / "rmem_max"
    buffer.write_text("16777216\n")
    monkeypatch.setattr(loss_causes, "_SOCKET_BUFFER", buffer)
    monkeypatch.setattr(loss_causes, "segment_trouble", lambda rmw: "")
    monkeypatch.setattr(loss_causes, "foreign_users", set)
    monkeypatch.setattr(loss_causes, "segments_by_process", lambda: {0x0FA4: 70_000_000, 0x0001: 70_000_000})
    return monkeypatch


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "no cause was found; see docs/troubleshooting.md"),
        ({"busy_share": 0.9}, "the node is slower than the camera"),
        ({"fixed_best_effort": True}, "set image_reliability to auto"),
        ({"publishers": [ELSEWHERE + PROCESS]}, "the camera is on another host"),
        ({"rmw": "rmw_cyclonedds_cpp", "publishers": [ELSEWHERE]}, "no cause was found"),
        ({"own_identity": b"", "publishers": []}, "no cause was found"),
    ],
)
def test_by_what_the_node_knows(changes: dict[str, object], words: str) -> None:
    assert words in remedy(replace(CALM, **changes))  # type: ignore[arg-type]


def test_a_senders_segment_smaller_than_an_image(machine: pytest.MonkeyPatch) -> None:
    """Whatever others have that this process hears, a viewer with our profile above all."""
    machine.setattr(loss_causes, "segments_by_process", lambda: {0x0FA4: 549_408, 0x0001: 70_000_000})
    assert "image has 0.9 MB, the sender's shared memory 0.5 MB: start the camera's driver with" in remedy(CALM)


def test_a_camera_of_another_user(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(loss_causes, "foreign_users", lambda: {os.getuid() + 4321})
    assert "no cause" in remedy(CALM)  # the sender's segment is one of ours
    machine.setattr(loss_causes, "segments_by_process", dict)
    assert "run camera and node as the same user" in remedy(CALM)


def test_an_rmw_that_need_not_send_by_udp_is_not_told_of_udp(machine: pytest.MonkeyPatch) -> None:
    loss_causes._SOCKET_BUFFER.write_text("212992\n")
    assert "no cause" in remedy(replace(CALM, rmw="rmw_zenoh_cpp"))


@pytest.mark.parametrize("changes", [{"publishers": [ELSEWHERE + PROCESS]}, {"rmw": "rmw_cyclonedds_cpp"}])
def test_socket_buffers_smaller_than_an_image(machine: pytest.MonkeyPatch, changes: dict[str, object]) -> None:
    loss_causes._SOCKET_BUFFER.write_text("212992\n")
    assert "sudo sysctl -w net.core.rmem_max=16777216" in remedy(replace(CALM, **changes))  # type: ignore[arg-type]
    assert "no cause" in remedy(CALM)  # by shared memory

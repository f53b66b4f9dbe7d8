"""The demo as its user runs it: a process that starts the node and the camera as processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from node_setup import PATIENCE, children_of, wait_until
from stream_setup import moving_frames, stream_network

from lowlat_seg_ros.demo.__main__ import parse, run
from lowlat_seg_ros.demo.report import percentiles
from lowlat_seg_ros.models.checkpoint import save_checkpoint

FRAME_COUNT = 8
SIZE = (96, 72)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip and a small network."""
    folder = tmp_path_factory.mktemp("material")
    (folder / "clip").mkdir()
    for number, frame in enumerate(moving_frames(FRAME_COUNT, SIZE)):
        cv2.imwrite(str(folder / "clip" / f"{number}.png"), frame[..., ::-1])
    save_checkpoint(stream_network(), folder / "model", "a small untrained network")
    return folder


def arguments(material: Path, out: Path, *more: str) -> list[str]:
    given = ["--clip", str(material / "clip"), "--model", str(material / "model"), "--rate", "4", "--out", str(out)]
    return [*given, *more]


def start_demo(*given: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lowlat_seg_ros.demo", *given]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_demo_accounts_for_every_frame(material: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "for it"
    process = start_demo(*arguments(material, out, "-p", "policy:=fixed_interval", "-p", "interval:=2"))
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    report = json.loads((out / "latency.json").read_text())
    assert report["frames_in"] == FRAME_COUNT == len(report["frames"])
    assert report["labels_out"] + report["dropped"] == FRAME_COUNT
    assert report["labels_out"] == sum("total_ms" in frame for frame in report["frames"])
    assert report["key_frames"] == sum(frame.get("is_key_frame", False) for frame in report["frames"]) > 0
    assert report["frames"][0]["key_reason"] == "first frame"
    assert report["latency_ms"]["before_the_first_key_frame"]["frames"] >= 1
    assert report["full_network_ms"]["p50"] > 0
    assert (report["environment"]["device"], report["size"]) == ("cpu", list(SIZE))
    for row in ("frames in", "labels out", "dropped", "key frames", "full network on every frame"):
        assert row in output
    assert _frames_in_video(out / "overlay.webm") == FRAME_COUNT
    sheet = cv2.imread(str(out / "contact_sheet.png"))
    assert sheet is not None and sheet.shape[1] > 3 * SIZE[0]
    assert not [file.name for file in out.iterdir() if "part" in file.name]


def test_ctrl_c_ends_everything(material: Path, tmp_path: Path) -> None:
    process = start_demo(*arguments(material, tmp_path, "--rate", "0.5"))
    log = tmp_path / "camera_player.log"
    wait_until(lambda: len(children_of(process.pid)) == 2 and "waiting for" in log.read_text(), "node and camera")
    children = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in errors and errors.rstrip().endswith("demo: stopped")
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert not (tmp_path / "latency.json").exists()


def error_of(capfd: pytest.CaptureFixture[str], *given: str) -> str:
    """What the demo says as it fails, in this process: it has not come as far as to need one of its own."""
    assert run(parse(list(given))) == 1
    return capfd.readouterr().err


def test_a_node_that_cannot_start_ends_the_demo_with_its_sentence(
    material: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    errors = error_of(capfd, *arguments(material, tmp_path, "-p", "policy:=never"))
    assert "demo: seg_node ended with code 1" in errors and "policy is 'never'" in errors
    assert "Traceback" not in errors


def test_a_clip_that_cannot_be_read_is_one_sentence(
    material: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (line,) = error_of(capfd, *arguments(material, tmp_path, "--clip", str(tmp_path / "nothing.mp4"))).splitlines()
    assert line.startswith("demo: The clip ")


def test_a_folder_that_cannot_be_made_is_one_sentence(
    material: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (line,) = error_of(capfd, *arguments(material, tmp_path / "file" / "out")).splitlines()
    assert str(tmp_path / "file") in line


@pytest.mark.parametrize("count", [0, 1, 5])
def test_percentiles_of_any_number_of_frames(count: int) -> None:
    figures: dict[str, Any] = percentiles(list(np.arange(count, dtype=float)))
    assert figures["frames"] == count
    assert figures["max"] == (count - 1 if count else None)


def _frames_in_video(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return count

"""The scripts in examples/, run as their first lines say."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stream_setup import moving_frames, stream_network

from lowlat_seg_ros.data.video_writer import VideoWriter
from lowlat_seg_ros.models.checkpoint import save_checkpoint

CHECKOUT = Path(__file__).parents[1]
FRAMES = 6


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    save_checkpoint(stream_network(), folder / "model", "# A network that was never trained\n")
    with VideoWriter(folder / "drive.mp4", (96, 72), 15.0) as video:
        for frame in moving_frames(FRAMES, (96, 72)):
            video.write(frame)
    return folder


Run = Callable[..., list[str]]


@pytest.fixture
def run(material: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the script of a name with its arguments as Python would, and returns the lines that it prints."""
    monkeypatch.chdir(material)

    def run_script(name: str, *arguments: str) -> list[str]:
        script = str(CHECKOUT / "examples" / name)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(script, run_name="__main__")
        return capfd.readouterr().out.splitlines()

    return run_script


def test_label_a_video_prints_the_share_of_every_class(run: Run) -> None:
    lines = run("label_a_video.py", "drive.mp4")
    assert len(lines) == 11 and sum(float(line.split("%")[0]) for line in lines) == pytest.approx(100, abs=0.6)


def test_live_camera_prints_a_line_a_frame(run: Run) -> None:
    lines = run("live_camera.py", "drive.mp4")
    assert len(lines) == FRAMES and all(" ms" in line and "free" in line for line in lines)


def test_your_own_network_prints_what_it_sees(run: Run) -> None:
    lines = run("your_own_network.py", "drive.mp4", "model")
    assert len(lines) == FRAMES and all(line.startswith("from ") and line[-1] != " " for line in lines)


def test_every_example_is_run() -> None:
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    assert all(file.name in tests for file in (CHECKOUT / "examples").glob("*.py"))

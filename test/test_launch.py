"""The launch files by the real `ros2 launch`: what is started under which names, and what ends it with an error.

PyPI has no `ros2 launch`: these run where ROS 2 is sourced.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from node_setup import PATIENCE, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("ros2") is None, reason="needs `ros2 launch`: a ROS 2 from apt"),
]


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> str:
    return f"model:={checkpoint}"


class Launched:
    """A running `ros2 launch`, its output in a file."""

    def __init__(self, log: Path, *arguments: str, file: str = "seg.launch.py") -> None:
        self._log = log
        command = ["ros2", "launch", "lowlat_seg_ros", file, *arguments]
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, words: str, times: int = 1) -> None:
        ended = self.process.poll
        wait_until(lambda: self.output().count(words) >= times or ended() is not None, f"{words!r}: {self.output()}")
        assert self.output().count(words) >= times, self.output()

    def nodes(self) -> list[tuple[int, list[str]]]:
        """Process id and arguments of each seg_node below it."""
        found = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            words = file.read_bytes().decode().split("\0")[:-1] if file.exists() else []
            if any(word.endswith("/seg_node") for word in words) and os.getsid(int(file.parent.name)) == self._session:
                found.append((int(file.parent.name), words))
        return found

    @property
    def _session(self) -> int:
        return self.process.pid

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@contextmanager
def launched(log: Path, *arguments: str, file: str = "seg.launch.py") -> Iterator[Launched]:
    running = Launched(log, *arguments, file=file)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end()


def test_arguments_reach_the_node(tmp_path: Path, model: str) -> None:
    given = ("image:=/cam/image_raw", "namespace:=car", "name:=eyes", "use_sim_time:=True", "device:=cpu", model)
    with launched(tmp_path / "log", *given) as running:
        running.wait_for("ready on")
        ((_, words),) = running.nodes()
        assert "images from /cam/image_raw" in running.output()
        assert {"image:=/cam/image_raw", "camera_info:=/cam/camera_info", "__node:=eyes", "__ns:=/car"} <= set(words)
        assert running.end() == 0


def test_each_of_several_cameras_has_its_topic(tmp_path: Path, model: str) -> None:
    given = ("cameras:=[front, rear]", "image:=[/a/image_raw, /b/image_raw]", "device:=cpu", model)
    with launched(tmp_path / "log", *given) as running:
        running.wait_for("images from /a/image_raw, /b/image_raw")
        assert "parameter file" not in running.output()  # launch_ros writes the names in words of Python's


def test_the_example_of_three_cameras(tmp_path: Path) -> None:
    with launched(tmp_path / "log", file="three_cameras.launch.py") as running:
        running.wait_for("images from /front/image_raw, /left/image_raw, /right/image_raw")


def test_a_node_that_dies_once_it_was_ready_is_started_again(tmp_path: Path, model: str) -> None:
    with launched(tmp_path / "log", "device:=cpu", model) as running:
        running.wait_for("ready on")
        ((first, _),) = running.nodes()
        os.kill(first, signal.SIGKILL)
        running.wait_for("ready on", times=2)
        ((second, _),) = running.nodes()
        assert second != first
        assert running.end() == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("model:=/no/such/model",), "seg_node ended with code 1 before it was ready"),
        (("params_file:=/nope.yaml",), "params_file '/nope.yaml' cannot be read"),
        (("cameras:=[front, rear]", "image:=/x"), "image names 1 topic(s) for 2 camera(s) (front, rear)"),
        (("rviz:=maybe",), "rviz is 'maybe'; expected true or false"),
        (("rviz:=True",), "there is no package rviz2"),  # not installed here: that it is looked for is what counts
        (("respawn:=maybe",), "respawn is 'maybe'; expected true or false"),
        (("cameras:=[]",), "cameras names no camera"),
    ],
)
def test_what_cannot_be_started_ends_the_launch_with_an_error(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    if "rviz:=True" in arguments and shutil.which("rviz2"):
        pytest.skip("RViz is installed, and would start")
    running = Launched(tmp_path / "log", *arguments)
    assert running.process.wait(PATIENCE) != 0
    assert sentence in running.output()
    wait_until(lambda: not running.nodes(), "the end of every node")


def test_without_autostart_the_node_waits_to_be_configured(tmp_path: Path, model: str) -> None:
    with launched(tmp_path / "log", "autostart:=False", "device:=cpu", model) as running:
        state = ["ros2", "lifecycle", "get", "/lowlat_seg"]
        wait_until(lambda: "unconfigured" in subprocess.run(state, capture_output=True, text=True).stdout, "its state")
        assert "ready on" not in running.output()


@pytest.mark.parametrize("content", ["lowlat_seg: 3", "- a", "/**: {ros__parameters: {cameras: front}}"])
def test_a_parameter_file_of_another_shape_ends_the_launch_with_the_nodes_own_sentence(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(content)
    running = Launched(tmp_path / "log", f"params_file:={file}")
    assert running.process.wait(PATIENCE) != 0
    assert "Couldn't parse params file" in running.output() or "cameras is 'front'" in running.output()
    assert "before it was ready" in running.output()


def test_the_profile_stays_with_the_node_unless_it_is_shared(tmp_path: Path) -> None:
    """What a launch file starts after ours sees it only with share_profile."""
    (tmp_path / "both.launch.py").write_text(
        """
from launch import LaunchDescription
from launch.actions import ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from ament_index_python.packages import get_package_share_directory
def generate_launch_description():
    seg = get_package_share_directory("lowlat_seg_ros") + "/launch/seg.launch.py"
    arguments = {"share_profile": LaunchConfiguration("share"), "device": "cpu"}.items()
    return LaunchDescription([
        IncludeLaunchDescription(PythonLaunchDescriptionSource(seg), launch_arguments=arguments),
        ExecuteProcess(cmd=["sh", "-c", "echo driver: $FASTDDS_DEFAULT_PROFILES_FILE."], output="screen"),
    ])
"""
    )
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_DEFAULT_PROFILES_FILE")}
    for share, words in (("false", "driver: ."), ("true", "config/fastdds.xml.")):
        command = ["ros2", "launch", str(tmp_path / "both.launch.py"), f"share:={share}"]
        with subprocess.Popen(
            command, text=True, env=environment, stdout=subprocess.PIPE, start_new_session=True
        ) as run:
            assert run.stdout is not None
            assert any(words in line for line in run.stdout if "driver:" in line)
            run.send_signal(signal.SIGINT)

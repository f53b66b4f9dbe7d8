"""Set-up names what is missing and what to type, in one sentence, before it changes anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repair_ros_wheels import repaired

CHECKOUT = Path(__file__).parents[1]
TOOLS = ("bash", "c++", "cc", "make", "sh")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout as cloned, with nothing set up."""
    for name in ("Makefile", "scripts", "requirements", "CMakeLists.txt", "package.xml"):
        source = CHECKOUT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    return tmp_path


def make_setup(checkout: Path, tools: set[str], **variables: str) -> str:
    """The error output of a `make setup` that fails where only these tools are found and no ROS is sourced."""
    found = checkout / "tools"
    found.mkdir()
    for tool in tools:
        (found / tool).symlink_to(shutil.which(tool) or tool)
    inherited = {name: value for name, value in os.environ.items() if name not in ("AMENT_PREFIX_PATH", "MAKEFLAGS")}
    python = variables.pop("PYTHON", sys.executable)
    make = subprocess.run(
        [shutil.which("make") or "make", "setup", f"PYTHON={python}"],
        cwd=checkout,
        env={**inherited, "PATH": str(found), **variables},
        text=True,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert make.returncode != 0
    assert not (checkout / ".venv").exists()
    return make.stderr.splitlines()[0]


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("c++", "set-up: c++ is not found: type `sudo apt install g++`"),
        ("cc", "set-up: cc is not found: type `sudo apt install gcc`"),
        ("make", "set-up: make is not found: type `sudo apt install make`"),
    ],
)
def test_a_missing_tool_is_named(checkout: Path, missing: str, sentence: str) -> None:
    assert make_setup(checkout, set(TOOLS) - {missing}) == sentence


def test_a_python_that_is_not_there_or_too_old_is_named(checkout: Path) -> None:
    assert make_setup(checkout, set(TOOLS), PYTHON="/no/python3.9") == (
        "set-up: /no/python3.9 is no Python 3.10 to 3.13; name one, as in: make setup PYTHON=python3.11"
    )


def test_a_sourced_ros_of_another_python_is_named(checkout: Path) -> None:
    variables = {"AMENT_PREFIX_PATH": "/opt/ros/kilted", "ROS_DISTRO": "kilted"}
    python_without_rclpy = str(Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}"))
    sentence = make_setup(checkout, set(TOOLS), PYTHON=python_without_rclpy, PYTHONPATH="", **variables)
    assert sentence.startswith("set-up: a ROS 2 is sourced (/opt/ros/kilted), but ")
    assert sentence.endswith("or `sudo apt install ros-kilted-rclpy`")


def test_the_wheels_cmake_files_name_this_pythons_headers() -> None:
    exported = (
        'INTERFACE_INCLUDE_DIRECTORIES "${_IMPORT_PREFIX}/include;/opt/python/cp312-cp312/include/python3.12;'
        '/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include"'
    )
    expected = 'INTERFACE_INCLUDE_DIRECTORIES "${_IMPORT_PREFIX}/include;/python/include;/numpy/include"'
    assert repaired(exported, "/python/include", "/numpy/include") == expected
    assert repaired(expected, "/python/include", "/numpy/include") == expected

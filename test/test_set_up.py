"""Set-up names what is missing and what to type, in one sentence, before it changes anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from environment import SetUpError, adapt_to_place, require_same_python, require_same_ros, torch_build, write_command
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


@pytest.mark.parametrize(
    ("name", "strange"), [("my checkout", "a space"), ("Straße", "the letter 'ß'"), ("a:b", "the letter ':'")]
)
def test_a_path_that_ros_cannot_build_in_is_told_at_once(checkout: Path, name: str, strange: str) -> None:
    moved = shutil.copytree(checkout, checkout / name)
    began = time.monotonic()
    sentence = make_setup(moved, set(TOOLS))
    assert time.monotonic() - began < 3
    assert sentence.startswith("set-up: ROS 2's build tools cannot work in ") and f" holds {strange}: move" in sentence


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment without packages, set up in ``/somewhere/else``."""
    environment = tmp_path / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (environment / "stamps").mkdir()
    (environment / "stamps" / "place").write_text("/somewhere/else")
    script = environment / "bin" / "tool"
    script.write_text("#!/somewhere/else/.venv/bin/python3\n# not /somewhere/else-where\n")
    script.chmod(0o755)
    return environment


def test_a_moved_environment_names_its_new_place(environment: Path, tmp_path: Path) -> None:
    assert adapt_to_place(environment, tmp_path)
    script = environment / "bin" / "tool"
    assert script.read_text() == f"#!{tmp_path}/.venv/bin/python3\n# not /somewhere/else-where\n"
    assert os.access(script, os.X_OK)
    (environment / "stamps" / "place").write_text(str(tmp_path))
    assert not adapt_to_place(environment, tmp_path)


def test_a_checkout_that_has_moved_says_what_to_type(checkout: Path) -> None:
    (checkout / "install").mkdir()
    (checkout / "install" / "local_setup.bash").touch()
    (checkout / ".venv" / "stamps").mkdir(parents=True)
    (checkout / ".venv" / "stamps" / "place").write_text("/somewhere/else")
    started = subprocess.run([checkout / "scripts" / "with_ros", "true"], text=True, capture_output=True, check=False)
    assert started.returncode == 1
    assert started.stderr == (
        f"with_ros: this checkout was set up as /somewhere/else: type 'make setup' in {checkout}\n"
    )


def test_another_python_is_refused_and_nothing_deleted(environment: Path) -> None:
    require_same_python(environment, None)
    require_same_python(environment, sys.executable)
    other = environment.parent / "python3"
    other.write_text("#!/bin/sh\necho 3.9.1 /opt/old\n")
    other.chmod(0o755)
    with pytest.raises(
        SetUpError, match=r"python3 is 3\.9\.1 of /opt/old: leave PYTHON out to use it, or type `make clean"
    ):
        require_same_python(environment, str(other))
    with pytest.raises(SetUpError, match="/no/python is no Python that runs"):
        require_same_python(environment, "/no/python")


def test_an_environment_for_another_ros_is_told(environment: Path) -> None:
    require_same_ros(environment, [])
    with pytest.raises(SetUpError, match=r"a ROS 2 is sourced \(/opt/ros/kilted\) and \.venv cannot see"):
        require_same_ros(environment, ["/opt/ros/kilted"])
    (environment / "share" / "rclpy").mkdir(parents=True)
    with pytest.raises(SetUpError, match="holds the wheels of a ROS 2: type `make clean setup"):
        require_same_ros(environment, ["/opt/ros/kilted"])


@pytest.mark.parametrize(
    ("offered", "wants_cpu", "expected"),
    [
        ("2.14.0, 2.13.0+cpu, 2.13.0", False, ("the CPU", "torch==2.13.0")),
        ("2.14.0, 2.13.0+cpu, 2.13.0", True, ("the CPU", "torch==2.13.0+cpu")),
        ("2.14.0+cpu, 2.13.0", False, ("CUDA" if os.uname().machine == "x86_64" else "the CPU", "torch==2.13.0")),
    ],
)
def test_the_build_of_torch_is_known_beforehand(
    tmp_path: Path, offered: str, wants_cpu: bool, expected: tuple[str, str]
) -> None:
    assert torch_build(_pip_that_says(tmp_path, offered), "torch==2.13.0", wants_cpu) == expected


def test_a_cpu_build_that_no_index_has_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        SetUpError, match=r"no index that pip knows has torch 2\.13\.0\+cpu: type `PIP_EXTRA_INDEX_URL="
    ):
        torch_build(_pip_that_says(tmp_path, "2.13.0"), "torch==2.13.0", wants_cpu=True)


def _pip_that_says(folder: Path, versions: str) -> Path:
    python = folder / "python"
    python.write_text(f"#!/bin/sh\necho 'Available versions: {versions}'\n")
    python.chmod(0o755)
    return python


def test_the_command_finds_its_checkout_wherever_it_is_started(environment: Path) -> None:
    write_command(environment)
    python = environment / "bin" / "python"
    look = (
        "import importlib.machinery, sys; print(importlib.machinery.PathFinder.find_spec('lowlat_seg_ros'), sys.path)"
    )
    shown = subprocess.run([python, "-c", look], cwd="/", text=True, capture_output=True, check=True).stdout
    assert repr(str(environment.parent)) in shown


def test_make_alone_lists_every_target() -> None:
    listed = subprocess.run(["make"], cwd=CHECKOUT, text=True, capture_output=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert {line.split()[0] for line in listed.splitlines()[1:]} == set(phony.group(1).split())
    assert subprocess.run(["make", "help"], cwd=CHECKOUT, text=True, capture_output=True, check=True).stdout == listed

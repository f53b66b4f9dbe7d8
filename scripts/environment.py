"""The virtual environment of a checkout: whether it can be used as it is, and what it needs after a move."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

PLAIN_PATH = re.compile(r"[\w./+@~,=%-]+", re.ASCII)

GIGABYTES = {  # to download and on disk, by what torch is built for; measured with `du` and by pip's own words
    "CUDA": "about 2.9 GB to download and 5.3 GB on disk",
    "the CPU": "2.2 GB on disk",
}
FREE_GIGABYTES_NEEDED = {"CUDA": 8.5, "the CPU": 4.0}  # while pip unpacks, the downloads lie beside what is installed

CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class SetUpError(Exception):
    """A step failed; the message says what is missing and what to type."""


def require_plain_path(checkout: Path) -> None:
    """Raise SetUpError where ROS 2's build tools would fail on the checkout's path, some minutes from now."""
    if PLAIN_PATH.fullmatch(str(checkout)) is None:
        strange = next(letter for letter in str(checkout) if PLAIN_PATH.fullmatch(letter) is None)
        name = "a space" if strange == " " else f"the letter {strange!r}"
        raise SetUpError(
            f"ROS 2's build tools cannot work in {checkout}, whose path holds {name}: move this folder to a path of "
            "plain letters, digits and .-_+ and type `make setup` there"
        )


def require_same_python(environment: Path, asked_for: str | None) -> None:
    """Raise SetUpError if another Python is asked for than the environment has."""
    if asked_for is None:
        return
    try:
        ask = [asked_for, "-c", "import platform, sys; print(platform.python_version(), sys.base_prefix)"]
        theirs = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetUpError(f"{asked_for} is no Python that runs: leave PYTHON out to use {environment.name}") from error
    version, _, prefix = theirs.partition(" ")
    own = "{}.{}.{}".format(*sys.version_info)
    if (version, Path(prefix).resolve()) != (own, Path(sys.base_prefix).resolve()):
        raise SetUpError(
            f"{environment.name} has Python {own} of {sys.base_prefix} and {asked_for} is {version} of {prefix}: leave "
            f"PYTHON out to use it, or type `make clean setup PYTHON={asked_for}` to make it anew"
        )


def require_same_ros(environment: Path, sourced: list[str]) -> None:
    """Raise SetUpError where a ROS 2 is sourced and the environment holds another, or was made for one."""
    has_wheels = (environment / "share" / "rclpy").is_dir()
    sees_system = "include-system-site-packages = true" in (environment / "pyvenv.cfg").read_text().lower()
    if sourced and (has_wheels or not sees_system):
        what = "holds the wheels of a ROS 2" if has_wheels else "cannot see that ROS 2's Python packages"
        raise SetUpError(
            f"a ROS 2 is sourced ({sourced[-1]}) and {environment.name} {what}: type `make clean setup "
            "PYTHON=/usr/bin/python3` to make it anew, or go on in a shell that sources none"
        )
    if not sourced and sees_system and not has_wheels and (environment / "stamps" / "requirements").is_file():
        raise SetUpError(
            f"{environment.name} was made for a ROS 2 that is not sourced here: type `source "
            "/opt/ros/DISTRIBUTION/setup.bash` first, or `make clean setup` to make it anew without"
        )


def adapt_to_place(environment: Path, checkout: Path) -> bool:
    """Exchange a moved checkout's old path in the environment's scripts; returns whether it had moved."""
    old = recorded_place(environment)
    if old is None or old == str(checkout):
        return False
    files = [environment / "pyvenv.cfg", *(environment / "bin").iterdir(), *(environment / "share").rglob("*.cmake")]
    files += environment.glob("lib/python*/site-packages/*.pth")
    for file in files:
        if file.is_symlink() or not file.is_file():
            continue
        content = file.read_bytes()
        moved = re.sub(re.escape(old.encode()) + rb"(?=[/\"'\s:;]|$)", lambda _: str(checkout).encode(), content)
        if moved != content and b"\0" not in content:
            # Replaced, not written over: a copy of this environment may share the file.
            new = file.with_name(f".{file.name}.new")
            new.write_bytes(moved)
            new.chmod(file.stat().st_mode)
            os.replace(new, file)
    return True


def recorded_place(environment: Path) -> str | None:
    """The checkout in which the environment was set up last; None where nothing says so."""
    place = environment / "stamps" / "place"
    if place.is_file():
        return place.read_text()
    made = re.search(r"^command = .* (/.*)/[^/]+$", (environment / "pyvenv.cfg").read_text(), re.MULTILINE)
    return None if made is None else made.group(1)


class TorchBuild(NamedTuple):
    """Which torch pip will take."""

    built_for: str  # a key of GIGABYTES
    requirement: str  # as for pip


def torch_build(python: Path, pinned: str, wants_cpu: bool) -> TorchBuild:
    """Which build of the pinned torch the indexes offer that pip knows, and the CPU's where that is asked for.

    Raises:
        SetUpError: the CPU's build is asked for and no index has it.
    """
    known = [str(python), "-m", "pip", "index", "versions", "torch", "--disable-pip-version-check"]
    offered = subprocess.run(known, capture_output=True, text=True, check=False).stdout
    version = pinned.partition("==")[2]
    has_cpu_build = re.search(rf"\b{re.escape(version)}\+cpu\b", offered) is not None
    if wants_cpu and not has_cpu_build:
        raise SetUpError(
            f"no index that pip knows has torch {version}+cpu: type `PIP_EXTRA_INDEX_URL={CPU_INDEX} make setup "
            "TORCH=cpu`"
        )
    if wants_cpu:
        return TorchBuild("the CPU", f"torch=={version}+cpu")
    # pip takes +cpu before the version without, and PyPI's for other processors than x86-64 are the CPU's.
    return TorchBuild("the CPU" if has_cpu_build or os.uname().machine != "x86_64" else "CUDA", pinned)


def write_command(environment: Path) -> None:
    """Leave ``bin/lowlat-seg``, and let the environment's Python find the package wherever it is started."""
    command = environment / "bin" / "lowlat-seg"
    command.unlink(missing_ok=True)
    command.write_text(COMMAND)
    command.chmod(0o755)
    (packages,) = environment.glob("lib/python{}.{}/site-packages".format(*sys.version_info))
    path_file = packages / "lowlat_seg_ros.pth"
    path_file.unlink(missing_ok=True)
    path_file.write_text(f"{environment.parent}\n")


COMMAND = """#!/usr/bin/env bash
# What `make setup` has built, with ROS 2 for live replays. `-c` would look for modules in the folder it is started in.
here="$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
exec "$here/../../scripts/with_ros" "$here/python" -c \\
    'import sys; sys.path.remove(""); from lowlat_seg_ros.cli import main; sys.exit(main())' "$@"
"""

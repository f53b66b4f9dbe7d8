"""Set up this checkout: a virtual environment, the pinned requirements and the built package. `make setup` runs it.

Where no ROS 2 is sourced its wheels are installed: Kilted's, or with ROS_WHEELS=jazzy those of Jazzy, beside the others
(.venv-jazzy, build-jazzy, install-jazzy).

Every step leaves a stamp of what it was made from and runs again only when that has changed. A step that fails says
in one sentence what is missing and what to type. Only the standard library is used: nothing else is there yet.
"""

import argparse
import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from environment import (
    FREE_GIGABYTES_NEEDED,
    GIGABYTES,
    SetUpError,
    adapt_to_place,
    require_plain_path,
    require_same_python,
    require_same_ros,
    torch_build,
    write_command,
)

CHECKOUT = Path(__file__).resolve().parents[1]
ROS_WHEELS = os.environ.get("ROS_WHEELS", "kilted")
BESIDE = "" if ROS_WHEELS == "kilted" else f"-{ROS_WHEELS}"
ENVIRONMENT = CHECKOUT / f".venv{BESIDE}"
BUILD = CHECKOUT / f"build{BESIDE}"
INSTALL = CHECKOUT / f"install{BESIDE}"
STAMPS = ENVIRONMENT / "stamps"
REQUIREMENTS = CHECKOUT / "requirements"
LARGE_DOWNLOAD = re.compile(r"Downloading (?:\S*/)?([^/\s]+?)-\S* (\((?:\d{2,}(?:\.\d)? MB|[\d.]+ GB)\))")


def main() -> int:
    options = argparse.ArgumentParser(description="Set up this checkout, as `make setup` does.")
    options.add_argument("--python", help="which the environment must have, if there is one already")
    options.add_argument("--torch", choices=("cpu",), help="the build without CUDA")
    asked_for = options.parse_args()
    # One set-up at a time in a checkout. A directory can be locked as it is: no lock file stays behind.
    checkout = os.open(CHECKOUT, os.O_RDONLY)
    fcntl.flock(checkout, fcntl.LOCK_EX)
    try:
        require_plain_path(CHECKOUT)
        sourced = sourced_ros()
        check_machine(sourced)
        make_environment(sourced, asked_for.python)
        install_requirements(sourced, wants_cpu=asked_for.torch == "cpu")
        if build_package(sourced):
            say("done; look at it work with `make demo`")
    except SetUpError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    return 0


# --- What is there ---------------------------------------------------------------------------------------------------


def sourced_ros() -> list[str]:
    """Prefixes of the ROS 2 that is sourced in this shell, empty if there is none; our own build does not count."""
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if prefix]
    return [str(prefix) for prefix in prefixes if not prefix.resolve().is_relative_to(CHECKOUT)]


def check_machine(sourced: list[str]) -> None:
    """Raise SetUpError naming the first thing that is missing on this machine."""
    if sourced:
        distribution = os.environ.get("ROS_DISTRO", "that")
        if importlib.util.find_spec("rclpy") is None:
            raise SetUpError(
                f"a ROS 2 is sourced ({sourced[-1]}), but {sys.executable} has no rclpy: type "
                f"`make setup PYTHON=/usr/bin/python3`, or `sudo apt install ros-{distribution}-rclpy`"
            )
        require_tool("colcon", "sudo apt install python3-colcon-common-extensions")
        require_tool("cmake", "sudo apt install cmake")
    elif (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetUpError(
            f"the ROS 2 wheels are for x86-64 Linux and this is {platform.machine()} {platform.system()}: "
            "install ROS 2, source it and type `make setup` again"
        )
    require_tool(os.environ.get("CXX", "c++"), "sudo apt install g++")
    require_tool(os.environ.get("CC", "cc"), "sudo apt install gcc")
    require_tool("make", "sudo apt install make")
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            raise SetUpError(f"{sys.executable} cannot make virtual environments: type `sudo apt install python3-venv`")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise SetUpError(f"{sys.executable} has no C headers: type `sudo apt install python3-dev`")


def require_tool(tool: str, remedy: str) -> None:
    if shutil.which(tool) is None:
        raise SetUpError(f"{tool} is not found: type `{remedy}`")


# --- The steps -------------------------------------------------------------------------------------------------------


def make_environment(sourced: list[str], asked_for: str | None) -> None:
    """Make .venv, or use the one that is there: with its own Python, and adapted where the checkout has moved."""
    is_there = Path(sys.prefix).resolve() == ENVIRONMENT.resolve()  # `make` runs this by its Python, if that runs
    if is_there:
        require_same_python(ENVIRONMENT, asked_for)
        require_same_ros(ENVIRONMENT, sourced)
    made_from = digest([sys.version, sys.base_prefix, str(CHECKOUT), *sourced])
    if is_there and is_current("environment", made_from) and (STAMPS / "place").is_file():
        return
    if not is_there:
        say(f"making {ENVIRONMENT.name} with Python {platform.python_version()}")
        python = Path(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info))
        # Over what is left of one that was made in part or whose Python is gone; nothing is deleted.
        run([python, "-m", "venv", *(["--system-site-packages"] if sourced else []), ENVIRONMENT], "python -m venv")
    elif adapt_to_place(ENVIRONMENT, CHECKOUT):
        say(f"adapting {ENVIRONMENT.name} to its new place")
    if not is_current("environment", made_from):
        for folder in (BUILD, INSTALL):  # CMake's cache names the old environment's Python
            shutil.rmtree(folder, ignore_errors=True)
    leave_stamp("place", str(CHECKOUT))
    leave_stamp("environment", made_from)


def install_requirements(sourced: list[str], wants_cpu: bool) -> None:
    """Install the pinned requirements; without ROS also its wheels, made usable by CMake."""
    names = ("library", "test", "cluster", "plots", "hugging_face", "onnx")
    files = [REQUIREMENTS / f"{name}.txt" for name in names]
    if not sourced:
        files += [REQUIREMENTS / "without_ros.txt", REQUIREMENTS / f"{ROS_WHEELS}.txt"]
    constraints = REQUIREMENTS / "constraints.txt"
    repair = CHECKOUT / "scripts" / "repair_ros_wheels.py"
    made_from = digest(file.read_bytes() for file in (*files, constraints, repair))
    python = ENVIRONMENT / "bin" / "python"
    if is_current("requirements", made_from) and not (wants_cpu and has_cuda_build()):
        write_command(ENVIRONMENT)
        return
    torch = torch_build(python, pinned_torch(), wants_cpu)
    # What is there already is not downloaded again.
    is_first = not (STAMPS / "requirements").is_file()
    say(f"installing the pinned requirements{', ' + GIGABYTES[torch.built_for] if is_first else ''}")
    if is_first:
        print(f"        (torch is built for {torch.built_for}; some minutes)", flush=True)
        require_free_disk(FREE_GIGABYTES_NEEDED[torch.built_for])
    options = [option for file in files for option in ("--requirement", file)]
    run([python, "-m", "pip", "install", "--constraint", constraints, torch.requirement, *options], "pip install")
    if not sourced:
        run([python, repair], "repairing the ROS wheels")
    write_command(ENVIRONMENT)
    leave_stamp("requirements", made_from)


def pinned_torch() -> str:
    """torch's line of the requirements."""
    lines = (REQUIREMENTS / "library.txt").read_text(encoding="utf-8").splitlines()
    return next(line.partition("#")[0].strip() for line in lines if line.startswith("torch=="))


def has_cuda_build() -> bool:
    """Whether the torch that is installed is not the CPU's."""
    installed = list(ENVIRONMENT.glob("lib/python*/site-packages/torch-*.dist-info"))
    return not any("+cpu" in folder.name for folder in installed)


def require_free_disk(gigabytes: float) -> None:
    free = shutil.disk_usage(CHECKOUT).free / 1e9
    if free < gigabytes:
        raise SetUpError(
            f"{gigabytes:g} GB of disk are needed and {free:.1f} GB are free at {CHECKOUT}: free some and type "
            "`make setup` again"
        )


def build_package(sourced: list[str]) -> bool:
    """Build the messages and install the package, Python files as links: editing one needs no build, a new one does.

    Returns whether there was anything to build.
    """
    built_from = [CHECKOUT / "CMakeLists.txt", CHECKOUT / "package.xml"]
    for files in ("msg/*.msg", "scripts/*.in", "src/*.[ch]pp"):
        built_from += sorted(CHECKOUT.glob(files))
    linked = sorted(
        str(file.relative_to(CHECKOUT))
        for folder in ("lowlat_seg_ros", "config", "launch", "rviz")
        for file in (CHECKOUT / folder).rglob("*")
        if "__pycache__" not in file.parts and file.suffix != ".so"
    )
    environment_stamps = [(STAMPS / name).read_text() for name in ("environment", "requirements")]
    made_from = digest([*(file.read_bytes() for file in built_from), *linked, *environment_stamps])
    if is_current("package", made_from) and INSTALL.is_dir():
        return False
    say("building the package and its messages")
    shutil.rmtree(INSTALL, ignore_errors=True)  # colcon leaves there what is no longer installed
    variables = dict(os.environ, PATH=f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}")
    if not sourced:
        variables["AMENT_PREFIX_PATH"] = variables["CMAKE_PREFIX_PATH"] = str(ENVIRONMENT)
    cmake_options = [f"-DPython3_EXECUTABLE={ENVIRONMENT / 'bin' / 'python'}", "-DBUILD_TESTING=OFF"]
    folders: list[str | Path] = ["--build-base", BUILD, "--install-base", INSTALL]
    select = ["--packages-select", "lowlat_seg_ros", "--symlink-install"]
    run(["colcon", "build", *folders, *select, "--cmake-args", *cmake_options], "colcon build", variables)
    link_kernels()
    check_package()
    leave_stamp("package", made_from)
    return True


def link_kernels() -> None:
    """Show the checkout's own modules the library that was built, as they also run without the install folder."""
    link = CHECKOUT / "lowlat_seg_ros" / "kernels" / "_kernels.so"
    link.unlink(missing_ok=True)
    for library in INSTALL.rglob(link.name):
        link.symlink_to(os.path.relpath(library, link.parent))


def check_package() -> None:
    """Raise SetUpError unless the package's messages and what its node needs import."""
    imports = "import rclpy, torch, cv2; from lowlat_seg_ros.msg import KeyFrameDiagnostics"
    with_ros = CHECKOUT / "scripts" / "with_ros"
    run([with_ros, "python", "-c", imports], "importing the built package; `make clean setup` starts afresh")


# --- Helpers ---------------------------------------------------------------------------------------------------------


def run(command: list[str | Path], name: str, variables: dict[str, str] | None = None) -> None:
    """Run a command in the checkout, naming its large downloads; raise SetUpError with its last words if it fails."""
    process = subprocess.Popen(
        command, cwd=CHECKOUT, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        output.append(line)
        if download := LARGE_DOWNLOAD.search(line):
            print("   downloading", *download.groups(), flush=True)
        if line.startswith("WARNING:"):  # pip's, as of an index that does not answer, which it tries for minutes
            print("  ", line.strip(), flush=True)
    if process.wait() != 0:
        print("".join(output[-40:]), file=sys.stderr)
        raise SetUpError(f"{name} failed: {cause(''.join(output))}")


def cause(output: str) -> str:
    """What the user can do about a failed command, as far as its output tells."""
    if "No space left on device" in output:
        return "the disk is full; free some space and type `make setup` again"
    if "Failed to establish a new connection" in output or "Temporary failure in name resolution" in output:
        return "no package index could be reached; check the network and type `make setup` again"
    return "its last lines are above"


def digest(parts: Iterable[str | bytes]) -> str:
    """One hash over all parts and their order."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return hashed.hexdigest()


def is_current(step: str, made_from: str) -> bool:
    stamp = STAMPS / step
    return stamp.is_file() and stamp.read_text() == made_from


def leave_stamp(step: str, made_from: str) -> None:
    STAMPS.mkdir(exist_ok=True)
    (STAMPS / step).write_text(made_from)


def say(step: str) -> None:
    print(f"set-up: {step} ...", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""What a process that moves images must set before Fast DDS and torch are loaded.

Without the profile most images are lost; without the allocator's limits every image costs thousands of page faults;
without sleeping threads a core that another program takes costs tenfold.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.ros.shared_memory import (
    PROFILE_VARIABLES,
    SHARED_MEMORY,
    free_bytes,
    remove_dead_files,
    segment_size,
)
from lowlat_seg_ros.ros.stop_signals import Stopped, StopSignals
from lowlat_seg_ros.runtime.steady_memory import keep_large_buffers
from lowlat_seg_ros.runtime.threads import let_threads_sleep

_FAST_DDS_2: Final = Path("share", "fastrtps")

_TRANSPORTS: Final = "FASTDDS_BUILTIN_TRANSPORTS"

_SHARED_MEMORY_TRANSPORT: Final = "shared_memory_for_images"

_XML: Final = "{http://www.eprosima.com}"

LEAST_FOR_ROS: Final = 1 << 16
"""Bytes of /dev/shm below which it is tried whether ROS starts."""


def set_up_process() -> None:
    """All of it, except for what the user has set.

    Raises:
        Error: no process with ROS can be started here.
    """
    keep_large_buffers()
    remove_dead_files()
    choose_transport_profile()
    let_threads_sleep()
    require_room_for_ros()


def require_room_for_ros() -> None:
    """Raise Error where /dev/shm is so full that LTTng, which rclpy loads, would end this process by a bus error."""
    if free_bytes() >= LEAST_FOR_ROS:
        return
    tried = subprocess.run([sys.executable, "-c", "import rclpy"], capture_output=True, check=False)
    if tried.returncode == -signal.SIGBUS:
        raise Error(
            f"{SHARED_MEMORY} is full, and ROS 2 does not start without a page of it: remove files there, or "
            "give the container more with --shm-size or --ipc=host"
        )


def run_process(run: Callable[[list[str], StopSignals], int], arguments: list[str] | None) -> int:
    """``run(arguments, signals)`` in a process that moves images; returns its exit status, 0 after a signal.

    Args:
        run: imports all of ROS itself: what is set here is read when Fast DDS is loaded.
        arguments: the process's own unless given.
    """
    signals = StopSignals()
    try:
        try:
            set_up_process()
        except Error as error:
            print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
            return 1
        return run(sys.argv[1:] if arguments is None else arguments, signals)
    except Stopped:
        return 0


def choose_transport_profile() -> None:
    """Point Fast DDS to our profile, unless the user chose one or named the transports to use.

    Only this process's and its children's environment changes. The profile's segment is as large as /dev/shm allows.
    """
    profile = transport_profile()
    if profile is None or is_chosen_by_user(profile):
        return
    os.environ[profile_variable()] = str(fitting_profile(profile, segment_size(free_bytes())))


def is_chosen_by_user(ours: Path) -> bool:
    """Whether Fast DDS was told by others how to send; our own profile as it is does not count."""
    chosen = [Path(os.environ[name]) for name in PROFILE_VARIABLES if name in os.environ]
    return _TRANSPORTS in os.environ or any(not file.is_file() or not file.samefile(ours) for file in chosen)


def fitting_profile(profile: Path, segment: int) -> Path:
    """Our profile, or a copy of it in the folder for temporary files, with a segment of that size.

    Args:
        profile: our own.
        segment: bytes; 0: without shared memory.
    """
    ElementTree.register_namespace("", _XML.strip("{}"))  # Fast DDS' reader knows no prefixes
    root = ElementTree.fromstring(profile.read_bytes())
    size = root.find(f".//{_XML}segment_size")
    assert size is not None
    if int(size.text or 0) == segment:
        return profile
    size.text = str(segment)
    if segment == 0:
        transports = root.find(f".//{_XML}userTransports")
        assert transports is not None
        for transport in [each for each in transports if each.text == _SHARED_MEMORY_TRANSPORT]:
            transports.remove(transport)
    try:
        folder = Path(tempfile.gettempdir(), f"lowlat_seg_ros-{os.getuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            return profile  # another user's trap, or accident
        return _written(folder / f"fastdds_{segment >> 20}_mb.xml", ElementTree.tostring(root))
    except OSError:
        return profile  # it will not fit, which is said once Fast DDS has tried


def _written(file: Path, content: bytes) -> Path:
    """Written whole or not at all: another node may read it."""
    handle, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(handle, "wb") as opened:
        opened.write(content)
    os.replace(name, file)
    return file


def transport_profile() -> Path | None:
    """Our Fast DDS profile: in the installed package's share folder, else in the checkout; None if it is in neither."""
    return _first_file([*_share_folders(), Path(__file__).parents[2]], Path("config", "fastdds.xml"))


def profile_variable() -> str:
    """The one that the installed Fast DDS reads; Kilted's warns of the other."""
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    return PROFILE_VARIABLES[any(Path(prefix, _FAST_DDS_2).is_dir() for prefix in prefixes if prefix)]


def _share_folders() -> list[Path]:
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return [Path(prefix, "share", "lowlat_seg_ros") for prefix in prefixes if prefix]


def _first_file(folders: list[Path], file: Path) -> Path | None:
    return next((folder / file for folder in folders if (folder / file).is_file()), None)

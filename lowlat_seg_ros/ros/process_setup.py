"""What a process that moves images must set before Fast DDS and torch are loaded.

Without the profile most images are lost; without the allocator's limits every image costs thousands of page faults;
without sleeping threads a core that another program takes costs tenfold.
"""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path
from typing import Final

_MEBIBYTE: Final = 1 << 20

# From glibc's malloc.h; mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3

_PROFILE: Final = "FASTDDS_DEFAULT_PROFILES_FILE"
_PROFILE_UP_TO_JAZZY: Final = "FASTRTPS_DEFAULT_PROFILES_FILE"


def set_up_process() -> None:
    """All of it, except for what the user has set."""
    keep_large_buffers()
    choose_transport_profile()
    let_threads_sleep()


def keep_large_buffers() -> None:
    """Let malloc reuse image-sized buffers where it would return them to the kernel and fault them in again.

    Does nothing where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    # glibc accepts at most 32 MiB as the size from which it maps a buffer by itself.
    mallopt(_M_MMAP_THRESHOLD, 32 * _MEBIBYTE)
    mallopt(_M_TRIM_THRESHOLD, 1024 * _MEBIBYTE)
    mallopt(_M_TOP_PAD, 64 * _MEBIBYTE)


def choose_transport_profile() -> None:
    """Point Fast DDS to our profile, unless the user chose one or named the transports to use."""
    if any(name in os.environ for name in (_PROFILE, _PROFILE_UP_TO_JAZZY, "FASTDDS_BUILTIN_TRANSPORTS")):
        return
    profile = transport_profile()
    if profile is not None:
        os.environ[_profile_variable()] = str(profile)


def let_threads_sleep() -> None:
    """Let OpenMP's threads sleep where they wait for each other at the end of an operator, unless the user chose.

    By default they spin, which takes the core from the very thread that is waited for when there are fewer free cores
    than threads. Sl and Sh of the default model on two threads and two cores beside other programs: 590 ms spinning,
    70 ms sleeping.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def set_start_up_apart() -> None:
    """Keep Python's garbage collector away from what the start-up made: to be called once the node is ready.

    A full collection looks at every object that the imports left, and the frame in whose time it falls waits for it:
    70 ms with torch and rclpy in memory, under 0.1 ms afterwards (bench/start_up_objects.py).
    """
    gc.collect()
    gc.freeze()


def transport_profile() -> Path | None:
    """Our Fast DDS profile: in the installed package's share folder, else in the checkout; None if it is in neither."""
    return _first_file([*_share_folders(), Path(__file__).parents[2]], Path("config", "fastdds.xml"))


def _profile_variable() -> str:
    return _PROFILE_UP_TO_JAZZY if os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy") else _PROFILE


def _share_folders() -> list[Path]:
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return [Path(prefix, "share", "lowlat_seg_ros") for prefix in prefixes if prefix]


def _first_file(folders: list[Path], file: Path) -> Path | None:
    return next((folder / file for folder in folders if (folder / file).is_file()), None)

"""What a process that moves images must set before Fast DDS and torch are loaded.

Without the profile most images are lost; without the allocator's limits every image costs thousands of page faults;
without sleeping threads a core that another program takes costs tenfold.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lowlat_seg_ros.ros.stop_signals import Stopped, StopSignals
from lowlat_seg_ros.runtime.steady_memory import keep_large_buffers
from lowlat_seg_ros.runtime.threads import let_threads_sleep

_PROFILE: Final = "FASTDDS_DEFAULT_PROFILES_FILE"
_PROFILE_UP_TO_JAZZY: Final = "FASTRTPS_DEFAULT_PROFILES_FILE"


def set_up_process() -> None:
    """All of it, except for what the user has set."""
    keep_large_buffers()
    choose_transport_profile()
    let_threads_sleep()


def run_process(run: Callable[[list[str], StopSignals], int], arguments: list[str] | None) -> int:
    """``run(arguments, signals)`` in a process that moves images; returns its exit status, 0 after a signal.

    Args:
        run: imports all of ROS itself: what is set here is read when Fast DDS is loaded.
        arguments: the process's own unless given.
    """
    signals = StopSignals()
    try:
        set_up_process()
        return run(sys.argv[1:] if arguments is None else arguments, signals)
    except Stopped:
        return 0


def choose_transport_profile() -> None:
    """Point Fast DDS to our profile, unless the user chose one or named the transports to use."""
    if any(name in os.environ for name in (_PROFILE, _PROFILE_UP_TO_JAZZY, "FASTDDS_BUILTIN_TRANSPORTS")):
        return
    profile = transport_profile()
    if profile is not None:
        os.environ[_profile_variable()] = str(profile)


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

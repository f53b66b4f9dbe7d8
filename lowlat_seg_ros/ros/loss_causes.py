"""Why images were lost on their way: what can be looked up is looked up, and only its remedy is named."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lowlat_seg_ros.ros.shared_memory import (
    MEGABYTE,
    PROFILE_VARIABLES,
    foreign_users,
    free_bytes,
    own_segments,
    requested_segment,
    segments_by_process,
)

BUSY: Final = 0.8
"""From this share of its time in callbacks on, a node loses images because it is too slow for its camera."""

FAST_DDS: Final = "rmw_fastrtps"
"""What the identifiers of Fast DDS' RMWs begin with."""

CYCLONE_DDS: Final = "rmw_cyclonedds"
"""Likewise of CycloneDDS', which sends by UDP on one host, too."""

GUIDE: Final = "docs/troubleshooting.md"

_SOCKET_BUFFER: Final = Path("/proc/sys/net/core/rmem_max")

_HOST: Final = slice(2, 4)
_PROCESS: Final = slice(4, 6)
"""Of a Fast DDS identity (GID): two bytes that all on one host share, and the lower ones of the process's id."""


@dataclass(frozen=True)
class Circumstances:
    """Under which images of one topic were lost."""

    busy_share: float  # of the node's time, in callbacks of its cameras' images
    image_bytes: int  # of the newest image
    rmw: str  # identifier of the RMW
    fixed_best_effort: bool  # best effort by a parameter, though every publisher is reliable
    own_identity: bytes = b""  # GIDs of a publisher of this node and of the topic's publishers; empty: not known
    publishers: list[bytes] = field(default_factory=list)


def remedy(seen: Circumstances) -> str:
    """What to do about it, for the first cause that is found."""
    checks: tuple[Callable[[Circumstances], str], ...] = (
        _slow_node,
        _best_effort,
        _other_host,
        _no_segment,
        _other_user,
        _small_segment,
        _small_socket_buffer,
    )
    return next(filter(None, (check(seen) for check in checks)), f"no cause was found; see {GUIDE}")


def segment_trouble(rmw: str) -> str:
    """A sentence if Fast DDS was to make a shared-memory segment for this process and could not; else empty."""
    if not rmw.startswith(FAST_DDS) or "FASTDDS_BUILTIN_TRANSPORTS" in os.environ:
        return ""
    if max(own_segments().values(), default=0) >= requested_segment() > 0 or _has_no_profile():
        return ""
    return (
        f"this process has no shared memory for images (/dev/shm has {free_bytes() / MEGABYTE:.0f} MB free), so images "
        f"travel by UDP: give the container more with --shm-size or --ipc=host; see {GUIDE}"
    )


def _has_no_profile() -> bool:
    return not any(name in os.environ for name in PROFILE_VARIABLES)


def _slow_node(seen: Circumstances) -> str:
    if seen.busy_share < BUSY:
        return ""
    return "the node is slower than the camera: lower the camera's rate, or the parameter input_size"


def _best_effort(seen: Circumstances) -> str:
    return (
        "the publisher is reliable, the subscription is not: set image_reliability to auto"
        if seen.fixed_best_effort
        else ""
    )


def _other_host(seen: Circumstances) -> str:
    if not _are_elsewhere(seen):
        return ""
    return _small_socket_buffer(seen) or "the camera is on another host or in a network of its own: send it compressed"


def _are_elsewhere(seen: Circumstances) -> bool:
    if not seen.rmw.startswith(FAST_DDS) or not seen.own_identity:
        return False
    return any(each[_HOST] != seen.own_identity[_HOST] for each in seen.publishers)


def _no_segment(seen: Circumstances) -> str:
    return segment_trouble(seen.rmw)


def _other_user(seen: Circumstances) -> str:
    users = sorted(_name(user) for user in foreign_users())
    if not users or not seen.rmw.startswith(FAST_DDS) or _senders_segments(seen):
        return ""
    return (
        f"processes of {', '.join(users)} have shared memory that {_name(os.getuid())} does not share: run camera and "
        "node as the same user"
    )


def _small_segment(seen: Circumstances) -> str:
    smallest = min(_senders_segments(seen), default=seen.image_bytes)
    if smallest >= seen.image_bytes:
        return ""
    return (
        f"an image has {seen.image_bytes / MEGABYTE:.1f} MB, the sender's shared memory {smallest / MEGABYTE:.1f} MB: "
        "start the camera's driver with FASTDDS_DEFAULT_PROFILES_FILE (Jazzy: FASTRTPS_DEFAULT_PROFILES_FILE) set to "
        "config/fastdds.xml of this package"
    )


def _small_socket_buffer(seen: Circumstances) -> str:
    try:
        limit = int(_SOCKET_BUFFER.read_text())
    except (OSError, ValueError):
        return ""
    if limit >= seen.image_bytes or not (_are_elsewhere(seen) or seen.rmw.startswith(CYCLONE_DDS)):
        return ""
    return (
        f"images come by UDP, have {seen.image_bytes / MEGABYTE:.1f} MB each, and a socket may hold "
        f"{limit / MEGABYTE:.1f} MB: sudo sysctl -w net.core.rmem_max={max(2 * seen.image_bytes, 16 * MEGABYTE)}"
    )


def _senders_segments(seen: Circumstances) -> list[int]:
    """Bytes of the topic's publishers' segments, as far as their processes are found."""
    if not seen.rmw.startswith(FAST_DDS):
        return []
    found = segments_by_process()
    processes = {int.from_bytes(each[_PROCESS], "little") for each in seen.publishers}
    return [found[process] for process in processes if process in found]


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"

"""Fast DDS' shared memory: how large this process's segment can be, whether it was made, and what dead ones left.

A container has 64 MB of /dev/shm by default, for all its processes. A segment that does not fit is not made, and images
then travel by UDP; a process that was killed leaves its segment behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

SHARED_MEMORY: Final = Path("/dev/shm")

MEGABYTE: Final = 1 << 20

PROFILE_VARIABLES: Final = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""What Fast DDS 3 (Kilted) reads, and Fast DDS 2 (Jazzy), which has another name among ROS packages, too."""

SEGMENT_SIZES: Final = tuple(megabytes * MEGABYTE for megabytes in (64, 32, 16, 8, 4, 2))
"""Bytes. The largest holds several images of 4K, the smallest one of 640x480."""

SHARE_OF_FREE: Final = 0.25
"""Of /dev/shm that one process may take: camera, node and a viewer or two want room."""

SHARE_WHERE_SCARCE: Final = 0.75
"""Of /dev/shm for a segment of at most ENOUGH bytes."""

ENOUGH: Final = 16 * MEGABYTE
"""Bytes: with a reliable subscription no image of 1080p is lost through such a segment."""

_SEGMENT: Final = re.compile(r"/dev/shm/fast(?:dds|rtps)_[0-9a-f]{16}$")
_DEAD_KINDS: Final = ("fastdds_*_el", "fastdds_*_sl", "fastrtps_*_el", "fastrtps_*_sl")


def free_bytes() -> int:
    """What /dev/shm has free; 0 where there is none."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return 0


def segment_size(free: int) -> int:
    """Bytes that this process's segment may have where so many are free; 0: there is no room for one."""
    for size in SEGMENT_SIZES:
        if size <= free * (SHARE_WHERE_SCARCE if size <= ENOUGH else SHARE_OF_FREE):
            return size
    return 0


def mapped_segments() -> dict[Path, int]:
    """Bytes of each segment that this process has mapped: its own, and those of whom it hears by shared memory."""
    found: dict[Path, int] = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and _SEGMENT.match(fields[5]):
            begin, end = (int(address, 16) for address in fields[0].split("-"))
            file = Path(fields[5])
            found[file] = found.get(file, 0) + end - begin
    return found


def requested_segment() -> int:
    """Bytes that this process's Fast DDS profile asks for; 0: there is none, or it asks for no segment."""
    for variable in PROFILE_VARIABLES:
        with contextlib.suppress(OSError, ValueError):
            if size := re.search(r"<segment_size>\s*(\d+)", Path(os.environ.get(variable, "")).read_text()):
                return int(size[1])
    return 0


def own_segments() -> dict[Path, int]:
    """Bytes of those that this process made: it holds their locks. Fast DDS makes a small one beside the profile's."""
    held = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists them is closed by now
            held.add(os.readlink(descriptor))
    return {file: size for file, size in mapped_segments().items() if f"{file}_el" in held}


def segments_by_process() -> dict[int, int]:
    """Bytes of each process's largest segment, by the lower 16 bits of its id, which its identity (GID) has.

    Of the processes that this one sees: those of other containers have other ids.
    """
    sizes: dict[int, int] = {}
    for file in SHARED_MEMORY.glob("fast*_*_el"):
        with contextlib.suppress(OSError):
            sizes[file.stat().st_ino] = file.with_name(file.name.removesuffix("_el")).stat().st_size
    found: dict[int, int] = {}
    try:
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:  # kept from this process: whose segment is whose is not known
        return {}
    for line in locks:
        fields = line.split()  # 7: FLOCK ADVISORY WRITE 4004 00:1b:35442 0 EOF
        if len(fields) == 8 and fields[1] == "FLOCK":
            process, size = int(fields[4]) & 0xFFFF, sizes.get(int(fields[5].rpartition(":")[2]), 0)
            found[process] = max(size, found.get(process, 0))
    return {process: size for process, size in found.items() if size}


def foreign_users() -> set[int]:
    """Ids of other users who have segments here that this process may not open."""
    owners = set()
    for file in SHARED_MEMORY.glob("fast*_*"):
        with contextlib.suppress(OSError):
            if _SEGMENT.match(str(file)) and file.stat().st_uid != os.getuid():
                owners.add(file.stat().st_uid)
    return owners


def remove_dead_files(minimum_age_seconds: float = 1.0) -> list[Path]:
    """Remove this user's Fast DDS files that no living process has locked, as `fastdds shm clean` does.

    The lock is seen from every container that shares /dev/shm; a process id means something in one container only.

    Args:
        minimum_age_seconds: of a lock file. Fast DDS makes the file and then locks it.
    """
    dead = []
    for name, locks in _locks_by_name():
        if all(_is_old(lock, minimum_age_seconds) and _is_mine_and_unlocked(lock) for lock in locks):
            for file in (SHARED_MEMORY / name, SHARED_MEMORY / f"sem.{name}_mutex", *locks):
                with contextlib.suppress(OSError):
                    file.unlink()
                    dead.append(file)
    return dead


def _locks_by_name() -> Iterator[tuple[str, Iterable[Path]]]:
    locks = {file for kind in _DEAD_KINDS for file in SHARED_MEMORY.glob(kind)}
    for name in sorted({file.name[:-3] for file in locks}):
        yield name, [file for file in locks if file.name[:-3] == name]


def _is_old(file: Path, seconds: float) -> bool:
    try:
        return time.time() - file.stat().st_mtime >= seconds
    except OSError:
        return False


def _is_mine_and_unlocked(file: Path) -> bool:
    try:
        with file.open() as opened:
            if os.fstat(opened.fileno()).st_uid != os.getuid():
                return False
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:
        return False

"""What is compiled for a runtime is made once and kept in the user's cache directory.

An entry is one file with the checksum of what it holds: one that is cut short or changed is made again. Each is written
under a name of its own and then renamed, so that two processes may make the same one at once; where nothing can be
written it is made at each start.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.runtime.machine import cpu_model, instruction_sets

logger = logging.getLogger(__name__)

MOST_ENTRIES: Final = 48  # up to 20 megabytes each, four or five a model; the one used least lately goes first
SUFFIX: Final = ".cached"
_HEADER: Final = b"lowlat_seg_ros cache 1\n"


def cache_folder() -> Path | None:
    """``lowlat_seg_ros`` in the user's cache directory, as the XDG specification has it; None where there is none."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # A relative path is to be ignored, by the specification.
        return (Path(given) if given.startswith("/") else Path.home() / ".cache") / "lowlat_seg_ros"
    except RuntimeError:
        return None


class CacheEntry:
    """One file in the cache, by all that decides what it holds."""

    def __init__(self, what: str, made_from: Sequence[str], packages: Sequence[str]) -> None:
        """
        Args:
            what: names the entry for a reader of the folder.
            made_from: all that decides what is in it, but for the packages and this computer.
            packages: distributions whose versions decide it, too.
        """
        self._name = f"{what}-{_key([*made_from, *map(_with_version, packages)])}{SUFFIX}"

    def read(self) -> bytes | None:
        """What was written; None where that is not there, or not whole."""
        folder = cache_folder()
        return None if folder is None else _read(folder / self._name)

    def write(self, content: bytes) -> None:
        """Keep it for the next start, where that can be done."""
        folder = cache_folder()
        if folder is None:
            logger.warning("there is no home directory for a cache, so that each start takes longer")
        else:
            _write(folder / self._name, content)


def _key(parts: Sequence[str]) -> str:
    # A virtual machine's processors may share a name and differ in what they can.
    everything = "\0".join([*parts, cpu_model(), instruction_sets(), platform.machine()])
    return hashlib.sha256(everything.encode()).hexdigest()[:32]


def _with_version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


def _read(file: Path) -> bytes | None:
    try:
        stored = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("the cache cannot be read, and what it holds is made anew: %s", error)
        return None
    checksum, content = stored[len(_HEADER) :][:32], stored[len(_HEADER) + 32 :]
    if not stored.startswith(_HEADER) or hashlib.sha256(content).digest() != checksum:
        logger.warning("%s is broken, and made anew", file)
        return None
    with contextlib.suppress(OSError):
        os.utime(file)  # used now
    return content


def _write(file: Path, content: bytes) -> None:
    try:
        atomic_write(file, _HEADER + hashlib.sha256(content).digest() + content)
        _forget_oldest(file.parent)
    except OSError as error:
        logger.warning("the cache cannot be written, so that each start takes longer: %s", error)


def _forget_oldest(folder: Path) -> None:
    ages = []
    for file in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # another process has just forgotten it
            ages.append((file.stat().st_mtime, file))
    for _, file in sorted(ages, reverse=True)[MOST_ENTRIES:]:
        file.unlink(missing_ok=True)

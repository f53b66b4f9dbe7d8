"""The folder of a command's results, of which one run at a time has the use."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lowlat_seg_ros.errors import Error

_locks: set[int] = set()  # descriptors of this process


def _let_go_of_locks() -> None:
    while _locks:
        os.close(_locks.pop())


# A process that outlives its killed parent by seconds, as those that read ahead for a training, holds no folder.
os.register_at_fork(after_in_child=_let_go_of_locks)


class FolderError(Error):
    """A folder that results cannot be written to; the message is one sentence that names it."""


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make ``folder`` if it is missing; made here, it goes again if nothing was put into it. Raises OSError."""
    was_there = folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if not was_there:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """A folder, made if it is missing, that no other run writes into meanwhile.

    Raises:
        FolderError: it cannot be made or written to, or another run is at it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(made_folder(folder))
            stack.enter_context(_locked(folder))
        except OSError as error:
            raise FolderError(f"{folder} cannot be written to: {error.strerror}; expected a folder") from error
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # A directory can be locked as it is: no lock file stays behind, and the kernel unlocks it for a killed process.
    descriptor = os.open(folder, os.O_RDONLY)
    _locks.add(descriptor)
    try:
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "no right to, or a read-only disk")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderError(f"another run is writing into {folder}; expected a folder of its own") from error
        except OSError:
            pass  # a network's file system that has no such locks
        yield
    finally:
        if descriptor in _locks:
            _locks.remove(descriptor)
            os.close(descriptor)

"""Memory that stops no frame: malloc and the garbage collector of a process that moves images."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_MEBIBYTE: Final = 1 << 20

# From glibc's malloc.h; mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3


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


def freeze_gc() -> None:
    """Keep Python's garbage collector away from what was made so far: to be called once the node is ready.

    A full collection looks at every object that the imports left, and the frame in whose time it falls waits for it:
    70 ms with torch and rclpy in memory, under 0.1 ms afterwards (docs/latency.md).
    """
    thaw_gc()
    gc.freeze()


def thaw_gc() -> None:
    """Let go of what is no longer used among what was kept away: to be called once a model has been let go of."""
    gc.unfreeze()
    gc.collect()


def prepare_for_timing() -> None:
    """As the node's process does, where a command's own time is to be the node's."""
    keep_large_buffers()
    freeze_gc()

"""The CUDA stream a track runs on, so that neither track waits for the other's kernels, and what is copied on it.

Arrays go to a GPU and back by pinned memory, which the GPU reads and writes itself; PyTorch keeps such memory and gives
it out again once a copy is done.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FAST_PRIORITY = -1  # lower is more urgent; a hint to the GPU's scheduler, which preempts nothing already running
SLOW_PRIORITY = 0


class TrackStream:
    """A CUDA stream of a track's own. On the CPU every method does nothing: there, a call's work is done on return."""

    def __init__(self, device: torch.device, priority: int) -> None:
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device, priority=priority)
            # Weights are usually copied to the device on the default stream.
            self._stream.wait_stream(torch.cuda.default_stream(device))

    def in_use(self) -> AbstractContextManager[object]:
        """A context in which this thread's kernels go to this stream."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def mark(self) -> torch.cuda.Event | None:
        """A point after everything put on this stream so far."""
        return None if self._stream is None else self._stream.record_event()

    def follow(self, mark: torch.cuda.Event | None) -> None:
        """Start what is put on this stream from now on only after another stream's ``mark``."""
        if self._stream is not None and mark is not None:
            self._stream.wait_event(mark)

    def wait(self) -> None:
        """Return once everything on this stream is done, as ``wait_for_stream`` does."""
        if self._stream is not None:
            with torch.cuda.stream(self._stream):
                wait_for_stream(self._stream.device)


def wait_for_stream(device: torch.device) -> None:
    """Return once all of a GPU's current stream is done. The thread sleeps meanwhile: it takes no core and no GIL."""
    done = torch.cuda.Event(blocking=True)
    done.record(torch.cuda.current_stream(device))
    done.synchronize()


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """The array on a device; on the CPU mostly its own memory. What the current stream is given next finds it there."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def to_host(*tensors: Tensor) -> list[NDArray[Any]]:
    """What the current stream has made of them, as arrays; on the CPU their own memory. Waits without taking a core."""
    if tensors[0].device.type == "cpu":
        return [tensor.numpy() for tensor in tensors]
    pinned = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
    for own, tensor in zip(pinned, tensors, strict=True):
        own.copy_(tensor, non_blocking=True)
    wait_for_stream(tensors[0].device)
    return [own.numpy().copy() for own in pinned]  # whoever keeps it keeps no pinned memory

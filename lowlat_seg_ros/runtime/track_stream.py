"""The CUDA stream a track runs on, so that neither track waits for the other's kernels."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

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
        """Return once everything on this stream is done. The thread sleeps meanwhile: it takes no core and no GIL."""
        if self._stream is not None:
            done = torch.cuda.Event(blocking=True)
            done.record(self._stream)
            done.synchronize()

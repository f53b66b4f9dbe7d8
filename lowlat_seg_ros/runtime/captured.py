"""Functions of tensors that a GPU replays as one CUDA graph.

On a GPU a frame is some hundred short kernels, and Python takes longer to start one than the GPU to run it: recorded
once and replayed, they start together. On a CPU, and where gradients are wanted, the same functions are called as they
are.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, cast

import torch
from torch import Tensor

from lowlat_seg_ros.errors import in_one_line
from lowlat_seg_ros.runtime.runtime import make_room

logger = logging.getLogger(__name__)

CALLS_TO_RECORD: Final = 2
"""Of a function on operands of some shapes: the first makes what kernels need to have made, the second is recorded."""

KEPT: Final = 64  # recordings of a function, in a thread

Operands = tuple[Tensor | None, ...]
Results = Tensor | tuple[Tensor, ...]
Compute = Callable[..., Results]
Function = TypeVar("Function", bound=Callable[..., Any])


class Recording(Protocol):
    """What a call has put on the current stream, to be put there again."""

    def replay(self) -> None:
        """It reads the memory that the recorded call read, and writes where that wrote."""


class Recorder(Protocol):
    """A way to record a call that is to be replayed."""

    def record(self, compute: Compute, operands: Operands) -> tuple[Recording, Results]:
        """The call, which is not run by this, and what its replays write to."""

    def mark(self) -> torch.cuda.Event | None:
        """A point after all that the current stream has been given."""


class CudaRecorder:
    """CUDA graphs."""

    def record(self, compute: Compute, operands: Operands) -> tuple[Recording, Results]:
        graph = torch.cuda.CUDAGraph()
        # `with torch.cuda.graph` would first wait for the whole GPU, the other track included. thread_local: that
        # track's thread may allocate, copy and wait meanwhile.
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            results = compute(*operands)
        finally:
            graph.capture_end()
        return graph, results

    def mark(self) -> torch.cuda.Event | None:
        return torch.cuda.current_stream().record_event()


class _OfThread(threading.local):
    is_recording = False  # a captured function that another one calls is part of that


_here = _OfThread()
_is_off = False


def recorder_for(device: torch.device) -> Recorder | None:
    """None where calls are to be made as they are."""
    if device.type != "cuda" or not torch.is_inference_mode_enabled():
        return None
    if torch.cuda.current_stream(device) == torch.cuda.default_stream(device):  # it cannot be captured
        return None
    return CudaRecorder()


def calls_to_warm_up(device: torch.device) -> int:
    """After so many calls of each kind no later one has anything to make ready."""
    return 1 if recorder_for(device) is None else CALLS_TO_RECORD


@contextmanager
def nothing_captured() -> Iterator[None]:
    """Within it every call of the process is made as it is: what measurements compare with."""
    global _is_off
    _is_off = True
    try:
        yield
    finally:
        _is_off = False


@dataclass(eq=False)
class _Recorded:
    """One call's recording, with the memory that it reads from and writes to."""

    operands: Operands
    recording: Recording
    results: Results
    last_use: torch.cuda.Event | None = None  # on whichever stream that was

    def replay(self, operands: Operands, recorder: Recorder) -> Results:
        if self.last_use is not None:
            self.last_use.wait()  # the current stream does: another camera's may still be at it
        for own, given in zip(self.operands, operands, strict=True):
            if own is not None and given is not None:
                own.copy_(given)
        self.recording.replay()
        found = self.results.clone() if isinstance(self.results, Tensor) else tuple(map(Tensor.clone, self.results))
        self.last_use = recorder.mark()
        return found


def captured(function: Function) -> Function:
    """A function that a GPU replays as one, recorded for each thread and for each shapes of its operands.

    Args:
        function: of tensors or None, by position, and of hashable constants, by keyword, of which one may be a module;
            it gives a tensor or a tuple of them. It looks at these alone, at weights that never change, decides nothing
            by a tensor's values, and brings nothing from the host.

    Returns:
        The same function. Where it cannot be recorded it is called as it is, and one warning says so.
    """
    name = getattr(function, "__name__", type(function).__name__)
    of_thread = threading.local()
    has_failed = False

    @functools.wraps(function, updated=())
    def call(*operands: Tensor | None, **constants: Hashable) -> Any:
        nonlocal has_failed
        recorder = None
        if not (has_failed or _is_off or _here.is_recording):
            recorder = recorder_for(next(operand.device for operand in operands if operand is not None))
        if recorder is None:
            return function(*operands, **constants)
        recordings: dict[Hashable, _Recorded | None] = of_thread.__dict__.setdefault("recordings", {})
        signature = tuple(sorted(constants.items())), tuple(map(_layout, operands))
        if signature not in recordings:
            make_room(recordings, KEPT)
            recordings[signature] = None
            return function(*operands, **constants)
        try:
            recorded = recordings[signature] or _record(recorder, function, operands, constants)
        except Exception as error:  # CUDA's, cuDNN's and Triton's are of any type
            has_failed = True
            logger.warning("%s cannot be captured in a CUDA graph; it is slower so: %s", name, in_one_line(error))
            return function(*operands, **constants)
        recordings[signature] = recorded
        return recorded.replay(operands, recorder)

    return cast(Function, call)


def _layout(operand: Tensor | None) -> Hashable:
    return None if operand is None else (operand.shape, operand.stride(), operand.dtype, operand.device)


def _record(
    recorder: Recorder, function: Callable[..., Any], operands: Operands, constants: dict[str, Hashable]
) -> _Recorded:
    own = tuple(None if operand is None else operand.clone() for operand in operands)
    _here.is_recording = True
    try:
        recording, results = recorder.record(functools.partial(function, **constants), own)
    finally:
        _here.is_recording = False
    return _Recorded(own, recording, results)

"""Functions of tensors that a GPU replays as one CUDA graph.

On a GPU a frame is some hundred short kernels, and Python takes longer to start one than the GPU to run it: recorded
once and replayed, they start together. On a CPU, and where gradients are wanted, the same functions are called as they
are.
"""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from lowlat_seg_ros.errors import in_one_line
from lowlat_seg_ros.runtime.runtime import make_room

logger = logging.getLogger(__name__)

CALLS_TO_RECORD: Final = 2
"""Of a function on operands of some shapes: the first makes what kernels need to have made, the second is recorded."""

KEPT: Final = 64  # recordings of a function or of a module, in a thread

Operands = tuple[Tensor | None, ...]
Results = Tensor | tuple[Tensor, ...]
Compute = Callable[..., Results]
Function = TypeVar("Function", bound=Callable[..., Any])


class Recording(Protocol):
    """What a call has put on the current stream, to be put there again."""

    def replay(self) -> None:
        """It reads the memory that the recorded call read, and writes where that wrote."""


class Recorder(Protocol):
    """A thread's way to record calls that are to be replayed one after the other."""

    def record(self, compute: Compute, operands: Operands) -> tuple[Recording, Results]:
        """The call, which is not run by this, and what its replays write to."""

    def mark(self) -> torch.cuda.Event | None:
        """A point after all that the current stream has been given."""


class CudaRecorder:
    """CUDA graphs, which share the memory of what they only need while they run."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, compute: Compute, operands: Operands) -> tuple[Recording, Results]:
        graph = torch.cuda.CUDAGraph()
        # `with torch.cuda.graph` would first wait for the whole GPU, the other track included. thread_local: that
        # track's thread may allocate, copy and wait meanwhile.
        graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
        try:
            results = compute(*operands)
        except BaseException:
            self._give_up(graph)
            raise
        graph.capture_end()
        return graph, results

    def _give_up(self, graph: torch.cuda.CUDAGraph) -> None:
        try:
            graph.capture_end()
        except Exception:
            # It ends before it has told the allocator, which would take this thread to be capturing for ever.
            end = getattr(torch._C, "_cuda_endAllocateToPool", None)
            if end is not None:
                with suppress(Exception):
                    end(self._device.index or 0, self._pool)

    def mark(self) -> torch.cuda.Event | None:
        return torch.cuda.current_stream().record_event()


def recorder_on(device: torch.device) -> Recorder | None:
    """A new one for the calling thread; None where nothing is ever recorded."""
    return CudaRecorder(device) if device.type == "cuda" else None


def can_record(device: torch.device) -> bool:
    """Whether the calls of this moment may be recorded."""
    if device.type != "cuda":
        return True
    # The default stream cannot be captured.
    return torch.cuda.current_stream(device) != torch.cuda.default_stream(device)


class _OfThread(threading.local):
    """What a thread has recorded. Replays wait for each other, whichever streams they are on: they share memory."""

    def __init__(self) -> None:
        self.recorders: dict[torch.device, Recorder | None] = {}
        self.recordings: weakref.WeakKeyDictionary[Any, dict[Hashable, _Recorded | None]] = weakref.WeakKeyDictionary()
        self.last_use: torch.cuda.Event | None = None
        self.is_recording = False  # a captured function that another one calls is part of that

    def recorder(self, device: torch.device) -> Recorder | None:
        if self.is_recording or _is_off or not torch.is_inference_mode_enabled():
            return None
        if device not in self.recorders:
            self.recorders[device] = recorder_on(device)
        return self.recorders[device] if can_record(device) else None


_here = _OfThread()
_is_off = False
_one_at_a_time = threading.Lock()  # older versions of torch cannot capture in two threads at once
_failures: dict[str, str] = {}  # why, by the function's name


def calls_to_warm_up(device: torch.device) -> int:
    """After so many calls of each kind no later one has anything to make ready."""
    return 1 if _here.recorder(device) is None else CALLS_TO_RECORD


def failures() -> dict[str, str]:
    """Why functions could not be recorded, by their names."""
    return dict(_failures)


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
    """One call's recording, with the memory that it reads from and writes to; none of that where it failed."""

    operands: Operands = ()
    recording: Recording | None = None
    results: Results = ()

    def replay(self, operands: Operands, recorder: Recorder) -> Results:
        assert self.recording is not None
        if _here.last_use is not None:
            _here.last_use.wait()  # the current stream does: another camera's may still be at it
        for own, given in zip(self.operands, operands, strict=True):
            if own is not None and given is not None:
                own.copy_(given)
        self.recording.replay()
        found = self.results.clone() if isinstance(self.results, Tensor) else tuple(map(Tensor.clone, self.results))
        _here.last_use = recorder.mark()
        return found


def captured(function: Function) -> Function:
    """A function that a GPU replays as one, recorded for each thread and for each shapes of its operands.

    Args:
        function: of tensors or None, by position, and of hashable constants by keyword; it gives a tensor or a tuple of
            them. It looks at these alone, decides nothing by a tensor's values, and brings nothing from the host. A
            constant may be a module, whose weights never change; recordings are forgotten with the first one.

    Returns:
        The same function. Where it cannot be recorded it is called as it is, and one warning says so.
    """

    @functools.wraps(function, updated=())
    def call(*operands: Tensor | None, **constants: Hashable) -> Any:
        recorder = _here.recorder(next(operand.device for operand in operands if operand is not None))
        if recorder is None:
            return function(*operands, **constants)
        modules = [value for value in constants.values() if isinstance(value, nn.Module)]
        recordings = _here.recordings.setdefault(modules[0] if modules else call, {})
        signature = call, tuple(map(_identity, sorted(constants.items()))), tuple(map(_layout, operands))
        if signature not in recordings:
            _make_room(recordings)
            recordings[signature] = None
            return function(*operands, **constants)
        recorded = recordings.pop(signature) or _record(recorder, function, operands, constants)
        recordings[signature] = recorded  # as the one used last
        if recorded is None or recorded.recording is None:
            return function(*operands, **constants)
        return recorded.replay(operands, recorder)

    return cast(Function, call)


def _identity(constant: tuple[str, Hashable]) -> Hashable:
    name, value = constant
    return (name, id(value)) if isinstance(value, nn.Module) else constant  # not kept alive by it


def _layout(operand: Tensor | None) -> Hashable:
    return None if operand is None else (operand.shape, operand.stride(), operand.dtype, operand.device)


def _make_room(recordings: dict[Hashable, _Recorded | None]) -> None:
    if len(recordings) >= KEPT and _here.last_use is not None:
        _here.last_use.synchronize()  # what goes may still be at it
    make_room(recordings, KEPT)


def _record(
    recorder: Recorder, function: Callable[..., Any], operands: Operands, constants: dict[str, Hashable]
) -> _Recorded | None:
    """None where another thread is at it: the next call's turn."""
    if not _one_at_a_time.acquire(blocking=False):
        return None
    _here.is_recording = True
    try:
        own = tuple(None if operand is None else operand.clone() for operand in operands)
        return _Recorded(own, *recorder.record(functools.partial(function, **constants), own))
    except Exception as error:  # CUDA's, cuDNN's and Triton's are of any type
        name = function.__name__
        if name not in _failures:
            logger.warning("%s cannot be captured in a CUDA graph; it is slower so: %s", name, in_one_line(error))
        _failures[name] = in_one_line(error)
        return _Recorded()
    finally:
        _here.is_recording = False
        _one_at_a_time.release()

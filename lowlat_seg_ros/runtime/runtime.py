"""The seam of runtimes: where the layers of a network run. One file an instance, ``runtime.registry`` has them all."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.errors import in_one_line
from lowlat_seg_ros.runtime import machine
from lowlat_seg_ros.runtime.onnx_program import Layers, OnnxFile

Grid = tuple[int, int]  # (height, width) of the features
Session = Callable[[NDArray[Any]], NDArray[Any]]
"""A network made ready for one thread and one size: its input to its first output."""

INSTRUCTIONS: Final = {"int8": machine.INT8_PRODUCTS, "bf16": machine.BF16_PRODUCTS, "fp16": machine.FP16_PRODUCTS}


class Runtime(Protocol):
    """A way to run layers of ours or an ONNX file."""

    name: str
    precisions: tuple[str, ...]

    def refusal(self, precision: str, device: torch.device) -> str:
        """Why it cannot serve here in that precision, in words; empty where it can."""
        ...

    def open(self, network: Layers | OnnxFile, precision: str, threads: int, shape: tuple[int, ...]) -> Session:
        """A session for the calling thread alone.

        Args:
            threads: within one operator.
            shape: of the input.

        Raises:
            Error: it cannot take the network.
        """
        ...


class InThread:
    """A network in a runtime, as a ``Session`` for every thread and size: each is made when it is first asked for."""

    def __init__(self, network: Layers | OnnxFile, runtime: Runtime, precision: str) -> None:
        self._network, self._runtime, self._precision = network, runtime, precision
        self._of_thread = threading.local()

    def __call__(self, fed: NDArray[Any]) -> NDArray[Any]:
        return self.session(fed.shape)(fed)

    def session(self, shape: tuple[int, ...]) -> Session:
        """This thread's for inputs of that shape; raises Error where the runtime cannot take the network."""
        sessions: dict[str, Session] = self._of_thread.__dict__
        threads = torch.get_num_threads()
        key = f"{shape} on {threads}"
        if key not in sessions:
            sessions[key] = self._runtime.open(self._network, self._precision, threads, shape)
        return sessions[key]


class LayersInRuntime:
    """A ``Runner``: one track's layers, made ready for each size when it first comes."""

    def __init__(self, layers_of: Callable[[tuple[int, ...], Grid], Layers], runtime: Runtime, precision: str) -> None:
        self._layers_of, self._runtime, self._precision = layers_of, runtime, precision
        self._sized: dict[tuple[tuple[int, ...], Grid], InThread] = {}

    def __call__(self, layers_input: Tensor, grid: Grid) -> Tensor:
        """(1, C, h, w) float32 to (1, C', *grid), channels last."""
        found = torch.from_numpy(self._for(tuple(layers_input.shape), grid)(layers_input.float().cpu().numpy()))
        return found.to(layers_input.device).contiguous(memory_format=torch.channels_last)

    def open(self, shape: tuple[int, ...], grid: Grid) -> None:
        """Make it ready for this thread and inputs of that shape; raises Error."""
        self._for(shape, grid).session(shape)

    def _for(self, shape: tuple[int, ...], grid: Grid) -> InThread:
        if (shape, grid) not in self._sized:
            self._sized[shape, grid] = InThread(self._layers_of(shape, grid), self._runtime, self._precision)
        return self._sized[shape, grid]


def why_not_installed(module: str, remedy: str, load: Callable[[], object] | None = None) -> str:
    """Empty where the module can be imported; ``load`` does that in a way of its own."""
    if importlib.util.find_spec(module) is None:
        return f"{module} is not installed (type: {remedy})"
    try:
        (load or partial(importlib.import_module, module))()
    except Exception as error:  # a library may fail in any way while it is loaded
        return f"{module} cannot be imported ({in_one_line(error)})"
    return ""


def lacks_instructions(precision: str) -> str:
    """Empty where the CPU has products of that precision, without which it takes longer than fp32."""
    wanted = INSTRUCTIONS.get(precision, ())
    if not wanted or machine.cpu_features().intersection(wanted):
        return ""
    return f"this CPU has no {precision} products ({', '.join(wanted)})"

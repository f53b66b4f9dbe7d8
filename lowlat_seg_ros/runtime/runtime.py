"""The seam of runtimes: where the layers of a network run. One file an instance, ``runtime.choice`` has them all."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.errors import in_one_line
from lowlat_seg_ros.runtime import machine
from lowlat_seg_ros.runtime.onnx_program import Layers, OnnxFile, Shapes

Grid = tuple[int, int]  # (height, width) of the features
Step = TypeVar("Step")  # of a network, whatever names it
Session = Callable[..., list[NDArray[Any]]]
"""A network made ready for one thread and one size: its inputs, arrays, to its outputs, in memory of their own."""

SIZES_KEPT: Final = 16  # that a network is ready for at once
INSTRUCTIONS: Final = {"int8": machine.INT8_PRODUCTS, "bf16": machine.BF16_PRODUCTS, "fp16": machine.FP16_PRODUCTS}


class Runtime(Protocol):
    """A way to run layers of ours or an ONNX file."""

    name: str
    precisions: tuple[str, ...]

    def refusal(self, precision: str, device: torch.device) -> str:
        """Why it cannot serve here in that precision, in words; empty where it can."""
        ...

    def open(
        self, network: Layers | OnnxFile, precision: str, threads: int, shapes: Shapes, device: torch.device
    ) -> Session:
        """A session for the calling thread alone.

        Args:
            threads: within one operator.
            shapes: of the inputs.
            device: one that ``refusal`` did not refuse.

        Raises:
            Error: it cannot take the network.
        """
        ...


def make_room(kept: dict[Any, Any], limit: int = SIZES_KEPT) -> None:
    """For one more: the oldest goes where there are ``limit``. A folder of photographs has hundreds of sizes."""
    if len(kept) >= limit:
        del kept[next(iter(kept))]


class InThread:
    """A network in a runtime, as a ``Session`` for every thread and sizes: each is made when it is first asked for."""

    def __init__(self, network: Layers | OnnxFile, runtime: Runtime, precision: str, device: torch.device) -> None:
        self._network, self._runtime, self._precision, self._device = network, runtime, precision, device
        self._of_thread = threading.local()

    def __call__(self, *fed: NDArray[Any]) -> list[NDArray[Any]]:
        return self.session(tuple(each.shape for each in fed))(*fed)

    def session(self, shapes: Shapes) -> Session:
        """This thread's for inputs of those shapes; raises Error where the runtime cannot take the network."""
        sessions: dict[tuple[int, Shapes], Session] = self._of_thread.__dict__.setdefault("sessions", {})
        threads = torch.get_num_threads()
        if (threads, shapes) not in sessions:
            make_room(sessions)
            opened = self._runtime.open(self._network, self._precision, threads, shapes, self._device)
            sessions[threads, shapes] = opened
        return sessions[threads, shapes]


class LayersInRuntime(Generic[Step]):
    """A ``Runner``: one track's steps, each made ready for each size when it first comes."""

    def __init__(
        self,
        layers_of: Callable[[Step, Grid, Shapes], Layers],
        runtime: Runtime,
        precision: str,
        device: torch.device,
    ) -> None:
        """``layers_of``: their pictures are (1, h, w, C)."""
        self._layers_of, self._runtime, self._precision, self._device = layers_of, runtime, precision, device
        self._sized: dict[tuple[Step, Grid, Shapes], InThread] = {}

    def __call__(self, step: Step, grid: Grid, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """(1, C, h, w) float32 each, channels last in memory."""
        device = inputs[0].device
        fed = [picture.permute(0, 2, 3, 1).contiguous().float().cpu().numpy() for picture in inputs]
        found = self._for(step, grid, tuple(each.shape for each in fed))(*fed)
        return tuple(torch.from_numpy(each).permute(0, 3, 1, 2).to(device) for each in found)

    def open(self, step: Step, grid: Grid, inputs: tuple[Tensor, ...]) -> None:
        """Make a step ready for this thread and inputs (1, C, h, w) of those sizes; raises Error."""
        shapes = tuple(tuple(picture.permute(0, 2, 3, 1).shape) for picture in inputs)
        self._for(step, grid, shapes).session(shapes)

    def _for(self, step: Step, grid: Grid, shapes: Shapes) -> InThread:
        sized = step, grid, shapes
        if sized not in self._sized:
            self._sized[sized] = InThread(self._layers_of(*sized), self._runtime, self._precision, self._device)
        return self._sized[sized]


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

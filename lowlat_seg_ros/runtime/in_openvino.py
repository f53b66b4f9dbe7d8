"""``openvino`` on the CPU, in fp32, bf16, fp16 and int8 (docs/runtimes.md)."""

from __future__ import annotations

import functools
import importlib
import io
import logging
import os
import platform
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from lowlat_seg_ros.errors import Error, in_one_line
from lowlat_seg_ros.runtime.cache import CacheEntry
from lowlat_seg_ros.runtime.machine import usable_cores
from lowlat_seg_ros.runtime.onnx_program import CONVERTED_BY, Layers, OnnxFile, Shapes
from lowlat_seg_ros.runtime.runtime import Session, lacks_instructions, make_room, why_not_installed
from lowlat_seg_ros.runtime.stopping import stop_of_this_thread
from lowlat_seg_ros.runtime.threads import make_own_thread_nice

logger = logging.getLogger(__name__)

REMEDY: Final = "pip install openvino"
X86_64: Final = ("x86_64", "AMD64")
NICENESS: Final = 10  # added to the process's own, as the slow track's, in threads whose runs may be stopped
MOST_TRIES: Final = 20
_HINTS: Final = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}  # int8: of what is not in int8


class OpenVino:
    """Runs in the thread that asks, and where that one may be stopped in a thread of that one's niceness."""

    name = "openvino"
    precisions: tuple[str, ...] = (*_HINTS, "int8")

    def refusal(self, precision: str, device: torch.device) -> str:
        if device.type != "cpu":
            return f"openvino runs on the CPU here, and the device is {device}"
        if precision == "bf16" and platform.machine() not in X86_64:
            return "openvino computes in bf16 on x86-64 alone"
        return why_not_installed("openvino", REMEDY, library) or lacks_instructions(precision)

    def open(
        self, network: Layers | OnnxFile, precision: str, threads: int, shapes: Shapes, device: torch.device
    ) -> Session:
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": _hint(precision),
            "ENABLE_CPU_PINNING": False,  # the tracks' threads share the cores with each other and with the camera
        }
        if threads > 1 and stop_of_this_thread() is None:
            _hire_helpers()
        with _compiling:
            of_network = _compiled.setdefault(network, {})
            key = f"{settings} {shapes}"
            if key not in of_network:
                make_room(of_network)
                of_network[key] = _in_nice_thread(lambda: _compile(network, settings, shapes))
        return functools.partial(_run, of_network[key].create_infer_request())


_compiling: Final = threading.Lock()
_compiled: Final[WeakKeyDictionary[Layers | OnnxFile, dict[str, Any]]] = WeakKeyDictionary()
"""Each by its settings and its input's shape; threads share it and have a request of their own."""


def _compile(network: Layers | OnnxFile, settings: dict[str, Any], shapes: Shapes) -> Any:
    """From the cache where it is there; raises Error where OpenVINO cannot take the network."""
    try:
        if isinstance(network, Layers):
            return _compile_layers(network, settings)
        model = _core().read_model(network.path)
        if model.inputs[0].get_partial_shape().is_dynamic:
            model.reshape(list(shapes[0]))
        return _core().compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise Error(f"openvino cannot take the network: {in_one_line(error)}") from error


def _compile_layers(layers: Layers, settings: dict[str, Any]) -> Any:
    entry = CacheEntry(layers.name, [*layers.made_from, str(settings)], [*CONVERTED_BY, "openvino"])
    kept = entry.read()
    if kept is not None:
        try:
            return _core().import_model(io.BytesIO(kept), "CPU", settings)
        except RuntimeError as error:  # whole, and not what this OpenVINO would write
            logger.warning("what the cache holds of %s is made anew: %s", layers.name, in_one_line(error))
    compiled = _core().compile_model(_core().read_model(io.BytesIO(layers.onnx())), "CPU", settings)
    entry.write(compiled.export_model().getvalue())
    return compiled


def _hint(precision: str) -> str:
    if precision == "int8":
        precision = "bf16" if platform.machine() in X86_64 and not lacks_instructions("bf16") else "fp32"
    return _HINTS[precision]


def _in_nice_thread(compile_it: Callable[[], Any]) -> Any:
    """What it gives, its threads being as nice as the one that made them.

    OpenVINO keeps them, and gives them to later networks: made by an ordinary thread, they would serve the slow track
    as one. What may be stopped runs in them alone; a fast track's network runs in the thread that asks, with those that
    ``_hire_helpers`` made where it has several threads.
    """

    def nicely() -> Any:
        make_own_thread_nice(NICENESS, than_process=True)
        return compile_it()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(nicely).result()


@functools.cache
def _hire_helpers() -> None:
    """Let OpenVINO make all threads that help within an operator now, as nice as the caller.

    It has one set of them for all networks. Made while a network is compiled they would be as nice as the slow track,
    and with a program of ordinary niceness beside it the fast track would wait for them in every operator. What a slow
    track of several threads gets of them instead is as quick as its own thread, which is nice.
    """
    operators = library().opset13
    size = [1024, 1024]  # some milliseconds' work: little is not shared
    matrix = operators.parameter(size, np.float32)
    model = library().Model([operators.matmul(matrix, matrix, False, False)], [matrix])
    settings = {
        "INFERENCE_NUM_THREADS": usable_cores(),
        "INFERENCE_PRECISION_HINT": "f32",  # otherwise bf16 where the CPU has it, which is done too soon
        "ENABLE_HYPER_THREADING": True,  # all logical cores
        "ENABLE_CPU_PINNING": False,
    }
    request = _core().compile_model(model, "CPU", settings).create_infer_request()
    wanted = _count_threads() + usable_cores() - 1
    for _ in range(MOST_TRIES):
        request.infer([np.zeros(size, np.float32)])
        if _count_threads() >= wanted:
            break


def _count_threads() -> int:
    """Of this process, those that are not Python's included; Linux only."""
    return len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0


@functools.cache
def library() -> Any:
    """The module openvino, without its telemetry: imported as it comes, it tells its maker so over the network."""
    telemetry = "openvino_telemetry"
    is_first = "openvino" not in sys.modules and telemetry not in sys.modules
    if is_first:
        sys.modules[telemetry] = None  # type: ignore[assignment]  # openvino then takes its own stub
    try:
        return importlib.import_module("openvino")
    finally:
        if is_first:
            del sys.modules[telemetry]


@functools.cache
def _core() -> Any:
    return library().Core()


def _run(request: Any, *fed: NDArray[Any]) -> list[NDArray[Any]]:
    arrays = [np.ascontiguousarray(each) for each in fed]
    for number, array in enumerate(arrays):
        request.set_input_tensor(number, library().Tensor(array, shared_memory=True))
    given = _outputs_of_own(request)
    stop = stop_of_this_thread()
    if stop is None:
        request.infer()
    else:
        # Only what was begun this way can be cancelled: between two operators.
        with stop.cancelling(request.cancel):
            request.start_async()
            request.wait()
    return given or [np.array(output.data) for output in request.output_tensors]  # their memory is the next run's


def _outputs_of_own(request: Any) -> list[NDArray[Any]]:
    """New memory for what it gives, which is then not copied; none where its size is not known before."""
    ends = request.get_compiled_model().outputs
    if any(end.get_partial_shape().is_dynamic for end in ends):
        return []
    given = [np.empty(tuple(end.shape), end.element_type.to_dtype()) for end in ends]
    for number, array in enumerate(given):
        request.set_output_tensor(number, library().Tensor(array, shared_memory=True))
    return given

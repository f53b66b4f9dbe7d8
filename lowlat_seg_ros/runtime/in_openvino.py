"""``openvino`` on the CPU, in fp32, bf16 and fp16 (docs/runtimes.md)."""

from __future__ import annotations

import functools
import io
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from lowlat_seg_ros.errors import Error, in_one_line
from lowlat_seg_ros.runtime.extras import import_extra
from lowlat_seg_ros.runtime.onnx_program import Layers, OnnxFile
from lowlat_seg_ros.runtime.runtime import Session, lacks_instructions, why_not_installed
from lowlat_seg_ros.runtime.stopping import stop_of_this_thread

EXTRA: Final = "openvino"
NICENESS: Final = 10  # added to the process's own, as the slow track's, in threads whose runs may be stopped
MAXIMUM_NICENESS: Final = 19
_HINTS: Final = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class OpenVino:
    """Runs in the thread that asks, and where that one may be stopped in a thread of that one's niceness."""

    name = "openvino"
    precisions: tuple[str, ...] = tuple(_HINTS)
    needed_to_convert: tuple[str, ...] = ("onnx",)

    def refusal(self, precision: str, device: torch.device) -> str:
        if device.type != "cpu":
            return f"openvino runs on the CPU here, and the device is {device}"
        return why_not_installed("openvino", EXTRA, library) or lacks_instructions(precision)

    def open(self, network: Layers | OnnxFile, precision: str, threads: int, shape: tuple[int, ...]) -> Session:
        core = _core()
        try:
            model = _read(core, network)
            if model.inputs[0].get_partial_shape().is_dynamic:
                model.reshape(list(shape))
            settings = {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "ENABLE_CPU_PINNING": False,  # the tracks' threads share the cores with each other and with the camera
            }
            request = _in_nice_thread(lambda: core.compile_model(model, "CPU", settings).create_infer_request())
        except RuntimeError as error:
            raise Error(f"openvino cannot take the network: {in_one_line(error)}") from error
        return functools.partial(_run, request)


def _in_nice_thread(compile_it: Callable[[], Any]) -> Any:
    """What it gives, its threads being as nice as the one that made them.

    OpenVINO keeps them, and gives them to later networks: made by an ordinary thread, they would serve the slow track
    as one. Only what may be stopped runs in them; a fast track's network runs in the thread that asks.
    """

    def nicely() -> Any:
        if sys.platform == "linux":
            wanted = min(os.getpriority(os.PRIO_PROCESS, os.getpid()) + NICENESS, MAXIMUM_NICENESS)
            # No less than its own: only root may lower that.
            niceness = max(wanted, os.getpriority(os.PRIO_PROCESS, 0))
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        return compile_it()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(nicely).result()


def library() -> Any:
    """The module openvino, without its telemetry: imported as it comes, it tells its maker so over the network."""
    telemetry = "openvino_telemetry"
    is_first = "openvino" not in sys.modules and telemetry not in sys.modules
    if is_first:
        sys.modules[telemetry] = None  # type: ignore[assignment]  # openvino then takes its own stub
    try:
        return import_extra("openvino", EXTRA, "the runtime openvino")
    finally:
        if is_first:
            del sys.modules[telemetry]


@functools.cache
def _core() -> Any:
    return library().Core()


def _read(core: Any, network: Layers | OnnxFile) -> Any:
    if isinstance(network, OnnxFile):
        return core.read_model(network.path)
    return core.read_model(io.BytesIO(network.onnx()))


def _run(request: Any, fed: NDArray[Any]) -> NDArray[Any]:
    fed = np.ascontiguousarray(fed)
    request.set_input_tensor(library().Tensor(fed, shared_memory=True))
    stop = stop_of_this_thread()
    if stop is None:
        request.infer()
    else:
        # Only what was begun this way can be cancelled: between two operators.
        with stop.cancelling(request.cancel):
            request.start_async()
            request.wait()
    return np.array(request.get_output_tensor(0).data)  # its memory is the next run's

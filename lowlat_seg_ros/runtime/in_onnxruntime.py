"""``onnxruntime`` on the CPU, and ``tensorrt`` on a GPU by its provider."""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from lowlat_seg_ros.errors import Error, in_one_line
from lowlat_seg_ros.runtime.extras import import_extra
from lowlat_seg_ros.runtime.onnx_program import Layers, OnnxFile, Shapes
from lowlat_seg_ros.runtime.runtime import Session, why_not_installed
from lowlat_seg_ros.runtime.stopping import stop_of_this_thread

EXTRA: Final = "onnx"
CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
REMEDY: Final = f"pip install 'lowlat-seg-ros[{EXTRA}]'"
_ERRORS_ALONE: Final = 3


class OnnxRuntime:
    """Runs in the thread that asks, where that has one thread; between two operators a run can be stopped."""

    name = "onnxruntime"
    precisions: tuple[str, ...] = ("fp32",)

    def refusal(self, precision: str, device: torch.device) -> str:
        why_not = why_not_installed("onnxruntime", REMEDY)
        if not why_not and device.type == "cuda" and CUDA not in providers():
            return f"this onnxruntime has no {CUDA}, and the device is {device}"
        return why_not

    def open(
        self, network: Layers | OnnxFile, precision: str, threads: int, shapes: Shapes, device: torch.device
    ) -> Session:
        return session_of(network, threads, providers_on(device))


class TensorRt:
    """By ONNX Runtime's provider, which compiles a network when it first sees it: minutes, at start."""

    name = "tensorrt"
    precisions: tuple[str, ...] = ("fp32", "fp16")

    def refusal(self, precision: str, device: torch.device) -> str:
        if device.type != "cuda":
            return f"tensorrt runs on a GPU, and the device is {device}"
        why_not = why_not_installed("onnxruntime", REMEDY)
        if not why_not and TENSORRT not in providers():
            return f"this onnxruntime has no {TENSORRT} (it is in onnxruntime-gpu)"
        return why_not

    def open(
        self, network: Layers | OnnxFile, precision: str, threads: int, shapes: Shapes, device: torch.device
    ) -> Session:
        settings = {"trt_fp16_enable": str(precision == "fp16"), "device_id": str(device.index or 0)}
        return session_of(network, threads, [(TENSORRT, settings), *providers_on(device)])


def providers() -> list[str]:
    """That this ONNX Runtime was built with."""
    return list(_library().get_available_providers())


def providers_on(device: torch.device) -> list[Any]:
    """What a session there runs in, of what this ONNX Runtime has: the CPU's on a GPU too, for what that lacks."""
    if device.type != "cuda" or CUDA not in providers():
        return [CPU]
    return [(CUDA, {"device_id": str(device.index or 0)}), CPU]


def _library() -> Any:
    return import_extra("onnxruntime", EXTRA, "the runtime onnxruntime")


def open_session(model: str | bytes, threads: int, providers: list[Any]) -> Any:
    """ONNX Runtime's own session; raises Error where it cannot take the network."""
    options = _library().SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ALONE
    # Waiting threads of its pool would take the other track's core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return _library().InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:  # of its own kinds, which share no base
        raise Error(f"onnxruntime cannot take the network: {in_one_line(error)}") from error


def session_of(network: Layers | OnnxFile, threads: int, providers: list[Any]) -> Session:
    model = str(network.path) if isinstance(network, OnnxFile) else network.onnx()
    return functools.partial(run, open_session(model, threads, providers))


def run(session: Any, *fed: NDArray[Any]) -> list[NDArray[Any]]:
    """All outputs for all inputs, in the order in which the network has them."""
    options = _library().RunOptions()
    named = {end.name: np.ascontiguousarray(each) for end, each in zip(session.get_inputs(), fed, strict=True)}
    stop = stop_of_this_thread()
    if stop is None:
        return list(session.run(None, named))
    with stop.cancelling(lambda: setattr(options, "terminate", True)):
        return list(session.run(None, named, options))

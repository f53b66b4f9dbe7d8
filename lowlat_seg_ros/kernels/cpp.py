"""The C++ kernels of ``src/`` as Python calls on tensors.

A plain C library, called through ctypes with the tensors' addresses. An extension of torch would have to be built again
for every torch, would want torch in pip's isolated build, and brings torch's CMake files into ours; this one knows
nothing of torch but the OpenMP that runs its threads. ctypes releases the GIL during a call.

Callers ask ``can_run`` first, and have a way in torch for what the C++ does not take. Pictures are read channels last;
tensors in another layout are copied.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch  # also loads the OpenMP that the kernels are bound to
from numpy.typing import NDArray
from torch import Tensor

logger = logging.getLogger(__name__)

TYPE_NAMES = {torch.float32: "float", torch.float64: "double"}


def _integers(*names: str) -> list[tuple[str, type[ctypes.c_int64]]]:
    return [(name, ctypes.c_int64) for name in names]


# As the structs of the C++ sources, field by field.


class ConvolutionSizes(ctypes.Structure):
    _fields_ = _integers("batch", "height", "width", "channels", "reach")


class MatchSizes(ctypes.Structure):
    _fields_ = [*_integers("height", "width", "guidance_channels", "reach"), ("sharpness", ctypes.c_float)]


class Moved(ctypes.Structure):
    _fields_ = [("feature", ctypes.c_void_p), ("result", ctypes.c_void_p), *_integers("channels")]


class CarriedSizes(ctypes.Structure):
    _fields_ = _integers("height", "width", "classes", "coarse_height", "coarse_width", "fineness")


class FlowSize(ctypes.Structure):
    _fields_ = _integers("height", "width")


class TrainingSizes(ctypes.Structure):
    _fields_ = [
        *_integers("inputs", "parts", "classes", "batch", "step"),
        *(("learning_rate", ctypes.c_float), ("weight_decay", ctypes.c_float)),
    ]


class LogitSizes(ctypes.Structure):
    """Strides in elements."""

    _fields_ = _integers("classes", "height", "width", "class_stride", "row_stride", "column_stride")


@functools.cache
def find_library() -> ctypes.CDLL | None:
    """The library built from ``src/``, or None where there is none or it does not load: one warning then says why."""
    files = sorted(Path(__file__).parent.glob("_kernels*.so"))
    if not files:
        logger.warning("the C++ kernels are not built; slower ones in torch take over")
        return None
    try:
        library = ctypes.CDLL(str(files[0]))
    except OSError as error:
        logger.warning("the C++ kernels cannot be loaded (%s); slower ones in torch take over", error)
        return None
    library.labels_from_logits.restype = ctypes.c_bool
    return library


def _library() -> ctypes.CDLL:
    library = find_library()
    assert library is not None, "expected can_run to be asked first"
    return library


def can_run(*tensors: Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Whether there is a library and it can read these tensors: of that dtype, on the CPU."""
    for tensor in tensors:
        if tensor.dtype != dtype or not tensor.is_cpu:
            return False
    return find_library() is not None


def needs_gradient(*tensors: Tensor) -> bool:
    """Whether torch is to find gradients of what is computed from these tensors."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def thread_count() -> int:
    """How many threads torch gives the operators of the calling thread."""
    return torch.get_num_threads()


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def _address(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _threads() -> ctypes.c_int:
    return ctypes.c_int(thread_count())


def convolution(name: str, first: Tensor, second: Tensor, like: Tensor, reach: int) -> Tensor:
    """One of the sums of equation 1: ``convolve``, ``feature_gradient`` or ``kernel_gradient``.

    Args:
        first, second: the operands, float32 or float64; ``src/spatially_variant_convolution.cpp`` has their order.
        like: a tensor of the result's shape.
        reach: D, half the kernel size.
    """
    first, second = channels_last(first), channels_last(second)
    batch, channels, height, width = first.shape
    result = torch.empty_like(like, memory_format=torch.channels_last)
    function = _library()[f"{name}_{TYPE_NAMES[first.dtype]}"]
    sizes = ConvolutionSizes(batch, height, width, channels, reach)
    function(_address(first), _address(second), _address(result), sizes, _threads())
    return result


def matched_transport(
    features: Sequence[Tensor],
    key_guidance: Tensor,
    guidance: Tensor,
    sharpness: float,
    prior: Tensor,
    sensitivity: Tensor | None = None,
) -> tuple[list[Tensor], Tensor | None]:
    """Features gathered by equation 1 with the kernels softmax(sharpness * correlation + prior), never written.

    Args:
        features: of the key frame, each (B, C, h, w) with a C of its own.
        key_guidance, guidance: (B, G, h, w), of the key frame and the current one.
        prior: (H_K * H_K), of each tap.
        sensitivity: (G), of a gate.

    Returns:
        What equation 1 makes of each feature, of the same shapes, channels last; and the gate, (B, 1, h, w): 0 where
        the key frame's guidance, moved likewise, is the current one, towards 1 the more they differ; None without one.
    """
    reach = round(prior.numel() ** 0.5) // 2
    batch, channels, height, width = guidance.shape
    key_guidance, guidance = channels_last(key_guidance), channels_last(guidance)
    sources = [channels_last(feature) for feature in features]
    results = [torch.empty_like(source) for source in sources]
    gate = None if sensitivity is None else guidance.new_empty(batch, 1, height, width)
    sizes = MatchSizes(height, width, channels, reach, sharpness)
    for index in range(batch):
        moved = (Moved * len(sources))(
            *(
                Moved(source[index].data_ptr(), result[index].data_ptr(), source.shape[1])
                for source, result in zip(sources, results, strict=True)
            )
        )
        operands = (_address(tensor) for tensor in (key_guidance[index], guidance[index], prior))
        gates = _address(sensitivity), _address(None if gate is None else gate[index])
        _library().matched_transport(*operands, moved, ctypes.c_int64(len(moved)), *gates, sizes, _threads())
    return results, gate


def carry_logits(
    key_logits: Tensor,
    logits: Tensor,
    flow: Tensor,
    doubt: Tensor,
    coarse_doubt: Tensor | None = None,
    alone: Tensor | None = None,
) -> Tensor:
    """What ``fast.motion.carried_logits`` says, of float32 operands."""
    key_logits, logits = channels_last(key_logits), channels_last(logits)
    result = torch.empty_like(key_logits)
    doubts = [None if values is None else values.float().contiguous() for values in (doubt, coarse_doubt)]
    alone = None if alone is None else channels_last(alone)
    pictures = key_logits, logits, flow.float().contiguous(), *doubts, alone, result
    classes, height, width = key_logits.shape[1:]
    coarse_size = (1, 1) if coarse_doubt is None else coarse_doubt.shape[-2:]
    sizes = CarriedSizes(height, width, classes, *coarse_size, width // logits.shape[-1])
    _library().carry_logits(*(_address(picture) for picture in pictures), sizes, _threads())
    return result


def find_flow(current: NDArray[np.uint8], key: NDArray[np.uint8], start: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dense optical flow, (h, w, 2), x and y in pixels from each place of ``current`` to where it is in ``key``.

    Args:
        current, key: (h, w), grey, at least 8 pixels a side.
        start: (h, w, 2), where the search begins; finite.
    """
    flow = np.array(start, np.float32, order="C")
    pictures = np.ascontiguousarray(current), np.ascontiguousarray(key)
    addresses = (ctypes.c_void_p(array.ctypes.data) for array in (*pictures, flow))
    _library().find_flow(*addresses, FlowSize(*current.shape))
    return flow


def step_classifier(
    inputs: Tensor, targets: Tensor, chosen: Tensor, state: Tensor, step: int, rate: float, decay: float
) -> None:
    """One step of Adam on a perceptron with softmaxes; ``state`` changes in place.

    Args:
        inputs: (N, I), float32, contiguous.
        targets: (N, parts, K), float32, contiguous, a distribution of each part of a place.
        chosen: (B,), int64: the places that the step looks at.
        state: (3, weights): as ``src/classifier_steps.cpp`` lays them out, and the gradient's two moments.
        step: counted from 1.
        rate, decay: the learning rate, and how much of the weights is added to the gradient.
    """
    sizes = TrainingSizes(inputs.shape[1], *targets.shape[1:], len(chosen), step, rate, decay)
    _library().step_classifier(*(_address(tensor) for tensor in (inputs, targets, chosen, *state)), sizes)


def labels_from_logits(logits: Tensor, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Upsampling and maximum in one step: class ids, (height, width) of ``size``; None where a logit is not finite.

    Args:
        logits: (1, classes, h, w), float32, in any layout.
        size: (width, height).
    """
    width, height = size
    labels = np.empty((height, width), np.uint8)
    sizes = LogitSizes(*logits.shape[1:], *logits.stride()[1:])
    target = ctypes.c_void_p(labels.ctypes.data), ctypes.c_int64(height), ctypes.c_int64(width)
    are_finite = _library().labels_from_logits(_address(logits), sizes, *target, _threads())
    return labels if are_finite else None


def halved_image(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(value - mean) / std of each channel at half the size: (B, 3, H, W) uint8, of even size, to (B, 3, H/2, W/2)."""
    image = channels_last(image)
    batch, channels, height, width = image.shape
    shape = batch, channels, height // 2, width // 2
    result = torch.empty(shape, dtype=mean.dtype, memory_format=torch.channels_last)
    size = ctypes.c_int64(height), ctypes.c_int64(width)
    for picture, target in zip(image, result, strict=True):
        _library().halve_image(_address(picture), *size, _address(mean), _address(std), _address(target), _threads())
    return result

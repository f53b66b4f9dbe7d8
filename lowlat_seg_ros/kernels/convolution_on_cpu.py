"""Equation 1 in C++ (``src/spatially_variant_convolution.cpp``), with gradients for both operands."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lowlat_seg_ros.kernels.native_library import native_library, thread_count

NAMES = {torch.float32: "float", torch.float64: "double"}


class Sizes(ctypes.Structure):
    """``Sizes`` of the C++ source."""

    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "height", "width", "channels", "reach")]


def runs_on_cpu(feature: Tensor, kernels: Tensor) -> bool:
    """Whether ``convolve_on_cpu`` takes these operands."""
    on_cpu = feature.device.type == kernels.device.type == "cpu"
    return on_cpu and feature.dtype == kernels.dtype and feature.dtype in NAMES and native_library() is not None


def convolve_on_cpu(feature: Tensor, kernels: Tensor, reach: int) -> Tensor:
    """Equation 1 for float32 or float64 operands on the CPU whose shapes fit; differentiable once.

    The result is laid out in memory as the feature. Channels-last operands are read where they lie; others are copied.
    """
    if torch.is_grad_enabled() and (feature.requires_grad or kernels.requires_grad):
        result = DifferentiableConvolution.apply(feature, kernels, reach)
    else:
        result = call("convolve", channels_last(feature), channels_last(kernels), feature, reach)
    return result if feature.is_contiguous(memory_format=torch.channels_last) else result.contiguous()


class DifferentiableConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, feature: Tensor, kernels: Tensor, reach: int) -> Tensor:
        feature, kernels = channels_last(feature), channels_last(kernels)
        ctx.save_for_backward(feature, kernels)
        ctx.reach = reach
        return call("convolve", feature, kernels, feature, reach)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, result_gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        feature, kernels = ctx.saved_tensors
        needs_feature_gradient, needs_kernel_gradient, _ = ctx.needs_input_grad
        gradient = channels_last(result_gradient)
        return (
            call("feature_gradient", gradient, kernels, feature, ctx.reach) if needs_feature_gradient else None,
            call("kernel_gradient", feature, gradient, kernels, ctx.reach) if needs_kernel_gradient else None,
            None,
        )


def correlate_on_cpu(feature: Tensor, query: Tensor, reach: int) -> Tensor:
    """``local_correlation`` for float32 or float64 operands on the CPU whose shapes fit; differentiable once."""
    if torch.is_grad_enabled() and (feature.requires_grad or query.requires_grad):
        return DifferentiableCorrelation.apply(feature, query, reach)
    return correlate(channels_last(feature), channels_last(query), reach)


class DifferentiableCorrelation(torch.autograd.Function):
    """Equation 1's gradient for its kernels, and so with the other two of its sums as its own gradients."""

    @staticmethod
    def forward(ctx: Any, feature: Tensor, query: Tensor, reach: int) -> Tensor:
        feature, query = channels_last(feature), channels_last(query)
        ctx.save_for_backward(feature, query)
        ctx.reach = reach
        return correlate(feature, query, reach)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, result_gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        feature, query = ctx.saved_tensors
        needs_feature_gradient, needs_query_gradient, _ = ctx.needs_input_grad
        gradient = channels_last(result_gradient)
        return (
            call("feature_gradient", query, gradient, feature, ctx.reach) if needs_feature_gradient else None,
            call("convolve", feature, gradient, feature, ctx.reach) if needs_query_gradient else None,
            None,
        )


def correlate(feature: Tensor, query: Tensor, reach: int) -> Tensor:
    batch, _, height, width = feature.shape
    taps = (2 * reach + 1) ** 2
    shape = torch.empty(batch, taps, height, width, dtype=feature.dtype, memory_format=torch.channels_last)
    return call("kernel_gradient", feature, query, shape, reach)


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def call(name: str, first: Tensor, second: Tensor, like: Tensor, reach: int) -> Tensor:
    """Run a C++ function on two channels-last operands; its result is a channels-last tensor shaped as ``like``."""
    library = native_library()
    assert library is not None
    batch, channels, height, width = first.shape
    result = torch.empty_like(like, memory_format=torch.channels_last)
    function = library[f"{name}_{NAMES[first.dtype]}"]
    addresses = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (first, second, result)]
    function(*addresses, Sizes(batch, height, width, channels, reach), ctypes.c_int(thread_count()))
    return result

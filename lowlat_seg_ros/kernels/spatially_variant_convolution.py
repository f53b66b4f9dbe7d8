"""Equation 1 of the paper, a convolution whose kernel changes from place to place, and correlation by the same taps."""

from __future__ import annotations

import functools
import logging
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lowlat_seg_ros.kernels import cpp
from lowlat_seg_ros.kernels.convolution_on_gpu import convolve_on_gpu, runs_on_gpu

logger = logging.getLogger(__name__)


def spatially_variant_convolution(feature: Tensor, kernels: Tensor) -> Tensor:
    """Gather each place's neighbourhood with that place's own kernel (equation 1).

    ``F_t(c, i, j) = sum over u, v in [-D, D] of W_ij(u, v) * F_k(c, i - u, j - v)``, with D half the kernel size and
    zeros outside the feature. One kernel serves all channels of its place.

    Computed in C++ on the CPU and in Triton on a GPU, channels last being the fast layout of both operands, and by
    ``shift_and_add`` where neither can be had.

    Args:
        feature: F_k, (B, C, h, w), float.
        kernels: W, (B, H_K * H_K, h, w), of the feature's dtype; (u, v) runs row by row from (-D, -D).

    Returns:
        F_t, (B, C, h, w), laid out in memory as the feature.

    Raises:
        ValueError: the shapes do not fit each other, or H_K is not odd.
        TypeError: an operand holds no floating-point numbers.
    """
    reach = kernel_reach(feature, kernels)
    if runs_on_cpu(feature, kernels):
        return convolve_on_cpu(feature, kernels, reach)
    if runs_on_gpu(feature, kernels) and is_right_on_gpu(feature.device):
        return convolve_on_gpu(feature, kernels, reach)
    return shift_and_add(feature, kernels, reach)


def shift_and_add(feature: Tensor, kernels: Tensor, reach: int) -> Tensor:
    """The reference: equation 1 tap by tap, in torch's own operators, for any device and floating-point dtype."""
    height, width = feature.shape[-2:]
    padded = functional.pad(feature, (reach, reach, reach, reach))
    result = torch.zeros_like(feature)
    tap = 0
    for u in range(-reach, reach + 1):
        for v in range(-reach, reach + 1):
            # One shifted copy at a time: memory stays that of the feature, where unfolding takes H_K² times as much.
            neighbour = padded[:, :, reach - u : reach - u + height, reach - v : reach - v + width]
            result.addcmul_(kernels[:, tap : tap + 1], neighbour)  # in place: half the time of making a new sum
            tap += 1
    return result


def local_correlation(feature: Tensor, query: Tensor, kernel_size: int) -> Tensor:
    """The scalar products of the query's places with the feature's places that equation 1 would gather from.

    ``C_ij(u, v) = sum over c of Q(c, i, j) * F(c, i - u, j - v)``, with u, v in [-D, D] and zeros outside the feature.
    Source: Dosovitskiy et al., "FlowNet: Learning Optical Flow with Convolutional Networks", ICCV 2015, section 3.

    Args:
        feature: F, (B, C, h, w), float.
        query: Q, of the same shape and dtype.
        kernel_size: H_K = 2 D + 1, odd.

    Returns:
        C, (B, H_K * H_K, h, w), taps in the order of equation 1's kernels.

    Raises:
        ValueError: the shapes differ.
    """
    if feature.shape != query.shape or feature.dim() != 4:
        raise ValueError(f"expected two 4-D tensors of one shape, not {tuple(feature.shape)} and {tuple(query.shape)}")
    reach = kernel_size // 2
    if runs_on_cpu(feature, query):
        return correlate_on_cpu(feature, query, reach)
    return shift_and_multiply(feature, query, reach)


def shift_and_multiply(feature: Tensor, query: Tensor, reach: int) -> Tensor:
    """The reference of the correlation, in torch's own operators, for any device and floating-point dtype."""
    height, width = feature.shape[-2:]
    padded = functional.pad(feature, (reach, reach, reach, reach))
    taps = [
        (query * padded[:, :, reach - u : reach - u + height, reach - v : reach - v + width]).sum(dim=1)
        for u in range(-reach, reach + 1)
        for v in range(-reach, reach + 1)
    ]
    return torch.stack(taps, dim=1)


@functools.cache
def is_right_on_gpu(device: torch.device) -> bool:
    """Whether the GPU's body computes there what the reference does; one warning says so if it does not.

    It is compiled on the machine it runs on, by whatever Triton and driver are there: it has to show once, in the
    warm-up, that it can be relied on.
    """
    generator = torch.Generator(device).manual_seed(0)
    feature = torch.randn(1, 5, 7, 19, generator=generator, device=device)
    kernels = torch.rand(1, 9, 7, 19, generator=generator, device=device)
    try:
        torch.testing.assert_close(convolve_on_gpu(feature, kernels, 1), shift_and_add(feature, kernels, 1))
    except Exception as error:  # Triton's are of any type: a missing compiler, an unknown architecture
        logger.warning(
            "the convolution in Triton cannot be used on %s; a slower one in torch takes over: %s",
            device,
            str(error).strip().split("\n")[0],
        )
        return False
    return True


def kernel_reach(feature: Tensor, kernels: Tensor) -> int:
    """D, half the kernel size, once the operands are known to fit."""
    if feature.dim() != 4 or kernels.dim() != 4:
        raise ValueError(f"expected two 4-D tensors, not {feature.dim()}-D features and {kernels.dim()}-D kernels")
    size = round(kernels.shape[1] ** 0.5)
    if size * size != kernels.shape[1] or size % 2 == 0:
        raise ValueError(f"kernels have {kernels.shape[1]} taps; expected the square of an odd number")
    if feature.shape[0] != kernels.shape[0] or feature.shape[-2:] != kernels.shape[-2:]:
        raise ValueError(f"kernels of {tuple(kernels.shape)} do not fit features of {tuple(feature.shape)}")
    if not feature.is_floating_point() or not kernels.is_floating_point():
        raise TypeError(f"expected floating-point operands, not {feature.dtype} features and {kernels.dtype} kernels")
    return size // 2


# --- In C++, with gradients for both operands ------------------------------------------------------------------------


def runs_on_cpu(first: Tensor, second: Tensor) -> bool:
    """Whether ``convolve_on_cpu`` and ``correlate_on_cpu`` take these operands."""
    return first.dtype in cpp.TYPE_NAMES and cpp.can_run(first, second, dtype=first.dtype)


def convolve_on_cpu(feature: Tensor, kernels: Tensor, reach: int) -> Tensor:
    """Equation 1 for float32 or float64 operands on the CPU whose shapes fit; differentiable once."""
    if cpp.needs_gradient(feature, kernels):
        result = DifferentiableConvolution.apply(feature, kernels, reach)
    else:
        result = cpp.convolution("convolve", feature, kernels, feature, reach)
    return result if feature.is_contiguous(memory_format=torch.channels_last) else result.contiguous()


def correlate_on_cpu(feature: Tensor, query: Tensor, reach: int) -> Tensor:
    """``local_correlation`` for float32 or float64 operands on the CPU whose shapes fit; differentiable once."""
    if cpp.needs_gradient(feature, query):
        return DifferentiableCorrelation.apply(feature, query, reach)
    return _correlate(feature, query, reach)


def _correlate(feature: Tensor, query: Tensor, reach: int) -> Tensor:
    batch, _, height, width = feature.shape
    like = torch.empty(batch, (2 * reach + 1) ** 2, height, width, dtype=feature.dtype)
    return cpp.convolution("kernel_gradient", feature, query, like, reach)


class DifferentiableConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, feature: Tensor, kernels: Tensor, reach: int) -> Tensor:
        feature, kernels = cpp.channels_last(feature), cpp.channels_last(kernels)
        ctx.save_for_backward(feature, kernels)
        ctx.reach = reach
        return cpp.convolution("convolve", feature, kernels, feature, reach)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        feature, kernels = ctx.saved_tensors
        of_feature, of_kernels, _ = ctx.needs_input_grad
        return (
            cpp.convolution("feature_gradient", gradient, kernels, feature, ctx.reach) if of_feature else None,
            cpp.convolution("kernel_gradient", feature, gradient, kernels, ctx.reach) if of_kernels else None,
            None,
        )


class DifferentiableCorrelation(torch.autograd.Function):
    """Equation 1's gradient for its kernels, and so with the other two of its sums as its own gradients."""

    @staticmethod
    def forward(ctx: Any, feature: Tensor, query: Tensor, reach: int) -> Tensor:
        feature, query = cpp.channels_last(feature), cpp.channels_last(query)
        ctx.save_for_backward(feature, query)
        ctx.reach = reach
        return _correlate(feature, query, reach)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        feature, query = ctx.saved_tensors
        of_feature, of_query, _ = ctx.needs_input_grad
        return (
            cpp.convolution("feature_gradient", query, gradient, feature, ctx.reach) if of_feature else None,
            cpp.convolution("convolve", feature, gradient, feature, ctx.reach) if of_query else None,
            None,
        )

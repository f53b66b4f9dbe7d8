"""Equation 1 in Triton, forward only: where a gradient is needed, torch's operators compute it."""

from __future__ import annotations

import functools
import logging

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # torch brings it along with CUDA only
    triton = None

logger = logging.getLogger(__name__)

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
PLACES = 16  # of one row, for each program
CHANNELS = 64


def runs_on_gpu(feature: Tensor, kernels: Tensor) -> bool:
    """Whether ``convolve_on_gpu`` takes these operands."""
    if not (feature.is_cuda and kernels.device == feature.device and kernels.dtype == feature.dtype in DTYPES):
        return False
    needs_gradient = torch.is_grad_enabled() and (feature.requires_grad or kernels.requires_grad)
    return not needs_gradient and has_triton()


@functools.cache
def has_triton() -> bool:
    """Whether Triton is there; one warning says so if it is not."""
    if triton is None:
        logger.warning("Triton is not installed; a slower convolution in torch takes over on the GPU")
    return triton is not None


def convolve_on_gpu(feature: Tensor, kernels: Tensor, reach: int) -> Tensor:
    """Equation 1 for operands of one dtype on one GPU whose shapes fit; sums in float32.

    The result is laid out in memory as the feature; channels last is the fast layout.
    """
    batch, channels, height, width = feature.shape
    result = torch.empty_like(feature)
    grid = (triton.cdiv(width, PLACES), batch * height, triton.cdiv(channels, CHANNELS))
    with torch.cuda.device_of(feature):
        convolve_places[grid](
            feature,
            kernels,
            result,
            channels,
            height,
            width,
            *feature.stride(),
            *kernels.stride(),
            *result.stride(),
            REACH=reach,
            PLACES=PLACES,
            CHANNELS=CHANNELS,
        )
    return result


if triton is not None:

    @triton.jit
    def convolve_places(  # type: ignore[no-untyped-def]  # compiled by Triton, which reads other annotations
        feature,
        kernels,
        result,
        channel_count,
        height,
        width,
        feature_batch_stride,
        feature_channel_stride,
        feature_row_stride,
        feature_column_stride,
        kernel_batch_stride,
        kernel_tap_stride,
        kernel_row_stride,
        kernel_column_stride,
        result_batch_stride,
        result_channel_stride,
        result_row_stride,
        result_column_stride,
        REACH: tl.constexpr,
        PLACES: tl.constexpr,
        CHANNELS: tl.constexpr,
    ):
        """A run of places in one row times a block of channels; the grid is (runs, batch * rows, blocks)."""
        batch = (tl.program_id(1) // height).to(tl.int64)
        row = tl.program_id(1) % height
        rows = row + tl.zeros((PLACES,), dtype=tl.int32)  # Triton's interpreter cannot mask by a single condition
        columns = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
        channels = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
        is_place = columns < width
        is_channel = channels < channel_count

        kernel_of_place = (
            kernels + batch * kernel_batch_stride + row * kernel_row_stride + columns * kernel_column_stride
        )
        channel_of_feature = feature + batch * feature_batch_stride + channels * feature_channel_stride
        sums = tl.zeros((PLACES, CHANNELS), dtype=tl.float32)
        for u in range(-REACH, REACH + 1):
            source_rows = rows - u
            is_row = is_place & (source_rows >= 0) & (source_rows < height)
            for v in range(-REACH, REACH + 1):
                source_columns = columns - v
                is_source = is_row & (source_columns >= 0) & (source_columns < width)
                tap = (u + REACH) * (2 * REACH + 1) + (v + REACH)
                weights = tl.load(kernel_of_place + tap * kernel_tap_stride, mask=is_source, other=0.0)
                source = source_rows * feature_row_stride + source_columns * feature_column_stride
                neighbours = tl.load(
                    channel_of_feature[None, :] + source[:, None],
                    mask=is_source[:, None] & is_channel[None, :],
                    other=0.0,
                )
                sums += weights.to(tl.float32)[:, None] * neighbours.to(tl.float32)
        target = (
            result
            + batch * result_batch_stride
            + row * result_row_stride
            + (columns * result_column_stride)[:, None]
            + (channels * result_channel_stride)[None, :]
        )
        tl.store(target, sums.to(result.dtype.element_ty), mask=is_place[:, None] & is_channel[None, :])

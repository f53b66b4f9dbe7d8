"""Equation 1 with kernels from matching in one step, in C++ (``src/matched_transport.cpp``): no kernel is written."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from lowlat_seg_ros.kernels.native_library import native_library, runs_in_cpp, thread_count


class MatchSizes(ctypes.Structure):
    """``MatchSizes`` of the C++ source."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("height", "width", "guidance_channels", "reach")),
        ("sharpness", ctypes.c_float),
    ]


class Moved(ctypes.Structure):
    """``Moved`` of the C++ source."""

    _fields_ = [("feature", ctypes.c_void_p), ("result", ctypes.c_void_p), ("channels", ctypes.c_int64)]


def can_match_in_cpp(*operands: Tensor) -> bool:
    """Whether ``matched_transport`` takes these operands: float32 on the CPU, without gradients."""
    needs_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in operands)
    return runs_in_cpp(*operands) and not needs_gradient


def matched_transport(
    features: Sequence[Tensor], key_guidance: Tensor, guidance: Tensor, sharpness: float, prior: Tensor
) -> list[Tensor]:
    """The key frame's features gathered with the kernels softmax(sharpness * correlation + prior).

    Args:
        features: each (B, C, h, w) with a C of its own.
        key_guidance, guidance: (B, G, h, w), of the key frame and the current one.
        prior: (H_K * H_K), of each tap.

    Returns:
        What equation 1 makes of each feature, of the same shapes, channels last.
    """
    library = native_library()
    assert library is not None
    reach = round(prior.numel() ** 0.5) // 2
    batch, channels, height, width = guidance.shape
    guides = [guide.contiguous(memory_format=torch.channels_last) for guide in (key_guidance, guidance)]
    sources = [feature.contiguous(memory_format=torch.channels_last) for feature in features]
    results = [torch.empty_like(source) for source in sources]
    sizes = MatchSizes(height, width, channels, reach, sharpness)
    for index in range(batch):
        moved = (Moved * len(sources))(
            *(
                Moved(source[index].data_ptr(), result[index].data_ptr(), source.shape[1])
                for source, result in zip(sources, results, strict=True)
            )
        )
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (guides[0][index], guides[1][index], prior)]
        library.matched_transport(*pointers, moved, ctypes.c_int64(len(moved)), sizes, ctypes.c_int(thread_count()))
    return results

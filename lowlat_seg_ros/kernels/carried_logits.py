"""A key frame's logits carried to the current frame along the optical flow.

The kernels of equation 1 move what a whole element of F_h stands for, 8 pixels of the shipped model's image; a pole is
two pixels wide. A logit stands for two. Where the flow is known and right, the key frame's logits themselves are the
better answer; where it is not, what the fast track has propagated and fused is. Source of the idea: Zhu et al., "Deep
Feature Flow for Video Recognition", CVPR 2017, which carries features instead.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.kernels.native_library import native_library, runs_in_cpp, thread_count


class CarriedSizes(ctypes.Structure):
    """``CarriedSizes`` of the C++ source."""

    _fields_ = [(name, ctypes.c_int64) for name in ("height", "width", "classes", "coarse_height", "coarse_width")]


def carried_logits(
    key_logits: Tensor, logits: Tensor, flow: Tensor, doubt: Tensor, coarse_doubt: Tensor | None = None
) -> Tensor:
    """The key frame's logits at each place of the current frame, mixed with its own by how much the flow is doubted.

    Computed in C++ on the CPU (``src/carried_logits.cpp``), by ``carry_in_torch`` elsewhere.

    Args:
        key_logits: (1, classes, h, w), float.
        logits: of the current frame, of the same shape and dtype.
        flow: (h, w, 2), float32, x and y from each place to where it was in the key frame, in places.
        doubt: (h, w), float32: 0 takes the key frame's logits, 1 the current frame's. What comes from outside of the
            key frame is always the current frame's.
        coarse_doubt: (1, 1, h', w'), float, enlarged bilinearly: the larger of both doubts counts.

    Returns:
        (1, classes, h, w); nan where either is.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    height, width = logits.shape[-2:]
    fits = key_logits.shape == logits.shape and len(logits) == 1 and doubt.shape == (height, width)
    if not fits or flow.shape != (height, width, 2):
        raise ValueError(
            f"expected two pictures' logits of one shape with a flow and a doubt for each place, not "
            f"{tuple(key_logits.shape)}, {tuple(logits.shape)}, {tuple(flow.shape)} and {tuple(doubt.shape)}"
        )
    carry = carry_on_cpu if runs_in_cpp(key_logits, logits) else carry_in_torch
    return carry(key_logits, logits, flow, doubt, coarse_doubt)


def carry_on_cpu(
    key_logits: Tensor, logits: Tensor, flow: Tensor, doubt: Tensor, coarse_doubt: Tensor | None = None
) -> Tensor:
    library = native_library()
    assert library is not None
    pictures = [tensor.contiguous(memory_format=torch.channels_last) for tensor in (key_logits, logits)]
    result = torch.empty_like(pictures[1])
    doubts = [None if values is None else values.float().contiguous() for values in (doubt, coarse_doubt)]
    operands = (*pictures, flow.float().contiguous(), *doubts, result)
    addresses = [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in operands]
    classes, height, width = logits.shape[1:]
    coarse_size = (1, 1) if coarse_doubt is None else coarse_doubt.shape[-2:]
    library.carry_logits(*addresses, CarriedSizes(height, width, classes, *coarse_size), ctypes.c_int(thread_count()))
    return result


def carry_in_torch(
    key_logits: Tensor, logits: Tensor, flow: Tensor, doubt: Tensor, coarse_doubt: Tensor | None = None
) -> Tensor:
    """The reference, for any device and floating-point dtype."""
    height, width = logits.shape[-2:]
    if coarse_doubt is not None:
        enlarged = functional.interpolate(coarse_doubt.float(), (height, width), mode="bilinear", align_corners=False)
        doubt = torch.maximum(doubt, enlarged[0, 0])
    ends = torch.tensor([width - 1, height - 1], device=flow.device)
    rows, columns = (torch.arange(size, device=flow.device) for size in (height, width))
    source = flow + torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    is_inside = ((source >= 0) & (source <= ends)).all(dim=-1)
    # grid_sample's positions run from -1 to 1 over the picture; its corners are the first and the last place.
    positions = 2 * torch.where(is_inside[..., None], source, 0) / ends.clamp(min=1) - 1
    carried = functional.grid_sample(key_logits, positions[None].to(key_logits.dtype), align_corners=True)
    share = torch.where(is_inside, 1 - doubt, 0).to(logits.dtype)
    return (1 - share) * logits + share * carried

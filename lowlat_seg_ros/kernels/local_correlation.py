"""How well each place of one feature matches each place near it in another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.kernels.convolution_on_cpu import correlate_on_cpu, runs_on_cpu


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
    """The reference, in torch's own operators, for any device and floating-point dtype."""
    height, width = feature.shape[-2:]
    padded = functional.pad(feature, (reach, reach, reach, reach))
    taps = [
        (query * padded[:, :, reach - u : reach - u + height, reach - v : reach - v + width]).sum(dim=1)
        for u in range(-reach, reach + 1)
        for v in range(-reach, reach + 1)
    ]
    return torch.stack(taps, dim=1)

"""Pyramid pooling: what the whole picture says, beside what each place says."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv_norm_relu(in_channels: int, channels: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class PyramidPooling(nn.Module):
    """Averages over grids of ``bins`` x ``bins`` cells, each reduced, enlarged and put beside the feature.

    Source: Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section 3.2.
    (B, in_channels, h, w) to (B, in_channels + len(bins) * channels, h, w).
    """

    def __init__(self, in_channels: int, bins: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.bins = bins
        self.branches = nn.ModuleList(conv_norm_relu(in_channels, channels, 1) for _ in bins)
        self.out_channels = in_channels + len(bins) * channels

    def forward(self, feature: Tensor) -> Tensor:
        size = feature.shape[-2:]
        pooled = [
            functional.interpolate(
                branch(functional.adaptive_avg_pool2d(feature, bins)), size, mode="bilinear", align_corners=False
            )
            for bins, branch in zip(self.bins, self.branches, strict=True)
        ]
        return torch.cat([feature, *pooled], dim=1)

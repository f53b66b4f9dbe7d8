"""A backbone and the ladder that brings its coarse, knowing features back to a fine grid.

Source: Orsic et al., "In Defense of Pre-trained ImageNet Architectures for Real-time Semantic Segmentation of
Road-driving Images" (SwiftNet), CVPR 2019, with pyramid pooling on top.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.models.backbone import build_pyramid_backbone
from lowlat_seg_ros.models.pyramid_pooling import PyramidPooling, conv_norm_relu

DETAIL_CHANNELS = 16  # of the feature twice as fine as the ladder's end


class Rung(nn.Module):
    """One step up: the coarse feature enlarged onto the finer one, and both blended."""

    def __init__(self, lateral_channels: int, channels: int) -> None:
        super().__init__()
        self.lateral = conv_norm_relu(lateral_channels, channels, 1)
        self.blend = conv_norm_relu(channels, channels, 3)

    def forward(self, coarse: Tensor, lateral: Tensor) -> Tensor:
        """(B, channels, …) and (B, lateral_channels, h, w) to (B, channels, h, w)."""
        enlarged = functional.interpolate(coarse, lateral.shape[-2:], mode="bilinear", align_corners=False)
        return self.blend(enlarged + self.lateral(lateral))


class Detail(nn.Module):
    """A feature twice as fine as the grid, folded onto it: each element keeps its four fine ones side by side.

    So thin things survive on a grid that is coarser than they are.
    """

    def __init__(self, fine_channels: int, channels: int) -> None:
        super().__init__()
        self.reduce = conv_norm_relu(fine_channels, DETAIL_CHANNELS, 1)
        self.expand = nn.Conv2d(4 * DETAIL_CHANNELS, channels, 1)

    def forward(self, fine: Tensor, grid: torch.Size) -> Tensor:
        """(B, fine_channels, 2h or 2h - 1, 2w or 2w - 1) to (B, channels, h, w), ``grid`` being (h, w)."""
        reduced = self.reduce(fine)
        missing_rows, missing_columns = 2 * grid[0] - fine.shape[-2], 2 * grid[1] - fine.shape[-1]
        if missing_rows or missing_columns:
            reduced = functional.pad(reduced, (0, missing_columns, 0, missing_rows))
        # Folding (torch's pixel_unshuffle) and a 1x1 convolution in one: its weights are those of a 2x2 with stride 2.
        folded_weight = self.expand.weight.view(-1, DETAIL_CHANNELS, 2, 2)
        return functional.conv2d(reduced, folded_weight, self.expand.bias, stride=2)


class Ladder(nn.Module):
    """A whole network without its classifier: (B, 3, H, W) to (B, channels, H / stride, W / stride), rounded up."""

    def __init__(
        self, backbone: str, stride: int, channels: int, pyramid_bins: tuple[int, ...], pyramid_channels: int
    ) -> None:
        """
        Args:
            backbone: a key of backbone.PYRAMID_BACKBONES.
            stride: where the ladder ends, 4, 8 or 16.
            channels: of every rung and of the result.
            pyramid_bins, pyramid_channels: of the pyramid pooling at the backbone's last stride.

        Raises:
            ConfigError: the backbone is not known.
        """
        super().__init__()
        self.backbone_name = backbone
        self.backbone = build_pyramid_backbone(backbone)
        widths = self.backbone.pyramid_channels
        self.top_stride = max(widths)
        self.pyramid = PyramidPooling(widths[self.top_stride], pyramid_bins, pyramid_channels)
        self.top = conv_norm_relu(self.pyramid.out_channels, channels, 1)
        self.rung_strides = [step for step in (16, 8, 4) if stride <= step < self.top_stride]
        self.rungs = nn.ModuleList(Rung(widths[step], channels) for step in self.rung_strides)
        self.detail_stride = stride // 2
        self.detail = Detail(widths[self.detail_stride], channels)

    def parts_beyond(self, stride: int) -> list[nn.Module]:
        """Every part but the backbone's blocks up to the last one of ``stride``."""
        return [
            *self.backbone.blocks[self.backbone.pyramid_ends[stride] + 1 :],
            *(self.pyramid, self.top, self.rungs, self.detail),
        ]

    def forward(self, image: Tensor) -> Tensor:
        features = self.backbone.pyramid(image)
        feature = self.top(self.pyramid(features[self.top_stride]))
        for step, rung in zip(self.rung_strides, self.rungs, strict=True):
            feature = rung(feature, features[step])
        return torch.relu(feature + self.detail(features[self.detail_stride], feature.shape[-2:]))

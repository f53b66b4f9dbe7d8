"""The paper's two tracks: one backbone cut in two, Sh going on where Sl ends (section 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.models.backbone import build_split_backbone
from lowlat_seg_ros.models.config import ConfigError, SharedBackboneConfig
from lowlat_seg_ros.models.layers import Grid, Normalising, PyramidPooling, conv_norm_relu
from lowlat_seg_ros.models.tracks import Tracks


class HighHead(nn.Module):
    """The end of Sh: pyramid pooling, a reducing convolution and, where Sl is finer, its feature to sharpen edges."""

    def __init__(
        self, config: SharedBackboneConfig, low_channels: int, backbone_channels: int, high_channels: int
    ) -> None:
        super().__init__()
        self.pyramid = PyramidPooling(backbone_channels, config.pyramid_bins, config.pyramid_channels)
        self.reduce = conv_norm_relu(self.pyramid.out_channels, high_channels, 3)
        self.has_skip = config.skip_channels > 0
        if self.has_skip:
            self.skip = conv_norm_relu(low_channels, config.skip_channels, 1)
            self.refine = conv_norm_relu(high_channels + config.skip_channels, high_channels, 3)

    def forward(self, backbone_feature: Tensor, low: Tensor) -> Tensor:
        """(B, backbone_channels, …) and F_l (B, C_l, h, w) to F_h (B, C_h, h, w)."""
        high = self.reduce(self.pyramid(backbone_feature))
        if not self.has_skip:
            return high
        high = functional.interpolate(high, low.shape[-2:], mode="bilinear", align_corners=False)
        return self.refine(torch.cat([high, self.skip(low)], dim=1))


class SharedBackbone(Tracks):
    """Sl is the backbone up to a block, Sh the rest of it and a head.

    Raises:
        ConfigError: the config names no known backbone or block, or leaves Sh on a coarser grid than Sl.
    """

    high_needs_low = True

    def __init__(self, config: SharedBackboneConfig, high_channels: int, normalise: Normalising) -> None:
        super().__init__()
        self.normalise = normalise
        self.backbone_name = config.backbone
        self.backbone = build_split_backbone(config.backbone, config.split, config.output_stride)
        self.stride, self.low_channels = self.backbone.low_stride, self.backbone.low_channels
        if config.skip_channels == 0 and self.backbone.high_stride != self.stride:
            raise ConfigError(
                f"Sl ends at stride {self.stride} and the backbone at {self.backbone.high_stride}; "
                "expected skip_channels above 0, so that Sh returns to Sl's stride, or a smaller output_stride"
            )
        self.high_head = HighHead(config, self.low_channels, self.backbone.high_channels, high_channels)

    def backbones(self) -> list[tuple[str, nn.Module]]:
        return [(self.backbone_name, self.backbone)]

    def low_input(self, image: Tensor) -> Tensor:
        return self.normalise(image)

    def low_of(self, low_input: Tensor, grid: Grid) -> Tensor:
        return self.backbone.low(low_input)

    def high_input(self, image: Tensor, low: Tensor | None) -> Tensor:
        if low is None:
            raise ValueError("this Sh goes on where Sl ends; expected the low-level feature")
        return low

    def high_of(self, high_input: Tensor, grid: Grid) -> Tensor:
        return self.high_head(self.backbone.high(high_input), high_input)

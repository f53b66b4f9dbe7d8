"""Two tracks of two whole networks: a small one for every frame, a large one for key frames.

What the fast track costs is then free of what the slow track costs: Sh may be as large as a key frame's delay allows,
and Sl looks at a smaller image than any network that must be good alone could.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.models.backbone import build_pyramid_backbone
from lowlat_seg_ros.models.config import ConfigError, TwoNetworksConfig
from lowlat_seg_ros.models.layers import Grid, Normalising, PyramidPooling, conv_norm_relu
from lowlat_seg_ros.models.tracks import Tracks

FROZEN_STRIDE = 4  # up to which Sh's backbone stays as ImageNet left it
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
    """A backbone, and the ladder that brings its coarse, knowing features back to a fine grid.

    A whole network without its classifier: (B, 3, H, W) to (B, channels, H / stride, W / stride), rounded up. Source:
    Orsic et al., "In Defense of Pre-trained ImageNet Architectures for Real-time Semantic Segmentation of Road-driving
    Images" (SwiftNet), CVPR 2019, with pyramid pooling on top.
    """

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


class TwoNetworks(Tracks):
    """Sl: a ladder on the image made smaller. Sh: a ladder on the image enlarged, brought to the grid of Sl.

    Raises:
        ConfigError: a backbone is not known, or a scale leaves a ladder without a stride to end at.
    """

    high_needs_low = False

    def __init__(self, config: TwoNetworksConfig, high_channels: int, normalise: Normalising) -> None:
        super().__init__()
        self.normalise = normalise
        self.stride, self.low_channels = config.stride, config.low_channels
        self.low_scale, self.high_scale = config.low_scale, config.high_scale
        pooling = config.pyramid_bins, config.pyramid_channels
        low_end, high_end = (ladder_end(config.stride, scale) for scale in (config.low_scale, config.high_scale))
        self.low_network = Ladder(config.low_backbone, low_end, config.low_channels, *pooling)
        self.high_network = Ladder(config.high_backbone, high_end, high_channels, *pooling)
        self.settle = conv_norm_relu(high_channels, high_channels, 3)

    def backbones(self) -> list[tuple[str, nn.Module]]:
        return [(network.backbone_name, network.backbone) for network in (self.low_network, self.high_network)]

    def learning_parts(self) -> list[nn.Module]:
        """Sh but for its first blocks: on the enlarged image they take half of a training step's time."""
        return [*self.high_network.parts_beyond(FROZEN_STRIDE), self.settle]

    def low_parts(self) -> list[nn.Module]:
        return [self.low_network]

    def low_input(self, image: Tensor) -> Tensor:
        return self.normalise(image, self.low_scale)

    def low_of(self, low_input: Tensor, grid: Grid) -> Tensor:
        return onto_grid(self.low_network(low_input), grid)

    def high_input(self, image: Tensor, low: Tensor | None) -> Tensor:
        return self.normalise(image, self.high_scale)

    def high_of(self, high_input: Tensor, grid: Grid) -> Tensor:
        return self.settle(onto_grid(self.high_network(high_input), grid))


def onto_grid(feature: Tensor, grid: Grid) -> Tensor:
    """(B, C, …) to (B, C, *grid), where it is not there already."""
    if tuple(feature.shape[-2:]) == grid:
        return feature
    return functional.interpolate(feature, grid, mode="bilinear", align_corners=False)


def ladder_end(stride: int, scale: float) -> int:
    """The ladder's own stride, on the scaled image, that is no coarser than the grid's and nearest to it."""
    ends = [end for end in (16, 8, 4) if end <= stride * scale]
    if not ends:
        raise ConfigError(f"a scale of {scale} puts stride {stride} below 4 pixels; expected at least {4 / stride}")
    return ends[0]

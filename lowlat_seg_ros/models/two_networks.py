"""Two tracks of two whole networks: a small one for every frame, a large one for key frames.

What the fast track costs is then free of what the slow track costs: Sh may be as large as a key frame's delay allows,
and Sl looks at a smaller image than any network that must be good alone could.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.models.config import ConfigError, TwoNetworksConfig
from lowlat_seg_ros.models.ladder import Ladder
from lowlat_seg_ros.models.normalising import Normalising
from lowlat_seg_ros.models.pyramid_pooling import conv_norm_relu
from lowlat_seg_ros.models.tracks import Tracks

FROZEN_STRIDE = 4  # up to which Sh's backbone stays as ImageNet left it


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
        """All but the large network's first blocks: on its enlarged image they take half of a training step's time."""
        return [self.low_network, *self.high_network.parts_beyond(FROZEN_STRIDE), self.settle]

    def low_parts(self) -> list[nn.Module]:
        return [self.low_network]

    def low(self, image: Tensor) -> Tensor:
        return self._onto_grid(self.low_network(self.normalise(image, self.low_scale)), image)

    def high(self, image: Tensor, low: Tensor | None) -> Tensor:
        return self.settle(self._onto_grid(self.high_network(self.normalise(image, self.high_scale)), image))

    def _onto_grid(self, feature: Tensor, image: Tensor) -> Tensor:
        grid = tuple(math.ceil(pixels / self.stride) for pixels in image.shape[-2:])
        if tuple(feature.shape[-2:]) == grid:
            return feature
        return functional.interpolate(feature, grid, mode="bilinear", align_corners=False)


def ladder_end(stride: int, scale: float) -> int:
    """The ladder's own stride, on the scaled image, that is no coarser than the grid's and nearest to it."""
    ends = [end for end in (16, 8, 4) if end <= stride * scale]
    if not ends:
        raise ConfigError(f"a scale of {scale} puts stride {stride} below 4 pixels; expected at least {4 / stride}")
    return ends[0]

"""The backbones a model description may name."""

from __future__ import annotations

from collections.abc import Callable

from lowlat_seg_ros.models.config import ConfigError
from lowlat_seg_ros.models.efficientnet_lite import LITE0_STAGES, LITE2_STAGES, EfficientNetLite
from lowlat_seg_ros.models.resnet import RESNET50_BLOCKS, RESNET101_BLOCKS, ResNet
from lowlat_seg_ros.models.tracks import SplitBackbone

SPLIT_BACKBONES: dict[str, Callable[[str, int], SplitBackbone]] = {
    "efficientnet_lite0": lambda split, output_stride: EfficientNetLite(LITE0_STAGES, split, output_stride),
    "resnet50": lambda split, output_stride: ResNet(RESNET50_BLOCKS, split, output_stride),
    "resnet101": lambda split, output_stride: ResNet(RESNET101_BLOCKS, split, output_stride),
}
STRIDE_16_STAGES = 4  # of Lite0's seven; the last three hold nine tenths of its weights
PYRAMID_BACKBONES: dict[str, Callable[[], EfficientNetLite]] = {
    "efficientnet_lite0": lambda: EfficientNetLite(LITE0_STAGES, "blocks.0", 32),
    "efficientnet_lite0_to_stride_16": lambda: EfficientNetLite(LITE0_STAGES[:STRIDE_16_STAGES], "blocks.0", 16),
    "efficientnet_lite2": lambda: EfficientNetLite(LITE2_STAGES, "blocks.0", 32),
}


def build_split_backbone(name: str, split: str, output_stride: int) -> SplitBackbone:
    """Raises ConfigError when the name is unknown or the split is not one of its blocks."""
    if name not in SPLIT_BACKBONES:
        raise ConfigError(f"backbone is {name!r}; expected one of {', '.join(sorted(SPLIT_BACKBONES))}")
    try:
        return SPLIT_BACKBONES[name](split, output_stride)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def build_pyramid_backbone(name: str) -> EfficientNetLite:
    """A backbone whole, for a ladder. Raises ConfigError when the name is unknown."""
    if name not in PYRAMID_BACKBONES:
        raise ConfigError(f"backbone is {name!r}; expected one of {', '.join(sorted(PYRAMID_BACKBONES))}")
    return PYRAMID_BACKBONES[name]()

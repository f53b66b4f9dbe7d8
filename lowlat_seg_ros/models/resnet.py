"""ResNet as a backbone cut in two: the paper's is a dilated ResNet-101 cut after conv4_3.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. Names follow torchvision's, so that its
ImageNet weights load; as there, a bottleneck strides in its 3x3 convolution.
"""

from __future__ import annotations

from itertools import chain

from torch import Tensor, nn

from lowlat_seg_ros.models.tracks import SplitBackbone

RESNET50_BLOCKS = (3, 4, 6, 3)
RESNET101_BLOCKS = (3, 4, 23, 3)
STEM_CHANNELS = 64
STEM_STRIDE = 4  # conv1 and the pooling each halve the picture
EXPANSION = 4  # a bottleneck's output channels per inner channel


class Bottleneck(nn.Module):
    """Reduce by a 1x1, filter by a 3x3, expand by a 1x1, add the input. ``channels`` counts the inner ones."""

    def __init__(self, in_channels: int, channels: int, stride: int, dilation: int) -> None:
        super().__init__()
        out_channels = EXPANSION * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential()
        if stride > 1 or in_channels != out_channels:
            self.downsample.append(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(out_channels))

    def forward(self, feature: Tensor) -> Tensor:
        hidden = self.relu(self.bn1(self.conv1(feature)))
        hidden = self.relu(self.bn2(self.conv2(hidden)))
        hidden = self.bn3(self.conv3(hidden))
        return self.relu(hidden + self.downsample(feature))


class ResNet(SplitBackbone):
    """The blocks of a bottleneck ResNet without its classifier, dilated to ``output_stride`` and split after ``split``.

    Args:
        block_counts: blocks in each of the four layers.
        split: last block of Sl by its state-dict name; the paper's conv4_3 is ``"layer3.2"``.
        output_stride: 8, 16 or 32; layers that would stride further dilate instead.

    Raises:
        ValueError: no block has that name, or no block follows it.
    """

    def __init__(self, block_counts: tuple[int, int, int, int], split: str, output_stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        layers, strides = build_layers(block_counts, output_stride)
        self.layer1, self.layer2, self.layer3, self.layer4 = (nn.Sequential(*layer) for layer in layers)
        last_of_low = block_index(split, block_counts)
        self.low_block_count = last_of_low + 1
        self.low_channels = list(chain(*layers))[last_of_low].conv3.out_channels
        self.low_stride = strides[last_of_low]
        self.high_channels = layers[-1][-1].conv3.out_channels
        self.high_stride = strides[-1]

    @property
    def blocks(self) -> list[nn.Module]:
        """All blocks in the order of computation."""
        return list(chain(self.layer1, self.layer2, self.layer3, self.layer4))

    def low(self, image: Tensor) -> Tensor:
        feature = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        for block in self.blocks[: self.low_block_count]:
            feature = block(feature)
        return feature

    def high(self, low: Tensor) -> Tensor:
        feature = low
        for block in self.blocks[self.low_block_count :]:
            feature = block(feature)
        return feature


def build_layers(
    block_counts: tuple[int, int, int, int], output_stride: int
) -> tuple[list[list[Bottleneck]], list[int]]:
    """The four layers and, for each block, the image pixels per element of its output."""
    layers, strides = [], []
    in_channels, stride_so_far, dilation = STEM_CHANNELS, STEM_STRIDE, 1
    for index, block_count in enumerate(block_counts):
        channels = STEM_CHANNELS * 2**index
        first_dilation = dilation
        stride = 1 if index == 0 else 2
        if stride > 1 and stride_so_far >= output_stride:
            # Dilating instead of striding (Yu and Koltun, 2016): the first block still sees the undilated grid.
            stride, dilation = 1, dilation * 2
        first = Bottleneck(in_channels, channels, stride, first_dilation)
        in_channels = EXPANSION * channels
        rest = (Bottleneck(in_channels, channels, 1, dilation) for _ in range(block_count - 1))
        layers.append([first, *rest])
        stride_so_far *= stride
        strides += [stride_so_far] * block_count
    return layers, strides


def block_index(split: str, block_counts: tuple[int, int, int, int]) -> int:
    """Place of the block ``split`` in the order of computation, from 0."""
    names = [f"layer{layer}.{block}" for layer, count in enumerate(block_counts, 1) for block in range(count)]
    if split not in names[:-1]:
        raise ValueError(f"split is {split!r}; expected a block from {names[0]!r} to {names[-2]!r}")
    return names.index(split)

"""What the paper's tables compare with and what has weights of its own: `lowlat-seg train tables` trains all of it.

They stand beside a model's weights in a file of their own, and no frame of the node needs them, but for Clockwork's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.fast.adaptive import IDENTITY_LOGIT, AdaptNet
from lowlat_seg_ros.fast.motion import unfold
from lowlat_seg_ros.kernels.spatially_variant_convolution import spatially_variant_convolution
from lowlat_seg_ros.models.config import ModelConfig
from lowlat_seg_ros.models.layers import Classifier

# A step of a learning rate that suits a convolution is too small for a kernel's logits: they are these times as large
# as what is learnt.
GAIN = 50.0
FIRST_SHARPNESS = 10.0  # of differences in standard deviations of the network's input, three colours added
GATE_SIZE = 5  # of the gated units' convolutions, pixels a side
GATE_SCALE = 6.0  # of the identity that their first two convolutions begin as
GATE_LAMBDA = 2.0  # of what is kept beside what is new, at first


class Comparisons(nn.Module):
    """All of them, for one model."""

    def __init__(self, config: ModelConfig, low_channels: int) -> None:
        super().__init__()
        adapt_net = AdaptNet(low_channels, config.adapt_channels)
        self.clockwork = ClockworkClassifier(config, adapt_net, config.adapt_channels)
        self.plain_clockwork = ClockworkClassifier(config, nn.Identity(), low_channels)
        self.unified = UnifiedKernel(config.kernel_size)
        self.image_difference = ImageDifferenceKernels(config.kernel_size)
        self.gated_units = GatedUnits(config.class_count)


class ClockworkClassifier(nn.Module):
    """The key frame's F_h and the current frame's F_l, adapted or not, side by side and classified."""

    def __init__(self, config: ModelConfig, adapt: nn.Module, adapted_channels: int) -> None:
        super().__init__()
        self.adapt = adapt
        self.classifier = Classifier(config.high_channels + adapted_channels, config.class_count, config.subpixels)
        self.classifier.begin_alike()

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """F_h (B, C_h, h, w) and F_l (B, C_l, h, w) to logits (B, classes, r h, r w)."""
        return unfold(self.classifier(torch.cat([high, self.adapt(low)], dim=1)), self.classifier.subpixels)


class UnifiedKernel(nn.Module):
    """Equation 1 with one learned kernel for all places and all frames (the paper's "unified propagation")."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.zeros(kernel_size**2))
        with torch.no_grad():
            self.taps[kernel_size**2 // 2] = IDENTITY_LOGIT / GAIN

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, h, w), moved."""
        batch, _, height, width = feature.shape
        kernel = torch.softmax(GAIN * self.taps, dim=0).view(1, -1, 1, 1)
        return spatially_variant_convolution(feature, kernel.expand(batch, -1, height, width).contiguous())


class ImageDifferenceKernels(nn.Module):
    """Equation 1 with weights that are set by how much the pixels differ (the paper's "weight by image difference").

    A softmax over minus the differences of both pictures on the feature's grid; how sharp it is, is learned.
    """

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(FIRST_SHARPNESS) / GAIN))

    def forward(self, feature: Tensor, key_image: Tensor, image: Tensor) -> Tensor:
        """(B, C, h, w), moved; pictures (B, 3, H, W) are normalised floats."""
        grid = feature.shape[-2], feature.shape[-1]
        key, current = (functional.adaptive_avg_pool2d(picture, grid) for picture in (key_image, image))
        sharpness = (GAIN * self.log_sharpness).exp()
        kernels = torch.softmax(-sharpness * self._differences(key, current), dim=1)
        return spatially_variant_convolution(feature, kernels.contiguous())

    def _differences(self, key: Tensor, current: Tensor) -> Tensor:
        """(B, H_K², h, w), taps in the order of equation 1's kernels."""
        batch, channels, height, width = key.shape
        reach, taps = self.kernel_size // 2, self.kernel_size**2
        padded = functional.pad(key, (reach, reach, reach, reach), mode="replicate")
        around = functional.unfold(padded, self.kernel_size).view(batch, channels, taps, height, width)
        # Equation 1 gathers from (i - u, j - v): its first tap is the place farthest below and to the right.
        return (around.flip(2) - current[:, :, None]).abs().sum(dim=1)


class GatedUnits(nn.Module):
    """One step of Nilsson and Sminchisescu's gated units ("Semantic Video Segmentation by Gated Recurrent Flow
    Propagation", CVPR 2018): the labels so far, moved along the flow, and this frame's own become one.
    """

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.see_change = _gate_convolution(3, 1)
        self.take_new = _gate_convolution(class_count, class_count, GATE_SCALE)
        self.take_kept = _gate_convolution(class_count, class_count, GATE_SCALE)
        self.weigh_new = _gate_convolution(class_count, 1)
        self.weigh_kept = _gate_convolution(class_count, 1)
        self.share = nn.Parameter(torch.tensor(GATE_LAMBDA))
        self.bias = nn.Parameter(torch.zeros(class_count, 1, 1))

    def forward(self, moved: Tensor, change: Tensor, own: Tensor) -> Tensor:
        """Logits (B, classes, h, w).

        Args:
            moved: probabilities so far, (B, classes, h, w), already moved to this frame.
            change: this frame's picture less the moved one, (B, 3, h, w), normalised.
            own: what this frame shows by itself, probabilities likewise.
        """
        uniform = 1 / own.shape[1]
        kept = (moved - uniform) * (1 - torch.tanh(self.see_change(change).abs()))
        new = own - uniform
        candidate = self.take_new(new) + self.take_kept(kept)
        weight = torch.sigmoid(self.weigh_new(new) + self.weigh_kept(kept) + self.bias)
        return self.share * (1 - weight) * kept + weight * candidate


def _gate_convolution(in_channels: int, channels: int, identity: float = 0.0) -> nn.Conv2d:
    convolution = nn.Conv2d(in_channels, channels, GATE_SIZE, padding=GATE_SIZE // 2, bias=False)
    nn.init.normal_(convolution.weight, std=0.01)
    if identity:
        with torch.no_grad():
            centre = convolution.weight[:, :, GATE_SIZE // 2, GATE_SIZE // 2]
            centre += identity * torch.eye(channels)
    return convolution

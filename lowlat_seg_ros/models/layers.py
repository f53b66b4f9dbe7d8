"""The layers that several of our networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.fast.adaptive import pointwise
from lowlat_seg_ros.kernels import cpp
from lowlat_seg_ros.runtime.captured import captured

Grid = tuple[int, int]  # (height, width) of the features


def grid_of(picture: Tensor, stride: int = 1) -> Grid:
    """Of the features of an image (B, 3, H, W), one each ``stride`` pixels; or of a feature."""
    height, width = picture.shape[-2:]
    return -(-height // stride), -(-width // stride)


class Normalising(nn.Module):
    """(value - mean) / std in each channel, and another size.

    Bytes are normalised here, so that nothing larger than what a backbone looks at is ever written as floats. Floats
    are taken to be normalised already, as training's are.
    """

    mean: Tensor  # (1, 3, 1, 1)
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """``mean`` and ``std`` are of RGB in 0..255."""
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            # Not persistent: the model's description has them. A network that is made without memory, to be given a
            # checkpoint's, is given no value for these.
            channels = torch.tensor(values, dtype=torch.float32, device="cpu").view(1, 3, 1, 1)
            self.register_buffer(name, channels, persistent=False)

    def forward(self, image: Tensor, scale: float = 1) -> Tensor:
        """(B, 3, H, W) to (B, 3, scale H, scale W); at half the size each pixel is the mean of four."""
        if image.dtype != torch.uint8:
            return scaled(image, scale)
        if scale == 0.5 and self._can_halve_in_cpp(image):
            return cpp.halved_image(image, self.mean, self.std)
        return _normalised(image, self.mean, self.std, scale=scale)

    def _can_halve_in_cpp(self, image: Tensor) -> bool:
        are_even = image.shape[-2] % 2 == image.shape[-1] % 2 == 0
        return are_even and image.device.type == "cpu" and cpp.can_run(self.mean)


@captured
def _normalised(image: Tensor, mean: Tensor, std: Tensor, *, scale: float) -> Tensor:
    return scaled((image.to(mean.dtype) - mean) / std, scale)


def scaled(image: Tensor, scale: float) -> Tensor:
    """(B, 3, H, W) enlarged or made smaller; at half the size each pixel is the mean of four."""
    if scale == 1:
        return image
    size = [max(1, round(pixels * scale)) for pixels in image.shape[-2:]]
    return functional.interpolate(image, size, mode="bilinear", align_corners=False)


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


class Classifier(nn.Sequential):
    """A 1x1 convolution to ``subpixels``² logits of each class for each element, as many finer elements side by side.

    What interpolation would blur, an element may say itself: where within it a pole stands. Sources: Shi et al.,
    "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel CNN", CVPR 2016; Tian et al.,
    "Decoders Matter for Semantic Segmentation", CVPR 2019. With ``subpixels`` 1 it is the paper's classifier.
    """

    def __init__(self, channels: int, class_count: int, subpixels: int) -> None:
        super().__init__(nn.Conv2d(channels, class_count * subpixels**2, 1))
        self.subpixels = subpixels

    def begin_alike(self) -> None:
        """Let an element's finer ones begin with the same weights: they then differ by what is learnt, not by luck.

        Source: Aitken et al., "Checkerboard artifact free sub-pixel convolution", 2017.
        """
        with torch.no_grad():
            for values in self.parameters():
                values.copy_(values[:: self.subpixels**2].repeat_interleave(self.subpixels**2, dim=0))

    def forward(self, feature: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, subpixels² classes, h, w), folded as by ``fast.motion.fold``."""
        weight, bias = self.get_parameter("0.weight"), self.get_parameter("0.bias")
        # The checkpoint has a class's finer elements side by side, as torch's pixel_shuffle does.
        weight, bias = (
            values.unflatten(0, (-1, self.subpixels**2)).transpose(0, 1).flatten(0, 1) for values in (weight, bias)
        )
        return pointwise(feature.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)

"""The parts of the paper's figure 2 that look at one frame: Sl and Sh, and a backbone that they may share."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Tracks(nn.Module, ABC):
    """Sl and Sh. Both features lie on one grid of ``stride`` image pixels an element, sizes rounded up."""

    stride: int
    low_channels: int
    high_needs_low: bool  # whether Sh uses F_l; where not, the full network runs without Sl

    @abstractmethod
    def backbones(self) -> list[tuple[str, nn.Module]]:
        """The parts that start from ImageNet weights, each with its name in a model description."""

    def learning_parts(self) -> list[nn.Module]:
        """The parts that the base stage trains; the others keep their ImageNet weights."""
        return [self]

    def low_parts(self) -> list[nn.Module]:
        """The parts of Sl that can learn while Sh stays as it is; none where Sh goes on where Sl ends."""
        return []

    @abstractmethod
    def low(self, image: Tensor) -> Tensor:
        """Sl. ``image`` (B, 3, H, W), uint8 or float and normalised, to F_l (B, low_channels, h, w)."""

    @abstractmethod
    def high(self, image: Tensor, low: Tensor | None) -> Tensor:
        """Sh, of the image, of its F_l, or of both: F_h (B, high_channels, h, w).

        ``low`` may be None where ``high_needs_low`` is false.
        """


class SplitBackbone(nn.Module, ABC):
    """``low`` is Sl, ``high`` the convolutional part of Sh. Strides are in pixels of the image per element."""

    low_channels: int
    low_stride: int
    high_channels: int
    high_stride: int

    @abstractmethod
    def low(self, image: Tensor) -> Tensor:
        """Sl. ``image`` (B, 3, H, W) to F_l (B, low_channels, H / low_stride, W / low_stride), sizes rounded up."""

    @abstractmethod
    def high(self, low: Tensor) -> Tensor:
        """The rest of the backbone: F_l to (B, high_channels, H / high_stride, W / high_stride), rounded up."""

"""The parts of the paper's figure 2 that look at one frame: Sl and Sh, and a backbone that they may share."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from lowlat_seg_ros.models.layers import Grid, grid_of


class Tracks(nn.Module, ABC):
    """Sl and Sh. Both features lie on one grid of ``stride`` image pixels an element, sizes rounded up.

    Each is an input that is made of the image in torch, and layers that any runtime may compute.
    """

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
        """The parts of an Sl that is a network of its own, and learns from Sh; none where Sh goes on where Sl ends."""
        return []

    def low(self, image: Tensor) -> Tensor:
        """Sl. ``image`` (B, 3, H, W), uint8 or float and normalised, to F_l (B, low_channels, h, w)."""
        return self.low_of(self.low_input(image), grid_of(image, self.stride))

    def high(self, image: Tensor, low: Tensor | None) -> Tensor:
        """Sh, of the image, of its F_l, or of both: F_h (B, high_channels, h, w).

        ``low`` may be None where ``high_needs_low`` is false.
        """
        return self.high_of(self.high_input(image, low), grid_of(image, self.stride))

    @abstractmethod
    def low_input(self, image: Tensor) -> Tensor:
        """What Sl's layers look at, (B, C, h, w) float."""

    @abstractmethod
    def low_of(self, low_input: Tensor, grid: Grid) -> Tensor:
        """Sl's layers: F_l, (B, low_channels, *grid)."""

    @abstractmethod
    def high_input(self, image: Tensor, low: Tensor | None) -> Tensor:
        """What Sh's layers look at, (B, C, h, w) float."""

    @abstractmethod
    def high_of(self, high_input: Tensor, grid: Grid) -> Tensor:
        """Sh's layers: F_h, (B, high_channels, *grid)."""


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

"""What every backbone offers: a feature extractor cut in two."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


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

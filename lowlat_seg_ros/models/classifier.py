"""From a feature to logits, on a finer grid than the feature's."""

from __future__ import annotations

from torch import Tensor, nn


class Classifier(nn.Sequential):
    """A 1x1 convolution to ``subpixels``² logits of each class for each element, laid out as that many finer elements.

    What interpolation would blur, an element may say itself: where within it a pole stands. Sources: Shi et al.,
    "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel CNN", CVPR 2016; Tian et al.,
    "Decoders Matter for Semantic Segmentation", CVPR 2019. With ``subpixels`` 1 it is the paper's classifier.
    """

    def __init__(self, channels: int, class_count: int, subpixels: int) -> None:
        super().__init__(nn.Conv2d(channels, class_count * subpixels**2, 1), nn.PixelShuffle(subpixels))

    def forward(self, feature: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, classes, subpixels h, subpixels w)."""
        return super().forward(feature)

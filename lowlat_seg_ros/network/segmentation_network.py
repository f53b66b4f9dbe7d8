"""The whole network of the paper's figures 2 and 4, assembled from parts named after what they do."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.network.backbone import build_backbone
from lowlat_seg_ros.network.config import ConfigError, ModelConfig
from lowlat_seg_ros.network.deviation import DeviationPredictor
from lowlat_seg_ros.network.propagation import AdaptNet, Fusion, KernelPredictor
from lowlat_seg_ros.network.pyramid_pooling import PyramidPooling, conv_norm_relu
from lowlat_seg_ros.network.spatially_variant_convolution import spatially_variant_convolution


class LowFeatures(NamedTuple):
    """What the fast track keeps of a frame: F_l, and the parts of both predictors that need no second frame."""

    low: Tensor  # F_l, (B, C_l, h, w)
    kernel_guidance: Tensor  # (B, kernel_channels, h, w)
    deviation_guidance: Tensor  # (B, deviation_channels, h, w)


class HighHead(nn.Module):
    """The end of Sh: pyramid pooling, a reducing convolution and, where Sl is finer, its feature to sharpen edges."""

    def __init__(self, config: ModelConfig, low_channels: int, backbone_channels: int) -> None:
        super().__init__()
        self.pyramid = PyramidPooling(backbone_channels, config.pyramid_bins, config.pyramid_channels)
        self.reduce = conv_norm_relu(self.pyramid.out_channels, config.high_channels, 3)
        self.has_skip = config.skip_channels > 0
        if self.has_skip:
            self.skip = conv_norm_relu(low_channels, config.skip_channels, 1)
            self.refine = conv_norm_relu(config.high_channels + config.skip_channels, config.high_channels, 3)

    def forward(self, backbone_feature: Tensor, low: Tensor) -> Tensor:
        """(B, backbone_channels, …) and F_l (B, C_l, h, w) to F_h (B, C_h, h, w)."""
        high = self.reduce(self.pyramid(backbone_feature))
        if not self.has_skip:
            return high
        high = functional.interpolate(high, low.shape[-2:], mode="bilinear", align_corners=False)
        return self.refine(torch.cat([high, self.skip(low)], dim=1))


class SegmentationNetwork(nn.Module):
    """Sl, Sh, classifier, kernel predictor, AdaptNet, fusion and deviation predictor. Holds weights and no state.

    Every feature lies on one grid of ``stride`` image pixels an element: (h, w) = (H, W) / stride, rounded up.

    Raises:
        ConfigError: the config names no known backbone or block, or leaves Sh on a coarser grid than Sl.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, config.split, config.output_stride)
        low_channels = self.backbone.low_channels
        self.stride = self.backbone.low_stride
        if config.skip_channels == 0 and self.backbone.high_stride != self.stride:
            raise ConfigError(
                f"Sl ends at stride {self.stride} and the backbone at {self.backbone.high_stride}; "
                "expected skip_channels above 0, so that Sh returns to Sl's stride, or a smaller output_stride"
            )
        self.high_head = HighHead(config, low_channels, self.backbone.high_channels)
        self.classifier = nn.Conv2d(config.high_channels, config.class_count, 1)
        self.kernel_predictor = KernelPredictor(low_channels, config.kernel_channels, config.kernel_size)
        self.adapt_net = AdaptNet(low_channels, config.adapt_channels)
        self.fusion = Fusion(config.high_channels, config.adapt_channels, residual=config.fusion == "residual")
        self.deviation_predictor = DeviationPredictor(low_channels, config.deviation_channels)

    def low_features(self, image: Tensor) -> LowFeatures:
        """Sl. ``image`` is (B, 3, H, W), RGB, float, normalised by the config's mean and std."""
        return self.describe(self.backbone.low(image))

    def describe(self, low: Tensor) -> LowFeatures:
        """F_l with both predictors' one-frame parts."""
        return LowFeatures(low, self.kernel_predictor.guidance(low), self.deviation_predictor.guidance(low))

    def high_features(self, image: Tensor, low: Tensor) -> Tensor:
        """Sh: F_l to F_h, (B, C_h, h, w). The image is for slow networks that start from it; this one need not."""
        return self.high_head(self.backbone.high(low), low)

    def classify(self, high: Tensor) -> Tensor:
        """Logits on the feature's grid, (B, classes, h, w)."""
        return self.classifier(high)

    def predicted_deviation(self, key: LowFeatures, current: LowFeatures) -> Tensor:
        """devS(k, t), (B,): the fraction of pixels expected to carry another label than in the key frame."""
        return self.deviation_predictor(key.deviation_guidance, current.deviation_guidance)

    def transport(self, key_high: Tensor, key: LowFeatures, current: LowFeatures) -> Tensor:
        """The key frame's F_h moved to the current frame by equation 1, (B, C_h, h, w)."""
        kernels = self.kernel_predictor(key.kernel_guidance, current.kernel_guidance)
        return spatially_variant_convolution(key_high, kernels)

    def fuse(self, propagated: Tensor, current: LowFeatures) -> Tensor:
        """A moved F_h completed by what AdaptNet sees in the current frame, (B, C_h, h, w)."""
        return self.fusion(propagated, self.adapt_net(current.low))

    def propagate(self, key_high: Tensor, key: LowFeatures, current: LowFeatures) -> Tensor:
        """F_h of the current frame from the key frame's, (B, C_h, h, w): transported, then fused (figure 4)."""
        return self.fuse(self.transport(key_high, key, current), current)

    def forward(self, image: Tensor) -> Tensor:
        """The full network on one frame: Sl, Sh, classifier; logits (B, classes, h, w)."""
        low = self.backbone.low(image)
        return self.classify(self.high_features(image, low))

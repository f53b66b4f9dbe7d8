"""The base network as the later stages see it: done learning (paper section 4)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.motion import unfold
from lowlat_seg_ros.models.inference import prepare_for_inference
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork


def propagated_logits(network: SegmentationNetwork, key_image: Tensor, image: Tensor) -> Tensor:
    """Logits of an image by the fast track, its key frame's feature being the accurate one."""
    key = network.low_features(key_image)
    key_high = network.high_features(key_image, key.low)
    return network.classify(network.propagate(key_high, key, network.low_features(image)).high)


class FrozenBase:
    """A folded copy of Sl, Sh and the classifier, without gradients: a later stage spends most of its time in them."""

    def __init__(self, network: SegmentationNetwork) -> None:
        self._tracks = prepare_for_inference(copy.deepcopy(network.tracks))
        self._classifier = prepare_for_inference(copy.deepcopy(network.classifier))

    @torch.no_grad()
    def low(self, image: Tensor) -> Tensor:
        """F_l of images (B, 3, H, W)."""
        return self._tracks.low(image.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """F_l and F_h."""
        low = self.low(image)
        return low, self._tracks.high(image.contiguous(memory_format=torch.channels_last), low)

    @torch.no_grad()
    def label_map(self, high: Tensor, size: torch.Size) -> Tensor:
        """The base network's labels, (B, H, W), ``size`` being (H, W) in pixels."""
        enlarged = functional.interpolate(self._classified(high), size, mode="bilinear", align_corners=False)
        return enlarged.argmax(dim=1)

    def _classified(self, high: Tensor) -> Tensor:
        return unfold(self._classifier(high), self._classifier.subpixels)

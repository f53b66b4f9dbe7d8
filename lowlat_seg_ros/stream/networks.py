"""What the engine asks of a network, one protocol a track. ``SegmentationNetwork`` satisfies both."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from lowlat_seg_ros.models.config import ModelConfig
from lowlat_seg_ros.models.segmentation_network import LowFeatures, Propagated


class SlowNetwork(Protocol):
    """Sh and its classifier: all that the engine knows of the slow track's network.

    The paper's second half of the backbone is one instance; a whole other network that looks at the image and ignores
    the low-level feature is another. Its feature map may be anything that the fast network's ``propagate`` can carry,
    logits included.
    """

    @property
    def stride(self) -> int:
        """Pixels of the image per element of the feature map."""
        ...

    def high_features(self, image: Tensor, low: Tensor) -> Tensor:
        """F_h, (B, C_h, H / stride, W / stride) rounded up, of an image (B, 3, H, W), uint8 RGB, and its F_l."""
        ...

    def classify(self, high: Tensor) -> Tensor:
        """Logits (B, classes, H / stride, W / stride) of an accurate or a propagated F_h."""
        ...


class FastNetwork(Protocol):
    """Sl, the deviation predictor and the propagation: what every frame passes through."""

    @property
    def config(self) -> ModelConfig:
        """Of which the engine reads the input size and how logits are carried."""
        ...

    @property
    def stride(self) -> int:
        """Pixels of the image per element of the feature map that ``propagate`` carries."""
        ...

    def low_features(self, image: Tensor) -> LowFeatures:
        """F_l and what the predictors make of it alone, of an image (B, 3, H, W), uint8 RGB."""
        ...

    def classify_low(self, low: Tensor) -> Tensor:
        """Logits (B, classes, …) of an F_l alone: the labels of frames that have no key frame yet."""
        ...

    def predicted_deviation(self, key: LowFeatures, current: LowFeatures) -> Tensor:
        """devS(k, t), (B,), a fraction of pixels (paper section 3.2)."""
        ...

    def propagate(self, key_high: Tensor, key: LowFeatures, current: LowFeatures) -> Propagated:
        """F_h of the current frame from the key frame's pair of features (paper section 3.3)."""
        ...

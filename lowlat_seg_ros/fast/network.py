"""What the fast track asks of its network. ``SegmentationNetwork`` satisfies it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from lowlat_seg_ros.fast.frames import LowFeatures

if TYPE_CHECKING:
    from lowlat_seg_ros.fast.adaptive import Propagated
    from lowlat_seg_ros.models.config import ModelConfig


class FastNetwork(Protocol):
    """Sl, the deviation predictor and equation 1: what every frame passes through."""

    @property
    def config(self) -> ModelConfig:
        """Of which the fast track reads the input size and how logits are carried."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """That ``classify_low`` tells apart, by their ids."""
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

    def move(self, picture: Tensor, key: LowFeatures, current: LowFeatures) -> tuple[Tensor, Tensor]:
        """Anything on the key frame's grid, (1, C, h, w), moved to the current frame by equation 1.

        With it the doubt, (1, 1, h, w): 0 where the key frame explains the current one, towards 1.
        """
        ...

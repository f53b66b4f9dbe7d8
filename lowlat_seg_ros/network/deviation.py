"""Predicting how much the label map has changed since the key frame (the paper's section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lowlat_seg_ros.network.propagation import conv3x3


class DeviationPredictor(nn.Module):
    """devS(k, t): the fraction of pixels whose label differs from the key frame's, from low-level features alone.

    Section 4: one 3x3 convolution reduces each feature, their difference goes through another 3x3 convolution, ReLU,
    global average pooling and a fully connected layer. Here it is the difference's magnitude: which of two frames is the
    later one says nothing of how much has changed, but synthesised key frames are smoother than the stills they are made
    from, and a signed difference learns that instead. A sigmoid keeps the fraction between 0 and 1.
    """

    def __init__(self, low_channels: int, channels: int) -> None:
        super().__init__()
        self.reduce = conv3x3(low_channels, channels)
        self.compare = conv3x3(channels, channels)
        self.regress = nn.Linear(channels, 1)

    def guidance(self, low: Tensor) -> Tensor:
        """The part that needs one frame only, (B, channels, h, w): a key frame's is computed once and kept."""
        return self.reduce(low)

    def forward(self, key_guidance: Tensor, guidance: Tensor) -> Tensor:
        """The deviation, (B,), between 0 and 1."""
        compared = torch.relu(self.compare((guidance - key_guidance).abs()))
        return torch.sigmoid(self.regress(compared.mean(dim=(2, 3)))).squeeze(1)

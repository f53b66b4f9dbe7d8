"""Predicting how much the label map has changed since the key frame (the paper's section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lowlat_seg_ros.fast.adaptive import conv3x3

FIRST_WEIGHT = 8.0  # of a difference of codes: two places without anything in common differ by 2 in all
FIRST_BIAS = -3.0  # places that look alike have one chance in twenty to have changed


class DeviationPredictor(nn.Module):
    """devS(k, t): the fraction of pixels whose label differs from the key frame's, from low-level features alone.

    Section 4: one 3x3 convolution reduces each feature, their difference goes through another 3x3 convolution, ReLU,
    global average pooling and a fully connected layer. Here the last two stand the other way round, with a sigmoid
    between them: each place says what fraction of its pixels has changed, and the deviation is the mean of that. Where
    labels have changed is known in training, so that a pair of frames is thousands of examples and not one.
    """

    def __init__(self, low_channels: int, channels: int) -> None:
        super().__init__()
        self.reduce = conv3x3(low_channels, channels)
        self.compare = conv3x3(channels, channels)
        self.regress = nn.Conv2d(channels, 1, 1)

    def guidance(self, low: Tensor) -> Tensor:
        """The part that needs one frame only, (B, channels, h, w): a key frame's is computed once and kept."""
        return self.reduce(low)

    def change_logits(self, key_guidance: Tensor, guidance: Tensor) -> Tensor:
        """For each place the logit of the fraction of its pixels whose label has changed, (B, 1, h, w)."""
        # The magnitude: which of two frames is the later one says nothing of how much has changed.
        return self.regress(torch.relu(self.compare((guidance - key_guidance).abs())))

    def forward(self, key_guidance: Tensor, guidance: Tensor) -> Tensor:
        """The deviation, (B,), between 0 and 1."""
        return mean_change(self.change_logits(key_guidance, guidance))


class DeviationCodes(nn.Module):
    """devS(k, t) from what each place shows in the one frame and in the other.

    The reduced feature, by a softmax over its channels, says which of so many things a place shows; the more the two
    frames differ in that, the likelier that the place's labels have changed. It learns in a third of the steps that the
    paper's layers take, and looks at no neighbours, which F_l has already done.
    """

    def __init__(self, low_channels: int, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(low_channels, channels, 1)
        self.regress = nn.Conv2d(channels, 1, 1)
        nn.init.constant_(self.regress.weight, FIRST_WEIGHT)
        nn.init.constant_(self.regress.get_parameter("bias"), FIRST_BIAS)

    def guidance(self, low: Tensor) -> Tensor:
        """The part that needs one frame only, (B, channels, h, w): a key frame's is computed once and kept."""
        return torch.softmax(self.reduce(low), dim=1)

    def change_logits(self, key_guidance: Tensor, guidance: Tensor) -> Tensor:
        """For each place the logit of the fraction of its pixels whose label has changed, (B, 1, h, w)."""
        return self.regress((guidance - key_guidance).abs())

    def forward(self, key_guidance: Tensor, guidance: Tensor) -> Tensor:
        """The deviation, (B,), between 0 and 1."""
        return mean_change(self.change_logits(key_guidance, guidance))


def mean_change(logits: Tensor) -> Tensor:
    """Of each picture's places, (B, 1, h, w) to (B,)."""
    return torch.sigmoid(logits).mean(dim=(1, 2, 3))

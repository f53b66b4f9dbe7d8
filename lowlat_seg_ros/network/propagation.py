"""Adaptive feature propagation (the paper's section 3.3 and figure 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The share of an untrained kernel that lies on its centre is e^x / (e^x + H_K² - 1): about two thirds for 81 taps.
IDENTITY_LOGIT = 5.0


def conv3x3(in_channels: int, channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, padding=1)


class KernelPredictor(nn.Module):
    """Predicts W, a kernel for each place, from the low-level features of the key frame and the current frame.

    Section 4: each feature reduced by a 3x3 convolution, concatenated, a 3x3 convolution, a 1x1 convolution to H_K²
    channels, ReLU between; one softmax over the H_K² makes each kernel sum to one. Untrained kernels are near the
    identity, so that propagation begins as copying.
    """

    def __init__(self, low_channels: int, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.reduce = conv3x3(low_channels, channels)
        self.combine = conv3x3(2 * channels, channels)
        self.predict = nn.Conv2d(channels, kernel_size**2, 1)
        self._start_near_identity()

    def _start_near_identity(self) -> None:
        nn.init.normal_(self.predict.weight, std=1e-3)
        taps = self.predict.out_channels
        bias = torch.zeros(taps)
        bias[taps // 2] = IDENTITY_LOGIT
        self.predict.bias = nn.Parameter(bias)

    def guidance(self, low: Tensor) -> Tensor:
        """The part that needs one frame only, (B, channels, h, w): a key frame's is computed once and kept."""
        return torch.relu(self.reduce(low))

    def forward(self, key_guidance: Tensor, guidance: Tensor) -> Tensor:
        """W, (B, H_K², h, w); the taps of a place sum to one."""
        combined = torch.relu(self.combine(torch.cat([key_guidance, guidance], dim=1)))
        # Over the last dimension: over the channels of a channels-last tensor torch's softmax is slower on a CPU, and
        # its result, no longer channels last, would have to be turned for equation 1.
        taps_last = torch.softmax(self.predict(combined).permute(0, 2, 3, 1), dim=3)
        return taps_last.permute(0, 3, 1, 2)


class AdaptNet(nn.Sequential):
    """Three 3x3 convolutions that make the current low-level feature fit for fusion: (B, C_l, h, w) to (B, A, h, w)."""

    def __init__(self, low_channels: int, channels: int) -> None:
        super().__init__(
            conv3x3(low_channels, channels),
            nn.ReLU(inplace=True),
            conv3x3(channels, channels),
            nn.ReLU(inplace=True),
            conv3x3(channels, channels),
            nn.ReLU(inplace=True),
        )


class Fusion(nn.Module):
    """Joins the propagated high-level feature and the adapted low-level one into what the classifier takes.

    The paper's: concatenate, a 3x3 convolution, ReLU. ``residual`` adds the convolution's result to the propagated
    feature, starting from nothing, so that an untrained fusion changes nothing; reducing the propagated feature to
    AdaptNet's channels before it makes that convolution half as costly.
    """

    def __init__(self, high_channels: int, adapt_channels: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        if residual:
            self.reduce = nn.Conv2d(high_channels, adapt_channels, 1)
        self.combine = conv3x3((adapt_channels if residual else high_channels) + adapt_channels, high_channels)
        if residual:
            for parameter in self.combine.parameters():
                nn.init.zeros_(parameter)

    def forward(self, propagated: Tensor, adapted: Tensor) -> Tensor:
        """(B, C_h, h, w) and (B, A, h, w) to (B, C_h, h, w)."""
        if not self.residual:
            return torch.relu(self.combine(torch.cat([propagated, adapted], dim=1)))
        correction = self.combine(torch.cat([torch.relu(self.reduce(propagated)), adapted], dim=1))
        return torch.relu(propagated + correction)

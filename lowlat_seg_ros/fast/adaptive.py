"""What the paper trains to find labels between key frames: adaptive feature propagation and the deviation predictor.

Sections 3.3 and 3.2, and figure 4.

What the paper does not have: where the optical flow from the key frame is borne out by both pictures, the key frame's
logits are carried along it (``carrying: optical_flow`` in a model's description; ``fast.motion`` says why).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.motion import carry, is_another_scene
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.propagation import FeaturePropagation, PropagationError
from lowlat_seg_ros.kernels import cpp
from lowlat_seg_ros.kernels.spatially_variant_convolution import local_correlation, spatially_variant_convolution
from lowlat_seg_ros.slow.network import SlowNetwork

# The share of an untrained kernel that lies on its centre is e^x / (e^x + H_K² - 1): about two thirds for 81 taps.
IDENTITY_LOGIT = 5.0
FIRST_SENSITIVITY = 1.0
FIRST_SHARPNESS = 150.0  # of kernels from correlations: neighbouring places are alike to one part in a hundred
LEAST_LENGTH = 1e-6  # of a guidance before it is brought to one: what is less is 0 in half precision
FIRST_CODE_WEIGHT = 8.0  # of a difference of codes: two places without anything in common differ by 2 in all
FIRST_CODE_BIAS = -3.0  # places that look alike have one chance in twenty to have changed


class Propagated(NamedTuple):
    """What equation 1 and fusion make of a key frame's F_h for the current frame."""

    high: Tensor  # F_h, (B, C_h, h, w)
    doubt: Tensor | None  # (B, 1, h, w): 0 where the key frame explains the current one, towards 1; of gated fusion


class AdaptivePropagation(FeaturePropagation):
    """``propagation: adaptive``: F_h moved by predicted kernels, fused with AdaptNet's view, and classified."""

    name = "adaptive"

    def __init__(self, fast: FastNetwork, slow: SlowNetwork) -> None:
        super().__init__(fast, slow)
        self.needs_motion = fast.config.carrying == "optical_flow"

    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        # The first frames of another scene, until Sh has seen one of them.
        alone = self.answer_without_key(seen) if key.answer.feature is None and not key.is_accurate else None
        if alone is not None:
            return alone._replace(doubt=torch.ones(1, 1, 1, 1))
        high, doubt = self.fast.propagate(feature_of(key), key.frame.low, seen.low)
        strange = self.answer_without_key(seen) if doubt is not None and is_another_scene(doubt) else None
        if strange is not None:
            return strange._replace(doubt=torch.ones(1, 1, 1, 1))
        motion = None if seen.motion is None else seen.motion.result().motion
        if motion is None:
            return Answer(self.head.classify(high), high, doubt=doubt)
        own = (self.head.classify_folded or self.head.classify)(high)
        return Answer(carry(key.answer.logits, own, motion, doubt), high, doubt=doubt)


def feature_of(key: KeyFrame) -> Tensor:
    """F_h of a key frame. Raises PropagationError where it does not lie on the grid of F_l."""
    feature, grid = key.answer.feature, key.frame.low.low.shape[-2:]
    if feature is None or feature.shape[-2:] != grid:
        found = "no feature map" if feature is None else f"a feature map of {tuple(feature.shape[-2:])} elements"
        raise PropagationError(f"the slow network gave {found}; expected {tuple(grid)}, as many as Sl's has")
    return feature


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

    def transport(self, features: Sequence[Tensor], key_guidance: Tensor, guidance: Tensor) -> list[Tensor]:
        """The key frame's features, each (B, C, h, w), moved to the current frame by equation 1."""
        kernels = self(key_guidance, guidance)
        return [spatially_variant_convolution(feature, kernels) for feature in features]


class CorrelationKernels(nn.Module):
    """Predicts W from how well the current frame's places match the key frame's places around them.

    The paper's predictor has to learn from examples what matching is; a few hundred pictures teach it little more than
    a blur. Here both features are reduced by one 3x3 convolution and brought to length one, their local correlation
    says how alike any two places are, and a softmax over the H_K² makes a kernel of it. Identical frames give kernels
    close to the identity, trained or not.
    """

    def __init__(self, low_channels: int, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.reduce = conv3x3(low_channels, channels)
        # As a logarithm, so that steps of a learning rate that suits the convolution move it too.
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(FIRST_SHARPNESS)))
        self.prior = nn.Parameter(torch.zeros(kernel_size**2))  # of each tap, whatever is seen

    def guidance(self, low: Tensor) -> Tensor:
        """The part that needs one frame only, (B, channels, h, w), of length one at each place."""
        return functional.normalize(self.reduce(low), dim=1, eps=LEAST_LENGTH)

    def forward(self, key_guidance: Tensor, guidance: Tensor) -> Tensor:
        """W, (B, H_K², h, w); the taps of a place sum to one."""
        likeness = local_correlation(key_guidance, guidance, self.kernel_size)
        taps_last = torch.softmax(self.log_sharpness.exp() * likeness.permute(0, 2, 3, 1) + self.prior, dim=3)
        return taps_last.permute(0, 3, 1, 2)

    def transport(self, features: Sequence[Tensor], key_guidance: Tensor, guidance: Tensor) -> list[Tensor]:
        """The key frame's features, each (B, C, h, w), moved to the current frame by equation 1."""
        operands = *features, key_guidance, guidance, self.log_sharpness, self.prior
        if cpp.can_run(*operands) and not cpp.needs_gradient(*operands):
            sharpness = self.log_sharpness.exp().item()
            return cpp.matched_transport(features, key_guidance, guidance, sharpness, self.prior)[0]
        kernels = self(key_guidance, guidance)
        return [spatially_variant_convolution(feature, kernels) for feature in features]

    def transport_and_compare(
        self, feature: Tensor, key_guidance: Tensor, guidance: Tensor, fusion: GatedFusion
    ) -> tuple[Tensor, Tensor]:
        """The same of one feature, and the fusion's gate for what the moved guidance and the current one differ in."""
        sensitivity = fusion.sensitivity.abs()
        operands = feature, key_guidance, guidance, self.log_sharpness, self.prior, sensitivity
        if cpp.can_run(*operands) and not cpp.needs_gradient(*operands):
            sharpness = self.log_sharpness.exp().item()
            (moved,), gate = cpp.matched_transport(
                [feature], key_guidance, guidance, sharpness, self.prior, sensitivity
            )
            assert gate is not None
            return moved, gate
        moved, moved_guidance = self.transport([feature, key_guidance], key_guidance, guidance)
        return moved, fusion.gate(moved_guidance, guidance)


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
    """The paper's: the propagated and the adapted feature side by side, a 3x3 convolution, ReLU."""

    def __init__(self, high_channels: int, adapt_channels: int) -> None:
        super().__init__()
        self.combine = conv3x3(high_channels + adapt_channels, high_channels)

    def forward(self, propagated: Tensor, adapted: Tensor) -> Tensor:
        """(B, C_h, h, w) and (B, A, h, w) to (B, C_h, h, w)."""
        return torch.relu(self.combine(torch.cat([propagated, adapted], dim=1)))


class GatedFusion(nn.Module):
    """Corrects the propagated feature where the key frame does not explain the current one, and nowhere else.

    The key frame's guidance, moved by the same kernels, is compared with the current frame's. Where the two agree the
    gate is shut and what Sh found is left as it is; where they differ (something uncovered, something new) AdaptNet's
    view of the current frame is added. A fusion without a gate learns on pictures that Sh was trained on and
    knows better than others, and made worse what Sh found in those.
    """

    def __init__(self, high_channels: int, adapt_channels: int, guidance_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(high_channels, adapt_channels, 1)
        self.combine = nn.Conv2d(2 * adapt_channels, high_channels, 1)
        self.sensitivity = nn.Parameter(torch.full((guidance_channels,), FIRST_SENSITIVITY))
        for parameter in self.combine.parameters():
            nn.init.zeros_(parameter)  # an untrained fusion changes nothing

    def forward(self, propagated: Tensor, adapted: Tensor, gate: Tensor) -> Tensor:
        """(B, C_h, h, w), (B, A, h, w) and what ``gate`` gives, (B, 1, h, w), to (B, C_h, h, w)."""
        propagated, adapted, gate = (picture.permute(0, 2, 3, 1) for picture in (propagated, adapted, gate))
        reduced = torch.relu(pointwise(propagated, self.reduce.weight, self.reduce.bias))
        correction = pointwise(torch.cat([reduced, adapted], dim=3), self.combine.weight, self.combine.bias)
        return torch.addcmul(propagated, gate, correction).relu_().permute(0, 3, 1, 2)

    def gate(self, moved_guidance: Tensor, guidance: Tensor) -> Tensor:
        """(B, 1, h, w): 0 where the two agree, towards 1 the more they differ."""
        difference = (guidance - moved_guidance).abs_().permute(0, 2, 3, 1)
        return 1 - torch.exp(-functional.linear(difference, self.sensitivity.abs()[None])).permute(0, 3, 1, 2)


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
        nn.init.constant_(self.regress.weight, FIRST_CODE_WEIGHT)
        nn.init.constant_(self.regress.get_parameter("bias"), FIRST_CODE_BIAS)

    def guidance(self, low: Tensor) -> Tensor:
        """The part that needs one frame only, (B, channels, h, w): a key frame's is computed once and kept."""
        return torch.softmax(self.reduce(low), dim=1)

    def change_logits(self, key_guidance: Tensor, guidance: Tensor) -> Tensor:
        """For each place the logit of the fraction of its pixels whose label has changed, (B, 1, h, w)."""
        difference = (guidance - key_guidance).abs_().permute(0, 2, 3, 1)
        return pointwise(difference, self.regress.weight, self.regress.bias).permute(0, 3, 1, 2)

    def forward(self, key_guidance: Tensor, guidance: Tensor) -> Tensor:
        """The deviation, (B,), between 0 and 1."""
        return mean_change(self.change_logits(key_guidance, guidance))


def pointwise(picture: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution by (C', C, 1, 1) of a picture whose channels come last: (B, h, w, C) to (B, h, w, C').

    As the product of matrices that it is: a runtime would bring a convolution's pictures into an order of its own and
    back, which takes several times as long.
    """
    return functional.linear(picture.flatten(0, 2), weight[:, :, 0, 0], bias).unflatten(0, picture.shape[:3])


def mean_change(logits: Tensor) -> Tensor:
    """Of each picture's places, (B, 1, h, w) to (B,)."""
    return torch.sigmoid(logits).mean(dim=(1, 2, 3))

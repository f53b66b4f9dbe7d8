"""The whole network of the paper's figures 2 and 4, assembled from parts named after what they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lowlat_seg_ros.fast.adaptive import (
    AdaptNet,
    CorrelationKernels,
    DeviationCodes,
    DeviationPredictor,
    Fusion,
    GatedFusion,
    KernelPredictor,
    Propagated,
)
from lowlat_seg_ros.fast.frames import Answer, LowFeatures
from lowlat_seg_ros.fast.motion import unfold
from lowlat_seg_ros.models.comparisons import Comparisons
from lowlat_seg_ros.models.config import Colour, ModelConfig, SharedBackboneConfig
from lowlat_seg_ros.models.layers import Classifier, Grid, Normalising, grid_of
from lowlat_seg_ros.models.shared_backbone import SharedBackbone
from lowlat_seg_ros.models.steps import (
    CLASSIFY,
    CLASSIFY_BESIDE,
    CLASSIFY_LOW,
    FUSE,
    LOOK_CLOSER,
    SEE,
    SEE_ALONE,
    SEE_LITTLE,
    Runners,
    Step,
    Tensors,
    describe,
)
from lowlat_seg_ros.models.tracks import Tracks
from lowlat_seg_ros.models.two_networks import TwoNetworks
from lowlat_seg_ros.runtime.captured import captured
from lowlat_seg_ros.slow.network import FeatureHead

if TYPE_CHECKING:
    from lowlat_seg_ros.models.calibration import Calibration

TINY = 1e-12


class SegmentationNetwork(nn.Module):
    """Sl, Sh, classifier, kernel predictor, AdaptNet, fusion and deviation predictor. Holds weights and no state.

    Every feature lies on one grid of ``stride`` image pixels an element: (h, w) = (H, W) / stride, rounded up.

    Raises:
        ConfigError: the config names no known backbone or block, or grids that do not fit each other.
    """

    sees_whole_frame = False
    comparisons: Comparisons | None
    calibration: Calibration | None = None  # for int8
    runners: Runners = Runners()

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_module("comparisons", None)  # what the paper's tables compare with, where it was trained
        self.tracks = build_tracks(config)
        self.stride = self.tracks.stride
        low_channels = self.tracks.low_channels
        self.classifier = Classifier(config.high_channels, config.class_count, config.subpixels)
        self.fast_classifier = Classifier(low_channels, config.class_count, config.subpixels)
        self.kernel_predictor = build_kernel_predictor(config, low_channels)
        self.adapt_net = AdaptNet(low_channels, config.adapt_channels)
        self.fusion = build_fusion(config)
        self.deviation_predictor = build_deviation_predictor(config, low_channels)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, by their ids."""
        return self.config.classes

    @property
    def colours(self) -> tuple[Colour, ...]:
        """RGB, one a class."""
        return self.config.colours

    @property
    def head(self) -> FeatureHead:
        """What classifies F_h, and its grid."""
        beside = None if self.comparisons is None else self.classify_beside
        return FeatureHead(self.stride, self.classify, beside, self._classify_folded)

    @property
    def own_fast_network(self) -> SegmentationNetwork:
        """Itself: it is both tracks' network."""
        return self

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        """The slow track's answer for an image (1, 3, H, W) and its F_l: logits, and the F_h that they come from."""
        high = self.high_features(image, low)
        return Answer(self.classify(high), high)

    def low_features(self, image: Tensor) -> LowFeatures:
        """Sl. ``image`` is (B, 3, H, W), RGB: uint8, or float and normalised by the config's mean and std."""
        return LowFeatures(*self._run(SEE, grid_of(image, self.stride), self.tracks.low_input(image)))

    def low_feature(self, image: Tensor) -> Tensor:
        """F_l alone, for whom no other frame follows."""
        return self._run(SEE_LITTLE, grid_of(image, self.stride), self.tracks.low_input(image))[0]

    def describe(self, low: Tensor) -> LowFeatures:
        """F_l with both predictors' one-frame parts."""
        return describe(self, low)

    def high_features(self, image: Tensor, low: Tensor) -> Tensor:
        """Sh: F_h, (B, C_h, h, w), of such an image and its F_l. Most networks use one of the two only."""
        return self._look_closer(image, low)

    def _look_closer(self, image: Tensor, low: Tensor | None) -> Tensor:
        return self._run(LOOK_CLOSER, grid_of(image, self.stride), self.tracks.high_input(image, low))[0]

    def classify(self, high: Tensor) -> Tensor:
        """Logits of an F_h, (B, classes, r h, r w), r the config's ``subpixels``."""
        return unfold(self._classify_folded(high), self.config.subpixels)

    def _classify_folded(self, high: Tensor) -> Tensor:
        return self._run(CLASSIFY, grid_of(high), high)[0]

    def classify_beside(self, high: Tensor, low: Tensor) -> Tensor:
        """Clockwork's logits, of a key frame's F_h and this frame's F_l; of a network that has ``comparisons``."""
        return self._run(CLASSIFY_BESIDE, grid_of(low), high, low)[0]

    def classify_low(self, low: Tensor) -> Tensor:
        """Logits of an F_l, without any key frame, (B, classes, r h, r w): what Sl sees alone."""
        return unfold(self._run(CLASSIFY_LOW, grid_of(low), low)[0], self.config.subpixels)

    def predicted_deviation(self, key: LowFeatures, current: LowFeatures) -> Tensor:
        """devS(k, t), (B,): the fraction of pixels expected to carry another label than in the key frame."""
        guidances = key.deviation_guidance, current.deviation_guidance
        return _predicted_deviation(*guidances, predictor=self.deviation_predictor)

    def transport(self, key_high: Tensor, key: LowFeatures, current: LowFeatures) -> Tensor:
        """The key frame's F_h moved to the current frame by equation 1, (B, C_h, h, w)."""
        return self._moved([key_high], key, current)[0]

    def _moved(self, features: Sequence[Tensor], key: LowFeatures, current: LowFeatures) -> Tensors:
        return _moved(key.kernel_guidance, current.kernel_guidance, *features, predictor=self.kernel_predictor)

    def fuse(self, propagated: Tensor, current: LowFeatures, moved_guidance: Tensor) -> Propagated:
        """A moved F_h completed by what AdaptNet sees in the current frame.

        ``moved_guidance`` is the key frame's kernel guidance, moved as its F_h was; the paper's fusion does without.
        """
        gated = isinstance(self.fusion, GatedFusion)
        return self._fused(propagated, current, self._gate(moved_guidance, current) if gated else None)

    def _gate(self, moved_guidance: Tensor, current: LowFeatures) -> Tensor:
        assert isinstance(self.fusion, GatedFusion)
        return self.fusion.gate(moved_guidance, current.kernel_guidance)

    def _fused(self, propagated: Tensor, current: LowFeatures, gate: Tensor | None) -> Propagated:
        gates = () if gate is None else (gate,)
        return Propagated(self._run(FUSE, grid_of(current.low), propagated, current.low, *gates)[0], gate)

    def propagate(self, key_high: Tensor, key: LowFeatures, current: LowFeatures) -> Propagated:
        """F_h of the current frame from the key frame's: transported, then fused (figure 4)."""
        if not isinstance(self.fusion, GatedFusion):
            return self._fused(self.transport(key_high, key, current), current, None)
        propagated, gate = self.move(key_high, key, current)
        return self._fused(propagated, current, gate)

    def move(self, picture: Tensor, key: LowFeatures, current: LowFeatures) -> tuple[Tensor, Tensor]:
        """Anything on the grid moved as F_h is, and the doubt of what came of it, (B, 1, h, w)."""
        guidances = key.kernel_guidance, current.kernel_guidance
        if isinstance(self.fusion, GatedFusion) and isinstance(self.kernel_predictor, CorrelationKernels):
            return _moved_and_compared(picture, *guidances, predictor=self.kernel_predictor, fusion=self.fusion)
        moved, guidance = self._moved([picture, key.kernel_guidance], key, current)
        if isinstance(self.fusion, GatedFusion):
            return moved, self._gate(guidance, current)
        return moved, relative_difference(guidance, current.kernel_guidance)

    def forward(self, image: Tensor) -> Tensor:
        """The full network on one frame: Sl where Sh needs it, Sh, classifier; logits (B, classes, r h, r w)."""
        low = self.low_feature(image) if self.tracks.high_needs_low else None
        return self.classify(self._look_closer(image, low))

    def forward_fast(self, image: Tensor) -> Tensor:
        """Sl alone as a network for single frames, with a classifier of its own; logits (B, classes, r h, r w).

        It helps Sl to learn (the auxiliary loss of Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section
        3.3), and it is what the two tracks must beat.
        """
        folded = self._run(SEE_ALONE, grid_of(image, self.stride), self.tracks.low_input(image))[0]
        return unfold(folded, self.config.subpixels)

    def _run(self, step: Step, grid: Grid, *inputs: Tensor) -> Tensors:
        """A step in its track's runtime, else here."""
        runner = self.runners.fast if step.track == "fast" else self.runners.slow
        return step.compute(self, grid, *inputs) if runner is None else runner(step, grid, inputs)


@captured
def _predicted_deviation(key: Tensor, current: Tensor, *, predictor: nn.Module) -> Tensor:
    found: Tensor = predictor(key, current)
    return found


@captured
def _moved(key: Tensor, current: Tensor, *features: Tensor, predictor: KernelPredictor | CorrelationKernels) -> Tensors:
    return tuple(predictor.transport(features, key, current))


@captured
def _moved_and_compared(
    picture: Tensor, key: Tensor, current: Tensor, *, predictor: CorrelationKernels, fusion: GatedFusion
) -> tuple[Tensor, Tensor]:
    return predictor.transport_and_compare(picture, key, current, fusion)


def relative_difference(first: Tensor, second: Tensor) -> Tensor:
    """Of two features, place by place: (B, 1, h, w), 0 where they are alike, 1 where they share nothing."""
    difference, size = (
        value.abs().sum(dim=1, keepdim=True) for value in (first - second, torch.cat([first, second], 1))
    )
    return difference / size.clamp(min=TINY)


def build_tracks(config: ModelConfig) -> Tracks:
    """Sl and Sh as the config describes them. Raises what ``SegmentationNetwork`` does."""
    normalise = Normalising(config.mean, config.std)
    if isinstance(config.tracks, SharedBackboneConfig):
        return SharedBackbone(config.tracks, config.high_channels, normalise)
    return TwoNetworks(config.tracks, config.high_channels, normalise)


def build_kernel_predictor(config: ModelConfig, low_channels: int) -> KernelPredictor | CorrelationKernels:
    kind = CorrelationKernels if config.kernels == "correlation" else KernelPredictor
    return kind(low_channels, config.kernel_channels, config.kernel_size)


def build_deviation_predictor(config: ModelConfig, low_channels: int) -> DeviationPredictor | DeviationCodes:
    kind = DeviationCodes if config.deviation == "codes" else DeviationPredictor
    return kind(low_channels, config.deviation_channels)


def build_fusion(config: ModelConfig) -> Fusion | GatedFusion:
    if config.fusion == "gated":
        return GatedFusion(config.high_channels, config.adapt_channels, config.kernel_channels)
    return Fusion(config.high_channels, config.adapt_channels)

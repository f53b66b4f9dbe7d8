"""Small experiments beside the paper's tables: each takes away the one thing that a reason for their order rests on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.gated_flow import GatedFlow
from lowlat_seg_ros.evaluation.rows import LabelledFrame, Labeller, TrackSettings, in_engine, labellers_of, late, score
from lowlat_seg_ros.evaluation.table_ways import FeatureAlone, Unfused
from lowlat_seg_ros.fast.adaptive import feature_of
from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.kernels.spatially_variant_convolution import spatially_variant_convolution
from lowlat_seg_ros.models.comparisons import GatedUnits
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.slow.network import SlowNetwork
from lowlat_seg_ros.stream.key_frames import FixedInterval

LATE: Final = (1, 2, 3, 4, 6)  # frames; the paper's Sh, 299 ms at 17 Hz, is 6 late
LOOKED_AT: Final = (2, 3)  # frames, by GRFP


@dataclass(frozen=True)
class Control:
    """One of them, scored on the table's frames."""

    name: str
    mean_iou: float  # a fraction of one
    shows: str


class AsItIs(FeatureAlone):
    """The key frame's feature where it was, classified: what every way to move it has to beat."""

    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        high = feature_of(key)
        return Answer(self.head.classify(high), high)


class LikeliestTap(FeatureAlone):
    """Equation 1 with each kernel's largest weight alone: one place is copied, as along a flow, none averaged."""

    def __init__(self, fast: FastNetwork, slow: SlowNetwork, network: SegmentationNetwork) -> None:
        super().__init__(fast, slow)
        self._network = network

    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        guidance = key.frame.low.kernel_guidance, seen.low.kernel_guidance
        high = spatially_variant_convolution(feature_of(key), largest_alone(self._network.kernel_predictor(*guidance)))
        return Answer(self.head.classify(high), high)


def largest_alone(kernels: Tensor) -> Tensor:
    """(B, H_K², h, w), 1 at each place's largest tap and 0 elsewhere."""
    taps = functional.one_hot(kernels.argmax(dim=1), kernels.shape[1])
    return taps.permute(0, 3, 1, 2).to(kernels.dtype).contiguous()


def controls_of_table_1(clip: EvaluatedClip, settings: TrackSettings) -> list[Control]:
    """More key frames without AKS; low latency by counted frames; GRFP with fewer frames, where its units are there."""
    labellers = [_more_often(clip, settings), *(_late(clip, settings, delay) for delay in LATE)]
    if clip.network.comparisons is not None:
        labellers += [_grfp(clip, clip.network.comparisons.gated_units, frames) for frames in LOOKED_AT]
    return scored(clip, labellers)


def _more_often(clip: EvaluatedClip, settings: TrackSettings) -> Labeller:
    policy = FixedInterval(settings.interval - 1)
    return Labeller(
        f"AFP + a key frame every {policy.interval} frames",
        "what a fixed schedule reaches with more key frames, such as AKS has",
        in_engine(clip, settings, policy, low_latency=False, propagation=FeatureAlone),
    )


def _late(clip: EvaluatedClip, settings: TrackSettings, delay: int) -> Labeller:
    label = in_engine(clip, settings, settings.adaptive, delay_frames=delay, propagation=FeatureAlone)
    return Labeller(f"AFP + AKS + LLS, {late(delay)}", "what the age of Sh's answers costs, on any machine", label)


def _grfp(clip: EvaluatedClip, units: GatedUnits, frames: int) -> Labeller:
    def remembered(picture: Tensor) -> Tensor:
        return clip.slow.answer(picture, clip.remembering.low_features(picture).low).logits

    gated = GatedFlow(clip.network, units, frames, remembered)
    return Labeller(
        f"GRFP({frames})",
        "what looking back at more frames adds",
        lambda frame: LabelledFrame(gated(frame.image), True),
    )


def controls_of_table_2(clip: EvaluatedClip, settings: TrackSettings) -> list[Control]:
    """At the table's fixed interval, and fusion at twice that; key frames wait for Sh."""
    twice = replace(settings, interval=2 * settings.interval)
    rare = f"a key frame every {twice.interval} frames"
    engine = partial(in_engine, clip, settings, low_latency=False)
    usual, half_as_often = settings.fixed_policy(), twice.fixed_policy()
    (alone,) = labellers_of("single-frame", clip, settings)
    return scored(
        clip,
        [
            Labeller("F_h as it is", "what any way to move it has to beat", engine(usual, propagation=AsItIs)),
            replace(alone, name="Sl alone", description="what Clockwork's classifier sees beside F_h"),
            Labeller(
                "adaptive propagation, no fusion, likeliest tap alone",
                "what averaging over 81 taps is worth",
                engine(usual, propagation=partial(LikeliestTap, network=clip.network)),
            ),
            Labeller(
                f"adaptive propagation, no fusion, {rare}",
                "with the next row: what fusion adds farther from a key frame",
                engine(half_as_often, propagation=Unfused),
            ),
            Labeller(f"adaptive propagation, with fusion, {rare}", "", engine(half_as_often, propagation=FeatureAlone)),
        ],
    )


def scored(clip: EvaluatedClip, labellers: list[Labeller]) -> list[Control]:
    """Each against the truth."""
    rows = score(clip, labellers, is_video=False)
    return [Control(row.name, row.mean_iou, row.description) for row in rows]

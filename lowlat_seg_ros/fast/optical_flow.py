"""Deep Feature Flow (Zhu et al., "Deep Feature Flow for Video Recognition", CVPR 2017): F_h moved along the flow.

The flow is that of ``fast.motion``, where the source has a network of its own, and nothing scales what it has moved.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.adaptive import feature_of
from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.motion import Motion, motion_on_grid, positions_of, sources
from lowlat_seg_ros.fast.propagation import FeaturePropagation
from lowlat_seg_ros.runtime.captured import captured


class OpticalFlowPropagation(FeaturePropagation):
    """``propagation: optical_flow``."""

    name = "optical_flow"
    needs_motion = True

    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        high = feature_of(key)
        motion = None if seen.motion is None else seen.motion.result().motion
        if motion is not None:
            high = along(motion, high)
        return Answer(self.head.classify(high), high)


def along(motion: Motion, picture: Tensor) -> Tensor:
    """Anything that lies on the key frame's picture, (1, C, h, w), bilinearly; beyond its border the border goes on."""
    height, width = picture.shape[-2:]
    return _moved(picture, motion_on_grid(motion, (width, height)).flow.to(picture.device))


@captured
def _moved(picture: Tensor, flow: Tensor) -> Tensor:
    positions = positions_of(sources(flow))[None].to(picture.dtype)
    return functional.grid_sample(picture, positions, padding_mode="border", align_corners=True)

"""Deep Feature Flow (Zhu et al., "Deep Feature Flow for Video Recognition", CVPR 2017): F_h moved along the flow.

The flow is that of ``fast.motion``, where the source has a network of its own, and nothing scales what it has moved.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.adaptive import feature_of
from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.motion import Motion, motion_on_grid
from lowlat_seg_ros.fast.propagation import FeaturePropagation


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
    flow = torch.from_numpy(motion_on_grid(motion, (width, height)).flow).to(picture.device)
    columns, rows = (torch.arange(size, device=picture.device) for size in (width, height))
    source = flow + torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    ends = torch.tensor([width - 1, height - 1], device=picture.device).clamp(min=1)
    # grid_sample's positions run from -1 to 1 over the picture; its corners are the first and the last place.
    positions = (2 * source / ends - 1)[None].to(picture.dtype)
    return functional.grid_sample(picture, positions, padding_mode="border", align_corners=True)

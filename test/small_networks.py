"""Networks of few channels, with weights that answer like trained ones, for tests that need a network but no skill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lowlat_seg_ros.fast.adaptive import GatedFusion
from lowlat_seg_ros.models.config import KINDS, ModelConfig, load_config
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork

MODELS = Path(__file__).parents[1] / "config" / "models"
IN_TORCH = tuple(f"--{track}-{kind}" for track in ("fast", "slow") for kind in ("runtime=torch", "precision=fp32"))
"""Options with which a command computes the same numbers on every CPU, and as networks do that a test loads."""


SMALL_TRACKS: dict[str, dict[str, Any]] = {
    "shared_backbone": {
        "backbone": "efficientnet_lite0",
        "split": "blocks.4",
        "output_stride": 16,
        "pyramid_bins": (1, 2, 3, 6),
        "pyramid_channels": 4,
        "skip_channels": 4,
    },
    "two_networks": {
        "stride": 8,
        "low_backbone": "efficientnet_lite0",
        "low_scale": 0.5,
        "low_channels": 10,
        "high_backbone": "efficientnet_lite0",
        "high_scale": 1.5,
        "pyramid_bins": (1, 2, 3, 6),
        "pyramid_channels": 4,
    },
}


def small_config(kind: str = "shared_backbone", **changes: Any) -> ModelConfig:
    """A model of few channels with a 5x5 kernel; ``changes`` replace its fields or its tracks'."""
    config = load_config(MODELS / "default.yaml")
    tracks = KINDS[kind](**{name: changes.pop(name, value) for name, value in SMALL_TRACKS[kind].items()})
    small = {"high_channels": 12, "subpixels": 1, "kernel_size": 5, "kernels": "convolution", "kernel_channels": 6}
    return replace(
        config,
        **{
            **small,
            "tracks": tracks,
            "adapt_channels": 8,
            "deviation": "convolution",
            "deviation_channels": 6,
            "carrying": "none",
            **changes,
        },
    )


def small_network(seed: int = 0, kind: str = "shared_backbone", **changes: Any) -> SegmentationNetwork:
    """An untrained small network in eval mode whose label maps nevertheless show many classes."""
    torch.manual_seed(seed)
    network = SegmentationNetwork(small_config(kind, **changes))
    settle_batch_norms(network)
    if isinstance(network.fusion, GatedFusion):
        # Untrained, it takes the noise of untrained features for another scene.
        nn.init.constant_(network.fusion.sensitivity, 0.1)
    return network.eval()


def random_image(height: int = 65, width: int = 97, batch: int = 1, seed: int = 0) -> Tensor:
    """A normalised picture of random smooth blobs, (batch, 3, height, width)."""
    coarse = torch.randn(batch, 3, 6, 8, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)


def settle_batch_norms(network: SegmentationNetwork) -> None:
    """Give BatchNorm the statistics of a few pictures, as training would; fresh ones let signals fade away."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    network.train()
    with torch.no_grad():
        network(random_image(batch=4, seed=1))
        network.forward_fast(random_image(batch=4, seed=1))

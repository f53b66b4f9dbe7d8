"""A network on single images, from pixels to class ids."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.pictures import Preprocessor, as_image, frame_size, label_image, unlabelled_image
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.slow.registry import Tracks


class PerFrameNetwork:
    """A network without memory on one image: the full network, or a part that gives logits by itself."""

    def __init__(self, network: FastNetwork, forward: Callable[[Tensor], Tensor]) -> None:
        """``forward``: an image to logits, by all of the network or a part."""
        config = network.config
        self._forward = forward
        self._input_size = config.input_size
        self._preprocess = Preprocessor(self._input_size, torch.device("cpu"))

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB to (H, W) class ids; nothing but 255 where the logits are not finite."""
        try:
            return label_image(self._forward(self._preprocess(image)), self._input_size, frame_size(image))
        except FloatingPointError:
            return unlabelled_image(frame_size(image))


class PerFrameAnswer:
    """Any slow network on one image at a time, as the slow track asks it."""

    def __init__(self, tracks: Tracks) -> None:
        """``tracks``: the network, and whose input size and F_l it is given."""
        self._slow, self._fast = tracks
        self._input_size = self._fast.config.input_size
        self._preprocess = Preprocessor(self._input_size, torch.device("cpu"))

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB to (H, W) class ids; nothing but 255 where the logits are not finite."""
        seen = self._preprocess(image)
        low = self._fast.low_features(seen).low
        picture = as_image(image, torch.device("cpu")) if self._slow.sees_whole_frame else seen
        answer = self._slow.answer(picture, low)
        try:
            return label_image(answer.logits, self._input_size, frame_size(image), answer.ids)
        except FloatingPointError:
            return unlabelled_image(frame_size(image))


def full_network(tracks: Tracks) -> PerFrameNetwork | PerFrameAnswer:
    """The slow track's network on every frame."""
    slow = tracks.slow
    return PerFrameNetwork(slow, slow) if isinstance(slow, SegmentationNetwork) else PerFrameAnswer(tracks)


def single_frame_network(fast: FastNetwork) -> PerFrameNetwork:
    """Sl with a classifier of its own."""
    if isinstance(fast, SegmentationNetwork):
        return PerFrameNetwork(fast, fast.forward_fast)
    return PerFrameNetwork(fast, lambda image: fast.classify_low(fast.low_features(image).low))

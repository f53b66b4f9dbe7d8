"""A camera's frame as the network wants it."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Size = tuple[int, int]  # (width, height) in pixels, as OpenCV and the model's config order them


def check_frame(frame: NDArray[np.uint8]) -> None:
    """Raise a ValueError unless ``frame`` is an (H, W, 3) uint8 array with at least one pixel."""
    is_image = isinstance(frame, np.ndarray) and frame.ndim == 3 and frame.shape[2] == 3 and frame.size > 0
    if is_image and frame.dtype == np.uint8:
        return
    found = f"{frame.dtype} array of shape {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
    raise ValueError(f"the frame is a {found}; expected a uint8 array of shape (height, width, 3), RGB")


def frame_size(frame: NDArray[np.uint8]) -> Size:
    return frame.shape[1], frame.shape[0]


class Preprocessor:
    """Brings a frame to the network's input size, on the network's device."""

    def __init__(self, input_size: Size, device: torch.device) -> None:
        self._input_size = input_size
        self._device = device

    def __call__(self, frame: NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) uint8 RGB of any size to (1, 3, input height, input width) uint8, channels last in memory."""
        return self.image(self.resized(frame))

    def resized(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame at the network's input size, always in memory of its own: the caller's may soon be the next one."""
        if frame_size(frame) == self._input_size:
            return np.array(frame, order="C")
        return np.asarray(cv2.resize(frame, self._input_size, interpolation=cv2.INTER_LINEAR), np.uint8)

    def image(self, resized: NDArray[np.uint8]) -> Tensor:
        """The resized frame as the network takes it."""
        return torch.from_numpy(resized).permute(2, 0, 1).unsqueeze(0).to(self._device)

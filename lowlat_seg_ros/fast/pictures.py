"""From a camera's frame to a network's input, and from logits to labels of the frame's size."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.kernels import cpp
from lowlat_seg_ros.runtime.captured import captured
from lowlat_seg_ros.runtime.track_stream import to_device, to_host

Size = tuple[int, int]  # (width, height) in pixels, as OpenCV and the model's config order them
NOT_FINITE = "the logits hold values that are nan or infinite"


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
        return as_image(resized, self._device)


def as_image(frame: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(H, W, 3) to (1, 3, H, W), uint8 RGB, channels last in memory; on the CPU mostly the frame's own."""
    return to_device(frame, device).permute(2, 0, 1).unsqueeze(0)


def label_image(logits: Tensor, input_size: Size, size: Size, ids: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Class ids, (height, width) of ``size``, from logits (1, classes, h, w) of the classes ``ids``; None: 0, 1, …

    The logits are upsampled bilinearly to the network's input size, as in training, then the largest is taken; the ids
    are then only ever copied (nearest pixel) to the frame's size, so that no two of them are blended into a third.

    Raises:
        FloatingPointError: a logit is nan or infinite.
    """
    labels = label_in_cpp(logits, input_size) if can_label_in_cpp(logits) else label_in_torch(logits, input_size)
    if ids is not None and ids != tuple(range(len(ids))):
        labels = np.asarray(ids, np.uint8)[labels]
    if size == input_size:
        return labels
    # INTER_NEAREST_EXACT takes pixel centres, as the frame's own resize does; INTER_NEAREST is up to half a pixel off.
    return np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def can_label_in_cpp(logits: Tensor) -> bool:
    """Whether ``label_in_cpp`` takes these logits."""
    is_one_picture = logits.dim() == 4 and len(logits) == 1 and logits.numel() > 0
    return is_one_picture and cpp.can_run(logits)


def label_in_cpp(logits: Tensor, input_size: Size) -> NDArray[np.uint8]:
    """As ``label_in_torch``, of float32 logits on the CPU."""
    labels = cpp.labels_from_logits(logits, input_size)
    if labels is None:
        raise FloatingPointError(NOT_FINITE)
    return labels


def label_in_torch(logits: Tensor, input_size: Size) -> NDArray[np.uint8]:
    """The reference, for any device and floating-point dtype: class ids, (height, width) of ``input_size``.

    Raises:
        FloatingPointError: a logit is nan or infinite.
    """
    labels, are_finite = to_host(*_labels(logits, size=input_size))
    if not are_finite:
        raise FloatingPointError(NOT_FINITE)
    return labels


@captured
def _labels(logits: Tensor, *, size: Size) -> tuple[Tensor, Tensor]:
    """(height, width) uint8 of ``size``, and whether all logits are finite."""
    width, height = size
    upsampled = functional.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
    # max, not argmax: the same indices, the first of equals, at a quarter of the cost (docs/latency.md).
    return upsampled.max(dim=1).indices[0].to(torch.uint8), torch.isfinite(logits).all()


def unlabelled_image(size: Size) -> NDArray[np.uint8]:
    """An image of ``size`` on which nothing is known."""
    width, height = size
    return np.full((height, width), UNLABELLED, np.uint8)

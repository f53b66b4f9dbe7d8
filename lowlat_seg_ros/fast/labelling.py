"""From logits to label ids at the frame's size."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.fast.preprocessing import Size
from lowlat_seg_ros.kernels.labels_on_cpu import can_label_on_cpu, label_on_cpu


def label_image(logits: Tensor, input_size: Size, size: Size) -> NDArray[np.uint8]:
    """Class ids, (height, width) of ``size``, from logits (1, classes, h, w).

    The logits are upsampled bilinearly to the network's input size, as in training, then the largest is taken; the ids
    are then only ever copied (nearest pixel) to the frame's size, so that no two of them are blended into a third.

    Raises:
        FloatingPointError: a logit is nan or infinite.
    """
    labels = label_on_cpu(logits, input_size) if can_label_on_cpu(logits) else label_in_torch(logits, input_size)
    if size == input_size:
        return labels
    # INTER_NEAREST_EXACT takes pixel centres, as the frame's own resize does; INTER_NEAREST is up to half a pixel off.
    return np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def label_in_torch(logits: Tensor, input_size: Size) -> NDArray[np.uint8]:
    """The reference, for any device and floating-point dtype: class ids, (height, width) of ``input_size``.

    Raises:
        FloatingPointError: a logit is nan or infinite.
    """
    if not bool(torch.isfinite(logits).all()):
        raise FloatingPointError("the logits hold values that are nan or infinite")
    width, height = input_size
    upsampled = functional.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
    # max, not argmax: the same indices, the first of equals, at a quarter of the cost (docs/latency.md).
    return upsampled.max(dim=1).indices[0].to(torch.uint8).cpu().numpy()


def unlabelled_image(size: Size) -> NDArray[np.uint8]:
    """An image of ``size`` on which nothing is known."""
    width, height = size
    return np.full((height, width), UNLABELLED, np.uint8)

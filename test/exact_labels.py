"""Labels judged by float64 logits: rounding, which differs from CPU to CPU, may decide between equals only."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

FLOAT_STEP = torch.finfo(torch.float32).eps


def upsampling_error(logits: Tensor) -> float:
    """What upsampling in float32 may err by: a pixel's place among n is rounded by n steps, its logits by a few."""
    return 4 * max(logits.shape[-2:]) * FLOAT_STEP * float(logits.abs().max())


def shortfall(labels: NDArray[np.uint8], exact_logits: Tensor) -> float:
    """By how much the upsampled logit of a label falls short of the largest, at the worst pixel; 0 where none is wrong.

    Args:
        labels: (H, W).
        exact_logits: (1, classes, h, w), float64.
    """
    upsampled = functional.interpolate(exact_logits, labels.shape, mode="bilinear", align_corners=False)[0]
    chosen = upsampled.gather(0, torch.from_numpy(labels).long()[None])[0]
    return float((upsampled.max(dim=0).values - chosen).max())

"""Labels from logits in C++ (``src/labels_from_logits.cpp``): upsampling and maximum in one step."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.fast.preprocessing import Size
from lowlat_seg_ros.kernels.native_library import native_library, runs_in_cpp, thread_count


class LogitSizes(ctypes.Structure):
    """``LogitSizes`` of the C++ source; strides in elements."""

    _fields_ = [
        (name, ctypes.c_int64) for name in ("classes", "height", "width", "class_stride", "row_stride", "column_stride")
    ]


def can_label_on_cpu(logits: Tensor) -> bool:
    """Whether ``label_on_cpu`` takes these logits."""
    is_one_picture = logits.dim() == 4 and len(logits) == 1 and logits.numel() > 0
    return is_one_picture and runs_in_cpp(logits)


def label_on_cpu(logits: Tensor, input_size: Size) -> NDArray[np.uint8]:
    """Class ids, (height, width) of ``input_size``, from float32 logits (1, classes, h, w) in any layout.

    Raises:
        FloatingPointError: a logit is nan or infinite.
    """
    library = native_library()
    assert library is not None
    width, height = input_size
    labels = np.empty((height, width), np.uint8)
    function = library.labels_from_logits
    function.restype = ctypes.c_bool
    sizes = LogitSizes(*logits.shape[1:], *logits.stride()[1:])
    are_finite = function(
        ctypes.c_void_p(logits.data_ptr()),
        sizes,
        ctypes.c_void_p(labels.ctypes.data),
        ctypes.c_int64(height),
        ctypes.c_int64(width),
        ctypes.c_int(thread_count()),
    )
    if not are_finite:
        raise FloatingPointError("the logits hold values that are nan or infinite")
    return labels

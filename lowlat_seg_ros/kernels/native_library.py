"""The compiled kernels: loaded once, or done without."""

from __future__ import annotations

import ctypes
import functools
import logging
from pathlib import Path

import torch  # also loads the OpenMP that the kernels are bound to
from torch import Tensor

logger = logging.getLogger(__name__)


@functools.cache
def native_library() -> ctypes.CDLL | None:
    """The library built from ``src/``, or None where there is none or it does not load: one warning then says why.

    A plain C library, called through ctypes with the tensors' addresses. An extension of torch would have to be built
    again for every torch, would want torch in pip's isolated build, and brings torch's CMake files into ours; this one
    knows nothing of torch but the OpenMP that runs its threads. ctypes releases the GIL during a call.
    """
    files = sorted(Path(__file__).parent.glob("_kernels*.so"))
    if not files:
        logger.warning("the C++ kernels are not built; slower ones in torch take over")
        return None
    try:
        return ctypes.CDLL(str(files[0]))
    except OSError as error:
        logger.warning("the C++ kernels cannot be loaded (%s); slower ones in torch take over", error)
        return None


def runs_in_cpp(*tensors: Tensor) -> bool:
    """Whether there is a library, and it can read these tensors: float32 on the CPU."""
    are_readable = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
    return are_readable and native_library() is not None


def thread_count() -> int:
    """How many threads torch gives the operators of the calling thread."""
    return torch.get_num_threads()

"""``torch`` in a precision that its layers are not loaded in."""

from __future__ import annotations

import copy
from typing import Final

import torch
from torch import Tensor, nn

from lowlat_seg_ros.runtime.runtime import lacks_instructions

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Torch:
    """The layers as they were loaded, or copies of them in another precision."""

    name = "torch"
    precisions: tuple[str, ...] = tuple(DTYPES)

    def refusal(self, precision: str, device: torch.device) -> str:
        """Why it cannot serve here in that precision, in words; empty where it can."""
        if precision == "fp16" and device.type == "cpu":
            return "torch has no fast fp16 on a CPU"
        return lacks_instructions(precision) if device.type == "cpu" else ""


def in_precision(module: nn.Module, precision: str) -> nn.Module:
    """A copy that takes and gives float32 tensors, and computes in that precision."""
    return _Cast(copy.deepcopy(module), DTYPES[precision])


class _Cast(nn.Module):
    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self._module, self._dtype = module.to(dtype), dtype

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        found = self._module(*(each.to(self._dtype) for each in inputs))
        return tuple(each.float() for each in found)

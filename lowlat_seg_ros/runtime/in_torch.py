"""``torch`` in a precision that its layers are not loaded in."""

from __future__ import annotations

import copy
from typing import Final

import torch
from torch import Tensor, nn

from lowlat_seg_ros.runtime.runtime import lacks_instructions

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LEAST_CAPABILITY: Final = {"fp16": (7, 0), "bf16": (8, 0)}  # of a GPU whose tensor cores multiply in that precision


class Torch:
    """The layers as they were loaded, or copies of them in another precision."""

    name = "torch"
    precisions: tuple[str, ...] = tuple(DTYPES)

    def refusal(self, precision: str, device: torch.device) -> str:
        """Why it cannot serve here in that precision, in words; empty where it can."""
        if device.type == "cpu":
            return "torch has no fast fp16 on a CPU" if precision == "fp16" else lacks_instructions(precision)
        least = LEAST_CAPABILITY.get(precision, (0, 0))
        found = torch.cuda.get_device_capability(device)
        if found < least:
            return f"{device} has compute capability {found[0]}.{found[1]}; {precision} takes {least[0]}.{least[1]}"
        return ""


def in_precision(module: nn.Module, precision: str) -> nn.Module:
    """The module where it computes in that precision as it is, or a copy that does, float32 tensors in and out."""
    return module if precision == "fp32" else _Cast(copy.deepcopy(module), DTYPES[precision])


class _Cast(nn.Module):
    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self._module, self._dtype = module.to(dtype), dtype

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        found = self._module(*(each.to(self._dtype) for each in inputs))
        return tuple(each.float() for each in found)

"""MobileNetV2's block in C++ (``src/inverted_residual.cpp``): the same function without its hidden picture."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.kernels.native_library import native_library, runs_in_cpp, thread_count
from lowlat_seg_ros.models.efficientnet_lite import InvertedResidual

BLOCK = 32  # results of a pointwise convolution whose weights lie side by side
AVX2 = 1  # of ``Cpu`` in src/parallel_rows.hpp
HIDDEN_MULTIPLE = 16  # of the hidden channels: the widest vectors hold so many


class Sizes(ctypes.Structure):
    """``Sizes`` of the C++ source."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("height", "width", "in_channels", "hidden", "channels"),
            *("kernel_size", "stride", "dilation", "is_expanding", "is_residual"),
        )
    ]


class Pointers(ctypes.Structure):
    """``Pointers`` of the C++ source."""

    _fields_ = [
        (name, ctypes.c_void_p)
        for name in (
            *("picture", "expand", "expand_bias", "depthwise", "depthwise_bias", "project", "project_bias"),
            "result",
        )
    ]


class InvertedResidualOnCpu(nn.Module):
    """A block whose BatchNorm is folded, with its weights laid out for the C++ beside torch's own.

    What the C++ does not take (a GPU's tensors, half precision, gradients) goes through torch's operators.
    """

    project: Tensor  # one of the buffers

    def __init__(self, block: InvertedResidual) -> None:
        super().__init__()
        self.block = block
        # Looked up once: a frame has a dozen blocks, and each would look up ten attributes of modules of modules.
        depthwise = block.depthwise_conv
        self._sizes = (
            *(depthwise.out_channels, block.project_conv.out_channels, depthwise.kernel_size[0], depthwise.stride[0]),
            *(depthwise.dilation[0], block.is_expanding, block.is_residual),
        )
        # Not persistent: these are the block's own weights once more, in another order.
        for name, weight in packed_weights(block).items():
            self.register_buffer(name, weight.detach(), persistent=False)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C_in, h, w) to (B, C_out, h / stride, w / stride), rounded up, channels last."""
        if not self._is_for_cpp(feature):
            result: Tensor = self.block(feature)
            return result
        feature = feature.contiguous(memory_format=torch.channels_last)
        sizes = Sizes(feature.shape[2], feature.shape[3], feature.shape[1], *self._sizes)
        height, width = ((pixels - 1) // sizes.stride + 1 for pixels in feature.shape[-2:])
        shape = len(feature), sizes.channels, height, width
        result = torch.empty(shape, dtype=feature.dtype, memory_format=torch.channels_last)
        library = native_library()
        assert library is not None
        weights = [weight.data_ptr() for weight in self.buffers(recurse=False)]
        threads = ctypes.c_int(thread_count())
        for picture, target in zip(feature, result, strict=True):
            pointers = Pointers(picture.data_ptr(), *weights, target.data_ptr())
            library.inverted_residual(pointers, sizes, threads)
        return result

    def _is_for_cpp(self, feature: Tensor) -> bool:
        needs_gradient = torch.is_grad_enabled() and feature.requires_grad
        return runs_in_cpp(feature, self.project) and not needs_gradient


def run_blocks_in_cpp(network: nn.Module) -> None:
    """Put ``InvertedResidualOnCpu`` in the place of every block with folded BatchNorm, where the C++ can run.

    Does nothing for weights that lie on a GPU, where the C++ is not built, or where the CPU has no AVX2: what compilers
    make of it for such CPUs takes several times as long as torch's operators (docs/latency.md).
    """
    library = native_library()
    if library is None or library.best_cpu() < AVX2:
        return
    for parent in list(network.modules()):
        if isinstance(parent, InvertedResidualOnCpu):
            continue
        for name, child in list(parent.named_children()):
            if isinstance(child, InvertedResidual) and can_run_in_cpp(child):
                setattr(parent, name, InvertedResidualOnCpu(child))


def can_run_in_cpp(block: InvertedResidual) -> bool:
    weight = block.depthwise_conv.weight
    return runs_in_cpp(weight) and len(weight) % HIDDEN_MULTIPLE == 0


def packed_weights(block: InvertedResidual) -> dict[str, Tensor]:
    """A block's weights as the C++ reads them, in the order of ``Pointers``; empty where it does not expand."""
    packed = {"expand": torch.empty(0), "expand_bias": torch.empty(0)}
    if block.is_expanding:
        packed = {"expand": side_by_side(block.expand_conv), "expand_bias": rounded_up(block.expand_conv)}
    return packed | {
        "depthwise": block.depthwise_conv.weight.flatten(1).t().contiguous(),
        "depthwise_bias": rounded_up(block.depthwise_conv),
        "project": side_by_side(block.project_conv),
        "project_bias": rounded_up(block.project_conv),
    }


def side_by_side(pointwise: nn.Conv2d) -> Tensor:
    """(C_out, C_in, 1, 1) to (C_out / 32, C_in, 32), rounded up with zeros."""
    weight = pointwise.weight.flatten(1)
    missing = -len(weight) % BLOCK
    return functional.pad(weight, (0, 0, 0, missing)).unflatten(0, (-1, BLOCK)).transpose(1, 2).contiguous()


def rounded_up(convolution: nn.Conv2d) -> Tensor:
    """The bias, with zeros up to a multiple of 32."""
    bias = convolution.bias
    assert bias is not None, "expected a convolution with its BatchNorm folded into it"
    return functional.pad(bias, (0, -len(bias) % BLOCK))

"""A trained network made ready for inference: the same function, in fewer and faster steps."""

from __future__ import annotations

import itertools
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Module = TypeVar("Module", bound=nn.Module)


def prepare_for_inference(network: Module) -> Module:
    """Fold BatchNorm into the convolutions and lay the weights out channels last; eval mode, no gradients.

    Changes ``network`` itself and returns it. The result computes what the network did in eval mode, up to rounding,
    and cannot be trained further: its BatchNorm layers have become ``nn.Identity``.
    """
    network.eval()  # folding takes the running statistics, which only eval mode uses
    fold_batch_norms(network)
    network.eval().requires_grad_(False)
    # oneDNN and cuDNN convolve channels-last tensors without shuffling them first.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs


def fold_batch_norms(network: nn.Module) -> None:
    """Replace each BatchNorm that follows a convolution among its parent's children by that convolution's bias.

    Relies on the backbones' habit of registering a convolution's BatchNorm right after it and applying it there.
    """
    for parent in list(network.modules()):
        for (conv_name, conv), (norm_name, norm) in itertools.pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())

"""The inverted residual block in C++ against torch's operators."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from cpu_copies import CPU_COPIES, needs_library, running_copy
from torch import Tensor, nn

from lowlat_seg_ros.models.efficientnet_lite import InvertedResidual
from lowlat_seg_ros.models.inference import prepare_for_inference

pytestmark = [needs_library, pytest.mark.numeric]

# in_channels, channels, kernel_size, stride, dilation, expansion
SHAPES = [
    (32, 16, 3, 1, 1, 1),
    (16, 24, 3, 2, 1, 6),
    (24, 24, 3, 1, 1, 6),  # residual, and half a block of results is empty
    (24, 40, 5, 2, 1, 6),
    (40, 40, 5, 1, 1, 6),
    (16, 96, 5, 1, 2, 6),
    (48, 48, 3, 1, 4, 1),
]
SIZES = [(1, 1), (1, 9), (8, 1), (2, 3), (7, 8), (9, 7), (13, 17), (45, 60)]


@pytest.fixture(params=CPU_COPIES, autouse=True)
def cpu_copy(request: pytest.FixtureRequest) -> Iterator[None]:
    with running_copy(request.param):
        yield


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def trained_block(shape: tuple[int, int, int, int, int, int]) -> InvertedResidual:
    """A block whose BatchNorms do something: its results are neither all clamped nor all the same."""
    torch.manual_seed(sum(shape))
    block = InvertedResidual(*shape)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            channels = module.num_features
            module.weight.data, module.bias.data = 1 + torch.rand(channels), torch.randn(channels)
            module.running_mean, module.running_var = torch.randn(channels), 0.5 + torch.rand(channels)
    return block.eval()


def prepared(block: InvertedResidual) -> nn.Module:
    parent = prepare_for_inference(nn.Sequential(copy.deepcopy(block)))
    if not parent[0]._packed:
        pytest.skip("this CPU has no AVX2: no block runs in C++")
    return parent


def picture(block: InvertedResidual, size: tuple[int, int], batch: int = 1) -> Tensor:
    first = block.expand_conv if block.is_expanding else block.depthwise_conv
    return torch.randn(batch, first.in_channels, *size).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_it_computes_what_torch_does(
    shape: tuple[int, int, int, int, int, int], size: tuple[int, int], threads: None
) -> None:
    block = trained_block(shape)
    feature = picture(block, size)
    result = prepared(block)(feature)
    torch.testing.assert_close(result, block(feature), rtol=1e-4, atol=1e-4)
    assert result.is_contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def test_every_picture_of_a_batch_is_computed_whatever_its_layout() -> None:
    block = trained_block((16, 24, 3, 2, 1, 6))
    feature = picture(block, (11, 14), batch=3)
    on_cpu = prepared(block)
    expected = block(feature)
    for variant in (feature, feature.contiguous(), feature.repeat(2, 1, 1, 1)[::2]):
        torch.testing.assert_close(on_cpu(variant), block(variant), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(on_cpu(feature), expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_large_picture_leaves_nothing_to_a_small_one_that_follows() -> None:
    large, small = trained_block((24, 40, 5, 2, 1, 6)), trained_block((16, 24, 3, 1, 1, 6))
    first, second = prepared(large), prepared(small)
    first(torch.full((1, 24, 60, 80), 100.0))
    feature = picture(small, (6, 9))
    torch.testing.assert_close(second(feature), small(feature), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_nan_is_not_swallowed() -> None:
    """The stream reports a network that has gone wrong, so that it must be able to see it."""
    on_cpu = prepared(trained_block((16, 24, 3, 2, 1, 6)))
    feature = torch.zeros(1, 16, 9, 12)
    feature[0, 3, 4, 5] = torch.nan
    assert not torch.isfinite(on_cpu(feature)).all()


def test_gradients_and_other_types_go_through_torch() -> None:
    block = trained_block((16, 24, 3, 2, 1, 6))
    on_cpu = prepared(block)
    feature = picture(block, (8, 10)).requires_grad_()
    on_cpu(feature).sum().backward()
    assert feature.grad is not None and feature.grad.abs().sum() > 0
    half = copy.deepcopy(on_cpu).to(torch.bfloat16)
    assert half(feature.detach().bfloat16()).dtype == torch.bfloat16


def test_a_network_keeps_its_weights_under_their_names() -> None:
    block = trained_block((16, 24, 3, 2, 1, 6))
    assert set(prepared(block).state_dict()) == {
        f"0.{name}_conv.{kind}" for name in ("expand", "depthwise", "project") for kind in ("weight", "bias")
    }

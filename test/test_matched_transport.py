"""Matching, softmax and equation 1 in one step, against the three steps."""

from __future__ import annotations

import pytest
import torch
from cpu_copies import CPU_COPIES, needs_library, running_copy
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.adaptive import CorrelationKernels, GatedFusion
from lowlat_seg_ros.kernels import cpp
from lowlat_seg_ros.kernels.spatially_variant_convolution import spatially_variant_convolution

pytestmark = [needs_library, pytest.mark.numeric]
# Height, width, guidance channels, kernel size, and the channels of each feature.
SHAPES = [
    (45, 60, 32, 9, (96, 32)),  # the shipped model's
    (5, 7, 3, 3, (1, 5, 17)),  # a picture smaller than a vector, channels that are none's multiple
    (3, 40, 4, 7, (16, 33)),  # kernels that reach beyond both edges
    (20, 33, 8, 5, (200,)),
    (1, 1, 2, 9, (3,)),
    (12, 16, 5, 1, (9,)),  # kernels of one tap
    (4, 17, 6, 11, (8, 96)),  # a last vector with one place
]


def unit_guidance(seed: int, channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(2, channels, height, width, generator=generator), dim=1)


def predictor(channels: int, kernel_size: int, sharpness: float = 6.0) -> CorrelationKernels:
    """With a prior, and soft enough that all taps count."""
    kernels = CorrelationKernels(4, channels, kernel_size).requires_grad_(False)
    kernels.log_sharpness.fill_(sharpness).log_()
    kernels.prior.normal_(generator=torch.Generator().manual_seed(5))
    return kernels


def step_by_step(kernels: CorrelationKernels, features: list[Tensor], key: Tensor, current: Tensor) -> list[Tensor]:
    taps = kernels(key, current)
    return [spatially_variant_convolution(feature, taps) for feature in features]


@pytest.mark.parametrize("cpu", CPU_COPIES)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_what_the_three_steps_give(
    shape: tuple[int, int, int, int, tuple[int, ...]], threads: int, cpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width, channels, kernel_size, feature_channels = shape
    monkeypatch.setattr("lowlat_seg_ros.kernels.cpp.thread_count", lambda: threads)
    kernels = predictor(channels, kernel_size)
    key = unit_guidance(1, channels, height, width)
    current = functional.normalize(key + 0.3 * unit_guidance(2, channels, height, width), dim=1)
    features = [torch.randn(2, count, height, width) for count in feature_channels]
    with running_copy(cpu):
        moved = kernels.transport(features, key, current)
    for result, expected in zip(moved, step_by_step(kernels, features, key, current), strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cpu", CPU_COPIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gate_is_what_the_moved_guidance_opens(shape: tuple[int, int, int, int, tuple[int, ...]], cpu: str) -> None:
    height, width, channels, kernel_size, feature_channels = shape
    kernels, fusion = predictor(channels, kernel_size), GatedFusion(4, 4, channels).requires_grad_(False)
    fusion.sensitivity.copy_(torch.linspace(-1, 2, channels))
    key = unit_guidance(1, channels, height, width)
    current = functional.normalize(key + 0.3 * unit_guidance(2, channels, height, width), dim=1)
    current[1, :, 0, 0] = torch.nan
    feature = torch.randn(2, feature_channels[0], height, width)
    expected, moved_guidance = step_by_step(kernels, [feature, key], key, current)
    with running_copy(cpu):
        moved, gate = kernels.transport_and_compare(feature, key, current, fusion)
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(gate, fusion.gate(moved_guidance, current), rtol=1e-4, atol=1e-5, equal_nan=True)
    assert bool(gate[1, 0, 0, 0].isnan())


def test_sharp_kernels_move_a_feature_as_its_guidance_moved() -> None:
    key = unit_guidance(1, 8, 10, 20)
    current = key.roll((2, -3), dims=(2, 3))
    feature = torch.randn(2, 5, 10, 20)
    moved = predictor(8, 9, sharpness=400.0).transport([feature], key, current)[0]
    torch.testing.assert_close(moved[:, :, 2:, :-3], feature[:, :, :-2, 3:], rtol=1e-3, atol=1e-3)


def test_weights_too_small_for_a_float_are_none() -> None:
    """Where all but one place is e^-800 as likely: such weights, not quite 0, make many CPUs a hundred times slower."""
    kernels = predictor(2, 3, sharpness=400.0)
    kernels.prior.zero_()
    key, current = torch.zeros(2, 1, 2, 5, 5).unbind()
    key[:, 0], current[:, 0] = -1, 1
    key[0, 0, 2, 2] = 1
    feature = torch.arange(25.0).view(1, 1, 5, 5)
    assert float(kernels.transport([feature], key, current)[0][0, 0, 2, 2]) == 12


def test_nan_stays_where_it_can_be_seen() -> None:
    kernels, key, current = predictor(3, 3), unit_guidance(1, 3, 9, 9), unit_guidance(2, 3, 9, 9)
    features = [torch.randn(2, 4, 9, 9)]
    for spoilt in (features[0], key, current):
        kept = spoilt[0, 1, 4, 4].clone()
        spoilt[0, 1, 4, 4] = float("nan")
        result = kernels.transport(features, key, current)[0]
        expected = step_by_step(kernels, features, key, current)[0]
        assert torch.equal(result.isnan(), expected.isnan()) and bool(result.isnan().any())
        spoilt[0, 1, 4, 4] = kept


def test_what_has_gradients_goes_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, key, current = CorrelationKernels(4, 3, 3), unit_guidance(1, 3, 5, 5), unit_guidance(2, 3, 5, 5)
    features = [torch.randn(2, 4, 5, 5)]
    monkeypatch.setattr(cpp, "matched_transport", lambda *_: pytest.fail("no gradients come out of it"))
    kernels.transport(features, key, current)[0].sum().backward()
    assert kernels.log_sharpness.grad is not None and bool(kernels.log_sharpness.grad != 0)


def test_other_kinds_of_numbers_go_step_by_step() -> None:
    double = torch.zeros(1, 2, 3, 3, dtype=torch.float64)
    assert not cpp.can_run(double) and cpp.can_run(double.float())


def test_the_operands_are_only_read() -> None:
    kernels, key, current = predictor(3, 5), unit_guidance(1, 3, 6, 7), unit_guidance(2, 3, 6, 7)
    features = [torch.randn(2, 4, 6, 7), torch.randn(2, 2, 6, 7)]
    before = [tensor.clone() for tensor in (*features, key, current, kernels.prior)]
    cpp.matched_transport(features, key, current, 6.0, kernels.prior)
    assert all(map(torch.equal, before, (*features, key, current, kernels.prior)))

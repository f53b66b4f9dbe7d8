"""Equation 1 against a loop written from the formula, in float64."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.network.propagation import KernelPredictor
from lowlat_seg_ros.network.spatially_variant_convolution import spatially_variant_convolution

Array = NDArray[np.float64]
SIZES = [(1, 1), (1, 7), (6, 1), (5, 4), (7, 12)]


def terms(batch: int, height: int, width: int, kernel_size: int) -> Iterator[tuple[int, ...]]:
    """Every (b, tap, i, j, i - u, j - v) of equation 1 whose source place lies inside the feature."""
    reach = kernel_size // 2
    offsets = itertools.product(range(-reach, reach + 1), repeat=2)
    for (tap, (u, v)), b, i, j in itertools.product(enumerate(offsets), range(batch), range(height), range(width)):
        if 0 <= i - u < height and 0 <= j - v < width:
            yield b, tap, i, j, i - u, j - v


def by_the_formula(feature: Array, kernels: Array, kernel_size: int) -> Array:
    result = np.zeros_like(feature)
    batch, _, height, width = feature.shape
    for b, tap, i, j, source_i, source_j in terms(batch, height, width, kernel_size):
        result[b, :, i, j] += kernels[b, tap, i, j] * feature[b, :, source_i, source_j]
    return result


def gradient_by_the_formula(
    feature: Array, kernels: Array, kernel_size: int, result_gradient: Array
) -> tuple[Array, Array]:
    """Each term's product rule: what flows to F_k(c, i - u, j - v) and what flows to W_ij(u, v)."""
    feature_gradient, kernels_gradient = np.zeros_like(feature), np.zeros_like(kernels)
    batch, _, height, width = feature.shape
    for b, tap, i, j, source_i, source_j in terms(batch, height, width, kernel_size):
        feature_gradient[b, :, source_i, source_j] += kernels[b, tap, i, j] * result_gradient[b, :, i, j]
        kernels_gradient[b, tap, i, j] += feature[b, :, source_i, source_j] @ result_gradient[b, :, i, j]
    return feature_gradient, kernels_gradient


def random_operands(
    size: tuple[int, int], kernel_size: int, batch: int = 2, channels: int = 3
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(kernel_size)
    feature = torch.randn(batch, channels, *size, dtype=torch.float64, generator=generator)
    kernels = torch.randn(batch, kernel_size**2, *size, dtype=torch.float64, generator=generator)
    return feature.requires_grad_(), kernels.requires_grad_()


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 9])
@pytest.mark.parametrize("size", SIZES)
def test_forward_and_gradient_follow_the_formula(size: tuple[int, int], kernel_size: int) -> None:
    feature, kernels = random_operands(size, kernel_size)
    result = spatially_variant_convolution(feature, kernels)
    result_gradient = torch.randn(result.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    feature_gradient, kernels_gradient = torch.autograd.grad(result, (feature, kernels), result_gradient)

    plain_feature, plain_kernels = feature.detach().numpy(), kernels.detach().numpy()
    expected = by_the_formula(plain_feature, plain_kernels, kernel_size)
    expected_gradients = gradient_by_the_formula(plain_feature, plain_kernels, kernel_size, result_gradient.numpy())
    np.testing.assert_allclose(result.detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(feature_gradient.numpy(), expected_gradients[0], atol=1e-12)
    np.testing.assert_allclose(kernels_gradient.numpy(), expected_gradients[1], atol=1e-12)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_gradient_agrees_with_finite_differences(kernel_size: int) -> None:
    feature, kernels = random_operands((3, 4), kernel_size, batch=2, channels=2)
    assert torch.autograd.gradcheck(spatially_variant_convolution, (feature, kernels))


def test_float32_and_channels_last_give_the_same_numbers() -> None:
    feature, kernels = (operand.detach() for operand in random_operands((7, 12), 9))
    expected = spatially_variant_convolution(feature, kernels)
    for layout in (torch.contiguous_format, torch.channels_last):
        result = spatially_variant_convolution(
            feature.float().contiguous(memory_format=layout), kernels.float().contiguous(memory_format=layout)
        )
        assert result.dtype == torch.float32
        torch.testing.assert_close(result.double(), expected, atol=1e-5, rtol=1e-5)


def test_operands_are_left_as_they_were() -> None:
    feature, kernels = (operand.detach() for operand in random_operands((5, 4), 3))
    copies = feature.clone(), kernels.clone()
    spatially_variant_convolution(feature, kernels)
    assert torch.equal(feature, copies[0])
    assert torch.equal(kernels, copies[1])


@pytest.mark.parametrize(("u", "v"), [(0, 0), (1, 0), (-2, 0), (0, 1), (0, -2), (2, -1)])
def test_one_tap_moves_the_picture_by_u_rows_down_and_v_columns_right(u: int, v: int) -> None:
    """The sign of equation 1: place (i, j) takes what stood at (i - u, j - v)."""
    picture = torch.zeros(1, 1, 7, 9)
    picture[0, 0, 3, 4] = 1.0
    kernels = torch.zeros(1, 25, 7, 9)
    kernels[0, (u + 2) * 5 + (v + 2)] = 1.0
    moved = spatially_variant_convolution(picture, kernels)
    expected = torch.zeros(1, 1, 7, 9)
    expected[0, 0, 3 + u, 4 + v] = 1.0
    assert torch.equal(moved, expected)


def test_each_place_uses_its_own_kernel_for_all_channels() -> None:
    feature = torch.arange(24.0).reshape(1, 2, 3, 4)
    kernels = torch.zeros(1, 9, 3, 4)
    kernels[:, 4] = 1.0  # identity everywhere …
    kernels[0, :, 1, 2] = 0.0
    kernels[0, 3, 1, 2] = 1.0  # … but at (1, 2), which takes its right neighbour: (u, v) = (0, -1)
    expected = feature.clone()
    expected[0, :, 1, 2] = feature[0, :, 1, 3]
    assert torch.equal(spatially_variant_convolution(feature, kernels), expected)


def test_outside_the_feature_is_zero() -> None:
    average = torch.full((1, 9, 3, 3), 1 / 9)
    result = spatially_variant_convolution(torch.ones(1, 1, 3, 3), average)
    expected = torch.tensor([[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]) / 9
    torch.testing.assert_close(result[0, 0], expected)


def test_predicted_kernels_sum_to_one_and_keep_a_constant_feature() -> None:
    torch.manual_seed(0)
    predictor = KernelPredictor(low_channels=3, channels=4, kernel_size=5)
    torch.nn.init.normal_(predictor.predict.weight)
    guidance = predictor.guidance(torch.randn(2, 3, 9, 11)), predictor.guidance(torch.randn(2, 3, 9, 11))
    kernels = predictor(*guidance)
    assert kernels.min() >= 0
    torch.testing.assert_close(kernels.sum(dim=1), torch.ones(2, 9, 11))
    propagated = spatially_variant_convolution(torch.full((2, 1, 9, 11), 3.0), kernels)
    torch.testing.assert_close(propagated[:, :, 2:-2, 2:-2], torch.full((2, 1, 5, 7), 3.0))


@pytest.mark.parametrize(
    ("feature_shape", "kernels_shape", "message"),
    [
        ((1, 2, 4, 5), (1, 8, 4, 5), "8 taps; expected the square of an odd number"),
        ((1, 2, 4, 5), (1, 16, 4, 5), "16 taps; expected the square of an odd number"),
        ((1, 2, 4, 5), (1, 0, 4, 5), "0 taps; expected the square of an odd number"),
        ((1, 2, 4, 5), (1, 9, 4, 6), "do not fit"),
        ((1, 2, 4, 5), (1, 9, 1, 1), "do not fit"),
        ((2, 2, 4, 5), (1, 9, 4, 5), "do not fit"),
        ((2, 4, 5), (1, 9, 4, 5), "4-D"),
        ((1, 2, 4, 5), (9, 4, 5), "4-D"),
    ],
)
def test_wrong_shapes_are_refused(feature_shape: tuple[int, ...], kernels_shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spatially_variant_convolution(torch.zeros(feature_shape), torch.zeros(kernels_shape))

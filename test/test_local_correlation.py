"""Local correlation, in both its bodies, against its formula."""

from __future__ import annotations

import pytest
import torch
from cpu_copies import needs_library
from torch import Tensor

from lowlat_seg_ros.kernels.spatially_variant_convolution import correlate_on_cpu, local_correlation, shift_and_multiply

pytestmark = pytest.mark.numeric


def operands(channels: int = 5, batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    feature, query = torch.randn(2, batch, channels, 6, 9, dtype=torch.float64, generator=generator)
    return feature, query


def by_the_formula(feature: Tensor, query: Tensor, reach: int) -> Tensor:
    batch, _, height, width = feature.shape
    result = torch.zeros(batch, (2 * reach + 1) ** 2, height, width, dtype=feature.dtype)
    for i in range(height):
        for j in range(width):
            for u in range(-reach, reach + 1):
                for v in range(-reach, reach + 1):
                    if 0 <= i - u < height and 0 <= j - v < width:
                        tap = (u + reach) * (2 * reach + 1) + v + reach
                        result[:, tap, i, j] = (query[:, :, i, j] * feature[:, :, i - u, j - v]).sum(dim=1)
    return result


@pytest.mark.parametrize("reach", [0, 1, 4])
@pytest.mark.parametrize("channels", [1, 5, 19])
def test_the_reference_follows_the_formula(channels: int, reach: int) -> None:
    feature, query = operands(channels)
    torch.testing.assert_close(shift_and_multiply(feature, query, reach), by_the_formula(feature, query, reach))


@needs_library
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reach", [0, 1, 4])
@pytest.mark.parametrize("channels", [1, 5, 19, 32])
def test_the_cpus_body_follows_the_formula(channels: int, reach: int, dtype: torch.dtype) -> None:
    feature, query = operands(channels)
    result = local_correlation(feature.to(dtype), query.to(dtype), 2 * reach + 1)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), by_the_formula(feature, query, reach), rtol=1e-4, atol=1e-5)


@needs_library
def test_both_gradients_are_right() -> None:
    feature, query = (operand.requires_grad_() for operand in operands(batch=1))
    assert torch.autograd.gradcheck(lambda f, q: correlate_on_cpu(f, q, 2), (feature, query))


def test_features_of_two_shapes_are_refused() -> None:
    feature, query = operands()
    with pytest.raises(
        ValueError, match=r"expected two 4-D tensors of one shape, not \(2, 5, 6, 9\) and \(2, 5, 6, 8\)"
    ):
        local_correlation(feature, query[..., :8], 3)

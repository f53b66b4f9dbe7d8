"""Equation 1, in each of its three bodies, against a loop written from the formula in float64."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cpu_copies import CPU_COPIES, running_copy
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.fast.adaptive import KernelPredictor
from lowlat_seg_ros.kernels import convolution_on_gpu, cpp
from lowlat_seg_ros.kernels import spatially_variant_convolution as module
from lowlat_seg_ros.kernels.spatially_variant_convolution import (
    convolve_on_cpu,
    kernel_reach,
    shift_and_add,
    spatially_variant_convolution,
)

pytestmark = pytest.mark.numeric

Array = NDArray[np.float64]
Convolution = Callable[[Tensor, Tensor], Tensor]
SIZES = [(1, 1), (1, 7), (6, 1), (5, 4), (7, 12)]
KERNEL_SIZES = [1, 3, 5, 7, 9]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
BODIES = ["shift and add", *CPU_COPIES]  # the reference, and each copy of the C++


@pytest.fixture(params=BODIES)
def convolve(request: pytest.FixtureRequest) -> Iterator[Convolution]:
    """Each body that computes on the CPU, behind the same check of its operands."""
    if request.param == "shift and add":
        yield lambda feature, kernels: shift_and_add(feature, kernels, kernel_reach(feature, kernels))
        return
    with running_copy(request.param):
        yield lambda feature, kernels: convolve_on_cpu(feature, kernels, kernel_reach(feature, kernels))


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


@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
@pytest.mark.parametrize("size", SIZES)
def test_forward_and_gradient_follow_the_formula(
    convolve: Convolution, size: tuple[int, int], kernel_size: int
) -> None:
    feature, kernels = random_operands(size, kernel_size)
    result = convolve(feature, kernels)
    result_gradient = torch.randn(result.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    feature_gradient, kernels_gradient = torch.autograd.grad(result, (feature, kernels), result_gradient)

    plain_feature, plain_kernels = feature.detach().numpy(), kernels.detach().numpy()
    expected = by_the_formula(plain_feature, plain_kernels, kernel_size)
    expected_gradients = gradient_by_the_formula(plain_feature, plain_kernels, kernel_size, result_gradient.numpy())
    np.testing.assert_allclose(result.detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(feature_gradient.numpy(), expected_gradients[0], atol=1e-12)
    np.testing.assert_allclose(kernels_gradient.numpy(), expected_gradients[1], atol=1e-12)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_gradient_agrees_with_finite_differences(convolve: Convolution, kernel_size: int) -> None:
    feature, kernels = random_operands((3, 4), kernel_size, batch=2, channels=2)
    assert torch.autograd.gradcheck(convolve, (feature, kernels))


@pytest.mark.parametrize("needed", [(True, False), (False, True)])
def test_one_operand_alone_gets_its_gradient(convolve: Convolution, needed: tuple[bool, bool]) -> None:
    operands = random_operands((5, 4), 3)
    expected = torch.autograd.grad(shift_and_add(*operands, 1).square().sum(), operands)
    alone = [operand.detach().requires_grad_(need) for operand, need in zip(operands, needed, strict=True)]
    convolve(*alone).square().sum().backward()
    for operand, need, gradient in zip(alone, needed, expected, strict=True):
        assert (operand.grad is not None) == need
        if need:
            torch.testing.assert_close(operand.grad, gradient)


# A vector holds 8 floats or 4 doubles and up to 8 are summed at once: less than one, whole ones, and remainders.
@pytest.mark.parametrize("channels", [1, 7, 8, 37, 64, 107])
@pytest.mark.parametrize("feature_layout", LAYOUTS)
@pytest.mark.parametrize("kernels_layout", LAYOUTS)
def test_float32_in_any_layout_and_number_of_channels_gives_the_same_numbers(
    convolve: Convolution, channels: int, feature_layout: torch.memory_format, kernels_layout: torch.memory_format
) -> None:
    feature, kernels = (operand.detach() for operand in random_operands((7, 12), 9, channels=channels))
    expected = shift_and_add(feature, kernels, 4)
    torch.testing.assert_close(convolve(feature, kernels), expected)

    single = feature.float().contiguous(memory_format=feature_layout)
    result = convolve(single, kernels.float().contiguous(memory_format=kernels_layout))
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=feature_layout)
    torch.testing.assert_close(result.double(), expected, atol=2e-5, rtol=1e-5)


def test_a_slice_of_a_larger_tensor_gives_the_same_numbers(convolve: Convolution) -> None:
    feature, kernels = (operand.detach() for operand in random_operands((7, 12), 5, channels=9))
    expected = shift_and_add(feature[:, ::2, :, 1:8].clone(), kernels[..., 1:8].clone(), 2)
    torch.testing.assert_close(convolve(feature[:, ::2, :, 1:8], kernels[..., 1:8]), expected)


def test_every_number_of_threads_gives_the_same_bits(convolve: Convolution) -> None:
    feature, kernels = (operand.detach().float() for operand in random_operands((7, 12), 5, channels=9))
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3, 40):
            torch.set_num_threads(count)
            results.append(convolve(feature, kernels))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(result, results[0]) for result in results)


def test_two_threads_may_convolve_at_once(convolve: Convolution) -> None:
    """As the tracks of two cameras do."""
    operands = [[operand.detach() for operand in random_operands((30, 40), size, channels=16)] for size in (5, 7)]
    expected = [convolve(*pair) for pair in operands]
    results: list[list[Tensor]] = [[], []]

    def convolve_often(index: int) -> None:
        results[index] = [convolve(*operands[index]) for _ in range(20)]

    workers = [threading.Thread(target=convolve_often, args=(index,)) for index in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for index in (0, 1):
        assert len(results[index]) == 20
        assert all(torch.equal(result, expected[index]) for result in results[index])


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (1, 0, 4, 5), (1, 3, 0, 5), (1, 3, 4, 0)])
def test_nothing_in_gives_nothing_out(convolve: Convolution, shape: tuple[int, ...]) -> None:
    batch, _, height, width = shape
    assert convolve(torch.zeros(shape), torch.zeros(batch, 9, height, width)).shape == shape


def test_operands_are_left_as_they_were(convolve: Convolution) -> None:
    feature, kernels = (operand.detach() for operand in random_operands((5, 4), 3))
    copies = feature.clone(), kernels.clone()
    convolve(feature, kernels)
    assert torch.equal(feature, copies[0])
    assert torch.equal(kernels, copies[1])


@pytest.mark.parametrize(("u", "v"), [(0, 0), (1, 0), (-2, 0), (0, 1), (0, -2), (2, -1)])
def test_one_tap_moves_the_picture_by_u_rows_down_and_v_columns_right(convolve: Convolution, u: int, v: int) -> None:
    """The sign of equation 1: place (i, j) takes what stood at (i - u, j - v)."""
    picture = torch.zeros(1, 1, 7, 9)
    picture[0, 0, 3, 4] = 1.0
    kernels = torch.zeros(1, 25, 7, 9)
    kernels[0, (u + 2) * 5 + (v + 2)] = 1.0
    moved = convolve(picture, kernels)
    expected = torch.zeros(1, 1, 7, 9)
    expected[0, 0, 3 + u, 4 + v] = 1.0
    assert torch.equal(moved, expected)


def test_each_place_uses_its_own_kernel_for_all_channels(convolve: Convolution) -> None:
    feature = torch.arange(24.0).reshape(1, 2, 3, 4)
    kernels = torch.zeros(1, 9, 3, 4)
    kernels[:, 4] = 1.0  # identity everywhere …
    kernels[0, :, 1, 2] = 0.0
    kernels[0, 3, 1, 2] = 1.0  # … but at (1, 2), which takes its right neighbour: (u, v) = (0, -1)
    expected = feature.clone()
    expected[0, :, 1, 2] = feature[0, :, 1, 3]
    assert torch.equal(convolve(feature, kernels), expected)


def test_outside_the_feature_is_zero(convolve: Convolution) -> None:
    average = torch.full((1, 9, 3, 3), 1 / 9)
    result = convolve(torch.ones(1, 1, 3, 3), average)
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


@pytest.mark.parametrize("dtypes", [(torch.int64, torch.int64), (torch.float32, torch.uint8), (torch.bool, torch.half)])
def test_operands_that_are_no_floating_point_numbers_are_refused(dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    feature, kernels = torch.zeros(1, 2, 4, 5, dtype=dtypes[0]), torch.zeros(1, 9, 4, 5, dtype=dtypes[1])
    with pytest.raises(TypeError, match=f"expected floating-point operands, not {dtypes[0]} features and {dtypes[1]}"):
        spatially_variant_convolution(feature, kernels)


def test_half_precision_on_the_cpu_is_computed_by_the_reference() -> None:
    feature, kernels = (operand.detach().bfloat16() for operand in random_operands((5, 4), 3))
    assert torch.equal(spatially_variant_convolution(feature, kernels), shift_and_add(feature, kernels, 1))


@pytest.fixture
def other_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the C++ kernels are looked for, and are not."""
    monkeypatch.setattr(cpp, "__file__", str(tmp_path / "cpp.py"))
    cpp.find_library.cache_clear()
    yield tmp_path / "_kernels.so"
    cpp.find_library.cache_clear()


@pytest.mark.parametrize(("is_there", "why"), [(False, "are not built"), (True, "cannot be loaded")])
def test_without_the_library_the_reference_takes_over_and_one_line_says_so(
    other_library: Path, caplog: pytest.LogCaptureFixture, is_there: bool, why: str
) -> None:
    if is_there:
        other_library.write_bytes(b"of another machine")
    feature, kernels = (operand.detach() for operand in random_operands((5, 4), 3))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert torch.equal(spatially_variant_convolution(feature, kernels), shift_and_add(feature, kernels, 1))
    (message,) = caplog.messages
    assert why in message and "slower ones in torch take over" in message


def gpu_or_skip() -> str:
    """Where the GPU's body can be run: on a GPU, or with TRITON_INTERPRET=1 in Triton's interpreter, on the CPU."""
    if convolution_on_gpu.triton is None:
        pytest.skip("the GPU's convolution needs Triton")
    if torch.cuda.is_available():
        return "cuda"
    if convolution_on_gpu.triton.knobs.runtime.interpret:
        return "cpu"
    pytest.skip("the GPU's convolution needs a GPU")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("size", "kernel_size", "channels"), [((1, 1), 9, 1), ((5, 19), 1, 3), ((7, 12), 5, 70), ((6, 33), 9, 17)]
)
def test_the_gpus_body_follows_the_formula(
    size: tuple[int, int], kernel_size: int, channels: int, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    device = gpu_or_skip()
    operands = (operand.detach() for operand in random_operands(size, kernel_size, channels=channels))
    feature, kernels = (operand.to(device, dtype, memory_format=layout) for operand in operands)
    result = convolution_on_gpu.convolve_on_gpu(feature, kernels, kernel_size // 2)
    expected = by_the_formula(feature.double().cpu().numpy(), kernels.double().cpu().numpy(), kernel_size)
    assert result.dtype == dtype and result.stride() == feature.stride()
    tolerance = 2e-5 if dtype == torch.float32 else 2e-2
    np.testing.assert_allclose(result.double().cpu().numpy(), expected, atol=tolerance, rtol=tolerance)


def test_on_a_gpu_the_interface_takes_the_gpus_body_unless_a_gradient_is_needed() -> None:
    if not torch.cuda.is_available() or convolution_on_gpu.triton is None:
        pytest.skip("the GPU's convolution needs a GPU and Triton")
    feature, kernels = (operand.float().cuda() for operand in random_operands((7, 12), 5))
    assert not convolution_on_gpu.runs_on_gpu(feature, kernels)
    result = spatially_variant_convolution(feature, kernels)
    assert result.requires_grad
    with torch.inference_mode():
        assert convolution_on_gpu.runs_on_gpu(feature, kernels)
        torch.testing.assert_close(spatially_variant_convolution(feature, kernels), result, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("fault", ["wrong sums", "does not compile"])
def test_a_gpus_body_that_cannot_be_relied_on_is_not_used(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The check itself, on the CPU: it asks nothing of the device but to compute."""

    def broken(feature: Tensor, kernels: Tensor, reach: int) -> Tensor:
        if fault == "does not compile":
            raise RuntimeError("no such architecture\nand a long tail")
        return module.shift_and_add(feature, kernels, reach).mul(1.01)

    monkeypatch.setattr(module, "convolve_on_gpu", module.shift_and_add)
    module.is_right_on_gpu.cache_clear()
    assert module.is_right_on_gpu(torch.device("cpu")) and not caplog.records
    monkeypatch.setattr(module, "convolve_on_gpu", broken)
    module.is_right_on_gpu.cache_clear()
    assert not module.is_right_on_gpu(torch.device("cpu"))
    assert not module.is_right_on_gpu(torch.device("cpu"))
    (record,) = caplog.records
    assert "a slower one in torch takes over" in record.getMessage() and "\n" not in record.getMessage()
    module.is_right_on_gpu.cache_clear()

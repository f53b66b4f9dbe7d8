"""Logits carried along a flow: in C++ and in torch, against each other and against motions known by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from cpu_copies import CPU_COPIES, needs_library, running_copy
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.motion import carried_logits, carry_in_torch, fold, unfold
from lowlat_seg_ros.kernels.cpp import carry_logits

pytestmark = pytest.mark.numeric

Carry = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
BODIES = [carry_in_torch, pytest.param(carry_logits, marks=needs_library)]


def random_logits(classes: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    key, current = torch.randn(2, 1, classes, height, width, generator=generator)
    return key, current


def uniform_flow(x: float, y: float, height: int, width: int) -> Tensor:
    return torch.tensor([x, y], dtype=torch.float32).expand(height, width, 2).contiguous()


@pytest.mark.parametrize("carry", BODIES)
def test_a_whole_step_moves_every_logit_and_leaves_what_comes_from_outside(carry: Carry) -> None:
    key, current = random_logits(11, 5, 7)
    result = carry(key, current, uniform_flow(2, -1, 5, 7), torch.zeros(5, 7))
    torch.testing.assert_close(result[..., 1:, :5], key[..., :-1, 2:])
    torch.testing.assert_close(result[..., 0, :], current[..., 0, :])
    torch.testing.assert_close(result[..., 5:], current[..., 5:])


@pytest.mark.parametrize("carry", BODIES)
def test_half_a_step_weighs_four_places_bicubically(carry: Carry) -> None:
    key, current = random_logits(11, 4, 8)
    result = carry(key, current, uniform_flow(0.5, 0, 4, 8), torch.zeros(4, 8))
    inner, outer = (key[..., first : 8 - first] for first in (1, 0))
    expected = 19 / 32 * (inner[..., :-1] + inner[..., 1:]) - 3 / 32 * (outer[..., :-3] + outer[..., 3:])
    torch.testing.assert_close(result[..., 1:6], expected)


@pytest.mark.parametrize("carry", BODIES)
def test_any_step_is_what_torch_samples_bicubically(carry: Carry) -> None:
    """At the edges, too: the picture goes on as it ends."""
    height, width = 6, 9
    key, current = random_logits(11, height, width)
    generator = torch.Generator().manual_seed(3)
    source = torch.rand(height, width, 2, generator=generator) * torch.tensor([width - 1, height - 1])
    places = torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"), dim=-1)
    positions = 2 * source / torch.tensor([width - 1, height - 1]) - 1
    expected = functional.grid_sample(key, positions[None], mode="bicubic", padding_mode="border", align_corners=True)
    result = carry(key, current, source - places, torch.zeros(height, width))
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_positions_are_exact_where_logits_are_of_half_precision() -> None:
    """A position between -1 and 1 in bfloat16 would be half a place off in a picture of 240."""
    key, current = random_logits(3, 2, 240)
    flow, doubt = uniform_flow(0.25, 0, 2, 240), torch.zeros(2, 240)
    result = carry_in_torch(key.bfloat16(), current.bfloat16(), flow, doubt)
    expected = carry_in_torch(key.bfloat16().float(), current.bfloat16().float(), flow, doubt)
    torch.testing.assert_close(result, expected.bfloat16())


@pytest.mark.parametrize("carry", BODIES)
def test_doubt_turns_to_what_the_current_frame_shows(carry: Carry) -> None:
    key, current = random_logits(11, 3, 4)
    doubt = torch.tensor([[0.0, 0.25, 0.75, 1.0]]).expand(3, 4)
    torch.testing.assert_close(
        carry(key, current, uniform_flow(0, 0, 3, 4), doubt), (1 - doubt) * key + doubt * current
    )


@pytest.mark.parametrize("coarse_size", [(2, 2), (3, 5), (9, 12), (12, 20)])
@pytest.mark.parametrize("carry", BODIES)
def test_of_two_doubts_the_larger_counts(carry: Callable[..., Tensor], coarse_size: tuple[int, int]) -> None:
    key, current = random_logits(11, 9, 12)
    generator = torch.Generator().manual_seed(1)
    doubt = torch.rand(9, 12, generator=generator)
    coarse = torch.rand(1, 1, *coarse_size, generator=generator)
    enlarged = functional.interpolate(coarse, (9, 12), mode="bilinear", align_corners=False)[0, 0]
    larger = torch.maximum(doubt, enlarged)
    result = carry(key, current, uniform_flow(0, 0, 9, 12), doubt, coarse)
    torch.testing.assert_close(result, (1 - larger) * key + larger * current)


@pytest.mark.parametrize("carry", BODIES)
def test_a_doubt_that_is_nan_is_seen_in_the_result(carry: Callable[..., Tensor]) -> None:
    key, current = random_logits(11, 4, 4)
    coarse = torch.full((1, 1, 2, 2), torch.nan)
    assert bool(carry(key, current, uniform_flow(0, 0, 4, 4), torch.zeros(4, 4), coarse).isnan().all())


@pytest.mark.parametrize("carry", BODIES)
def test_nan_of_either_frame_is_seen_in_the_result(carry: Carry) -> None:
    """The stream reports a network that has gone wrong, however little of it is used."""
    for spoiled in range(2):
        logits = random_logits(11, 3, 4)
        logits[spoiled][0, 5, 1, 2] = torch.nan
        result = carry(*logits, uniform_flow(0, 0, 3, 4), torch.full((3, 4), 0.5))
        assert result[0, 5, 1, 2].isnan()


@pytest.mark.parametrize("carry", BODIES)
def test_a_flow_that_leads_nowhere_is_not_followed(carry: Carry) -> None:
    key, current = random_logits(3, 3, 4)
    for x in (torch.nan, torch.inf, -torch.inf, 1e30):
        torch.testing.assert_close(carry(key, current, uniform_flow(x, 0, 3, 4), torch.zeros(3, 4)), current)


@needs_library
@pytest.mark.parametrize("cpu", CPU_COPIES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("classes", [1, 7, 8, 11, 16, 19])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (6, 1), (45, 60)])
def test_cpp_and_torch_agree(size: tuple[int, int], classes: int, layout: torch.memory_format, cpu: str) -> None:
    key, current = (logits.contiguous(memory_format=layout) for logits in random_logits(classes, *size))
    flow, doubt = 3 * torch.randn(*size, 2), torch.rand(size)
    threads = torch.get_num_threads()
    try:
        with running_copy(cpu):
            for count in (1, 3):
                torch.set_num_threads(count)
                result = carried_logits(key, current, flow, doubt)
                torch.testing.assert_close(result, carry_in_torch(key, current, flow, doubt), rtol=1e-4, atol=1e-4)
    finally:
        torch.set_num_threads(threads)


@needs_library
@pytest.mark.parametrize("cpu", CPU_COPIES)
@pytest.mark.parametrize("classes", [2, 11, 19])
@pytest.mark.parametrize("fineness", [1, 2, 4])
def test_cpp_and_torch_mix_folded_logits_and_those_alone_alike(fineness: int, classes: int, cpu: str) -> None:
    height, width = 5, 7
    size = fineness * height, fineness * width
    key, current = random_logits(classes, *size)
    generator = torch.Generator().manual_seed(2)
    alone = torch.randn(1, classes, height, width, generator=generator)
    doubts = torch.rand(*size, generator=generator), torch.rand(1, 1, height, width, generator=generator)
    flow = 3 * torch.randn(*size, 2, generator=generator)
    operands = key, fold(current, fineness), flow, *doubts, alone
    with running_copy(cpu):
        torch.testing.assert_close(carried_logits(*operands), carry_in_torch(*operands), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fineness", [1, 2, 3])
def test_folding_puts_places_side_by_side_and_is_undone(fineness: int) -> None:
    picture = torch.arange(2 * 6 * 12.0).view(1, 2, 6, 12)
    folded = fold(picture, fineness)
    assert folded.shape == (1, 2 * fineness**2, 6 // fineness, 12 // fineness)
    assert torch.equal(folded[0, :2, 0, 1], picture[0, :, 0, fineness])
    assert torch.equal(unfold(folded, fineness), picture)


def test_logits_alone_without_a_doubt_are_an_error() -> None:
    key, current = random_logits(5, 4, 6)
    with pytest.raises(ValueError, match="expected 5 classes alone on the grid of a coarse doubt"):
        carried_logits(key, current, uniform_flow(0, 0, 4, 6), torch.zeros(4, 6), alone=torch.zeros(1, 5, 2, 3))


def test_other_types_are_carried_in_torch() -> None:
    key, current = (logits.double() for logits in random_logits(5, 4, 6))
    result = carried_logits(key, current, uniform_flow(1, 0, 4, 6), torch.zeros(4, 6))
    assert result.dtype == torch.float64
    torch.testing.assert_close(result[..., :-1], key[..., 1:], rtol=1e-5, atol=1e-5)


def test_folds_that_do_not_divide_the_picture_are_named() -> None:
    with pytest.raises(ValueError, match="expected two pictures' logits of one shape"):
        carried_logits(torch.zeros(1, 3, 4, 5), torch.zeros(1, 12, 2, 2), torch.zeros(4, 5, 2), torch.zeros(4, 5))


def test_shapes_that_do_not_fit_are_named() -> None:
    key, current = random_logits(5, 4, 6)
    with pytest.raises(ValueError, match=r"expected two pictures' logits of one shape .* \(4, 6, 2\) and \(4, 5\)"):
        carried_logits(key, current, uniform_flow(0, 0, 4, 6), torch.zeros(4, 5))

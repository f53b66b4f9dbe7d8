"""From a camera's bytes to what a backbone takes."""

from __future__ import annotations

import pytest
import torch
from cpu_copies import CPU_COPIES, running_copy
from small_networks import small_network
from torch import Tensor

from lowlat_seg_ros.models.layers import Normalising, scaled

pytestmark = pytest.mark.numeric

MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)


def random_bytes(height: int, width: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=generator)


def by_the_formula(image: Tensor) -> Tensor:
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (image.double() - mean) / std


def test_every_byte_is_normalised_as_the_formula_says_in_its_own_channel() -> None:
    ramp = torch.arange(256, dtype=torch.uint8)
    image = torch.stack([ramp, ramp.flip(0), ramp.roll(7)]).view(1, 3, 16, 16)
    result = Normalising(MEAN, STD)(image)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, by_the_formula(image).float())


@pytest.mark.parametrize("cpu", CPU_COPIES)
@pytest.mark.parametrize(("height", "width"), [(360, 480), (2, 2), (6, 34), (48, 64)])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_at_half_the_size_each_pixel_is_the_mean_of_four(
    height: int, width: int, memory_format: torch.memory_format, cpu: str
) -> None:
    image = random_bytes(height, width).to(memory_format=memory_format)
    with running_copy(cpu):
        result = Normalising(MEAN, STD)(image, 0.5)
    torch.testing.assert_close(result, scaled(by_the_formula(image), 0.5).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_share_the_rows(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lowlat_seg_ros.kernels.cpp.thread_count", lambda: threads)
    image = random_bytes(14, 20)
    torch.testing.assert_close(
        Normalising(MEAN, STD)(image, 0.5), scaled(by_the_formula(image), 0.5).float(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("height", "width", "scale"), [(45, 60, 0.5), (46, 61, 0.5), (48, 64, 1.5), (48, 64, 0.25)])
def test_other_sizes_are_resized_bilinearly(height: int, width: int, scale: float) -> None:
    image = random_bytes(height, width)
    result = Normalising(MEAN, STD)(image, scale)
    torch.testing.assert_close(result, scaled(by_the_formula(image), scale).float(), rtol=1e-4, atol=1e-4)


def test_floats_are_normalised_already() -> None:
    image = torch.randn(1, 3, 8, 8)
    assert Normalising(MEAN, STD)(image) is image


def test_half_precision_networks_take_bytes_as_half_precision() -> None:
    image = random_bytes(8, 8)
    result = Normalising(MEAN, STD).to(torch.bfloat16)(image, 0.5)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.double(), scaled(by_the_formula(image), 0.5), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("kind", ["two_networks", "shared_backbone"])
def test_a_network_takes_bytes_and_normalised_floats_alike(kind: str) -> None:
    network = small_network(kind=kind).eval()
    image = random_bytes(48, 64, batch=1)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (network.config.mean, network.config.std))
    with torch.no_grad():
        torch.testing.assert_close(network(image), network((image - mean) / std), rtol=1e-3, atol=1e-4)
        for name, tensor in network.low_features(image)._asdict().items():
            expected = network.low_features((image - mean) / std)._asdict()[name]
            torch.testing.assert_close(tensor, expected, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_holds_neither_mean_nor_std() -> None:
    assert not [name for name in small_network().state_dict() if "normalise" in name]

"""The comparison of blocks in C++ with torch's operators."""

from __future__ import annotations

import pytest
import torch
from cpu_copies import needs_library
from small_networks import small_network

from bench.blocks import block_table, measure_blocks, with_torchs_operators
from lowlat_seg_ros.kernels.inverted_residual_on_cpu import InvertedResidualOnCpu
from lowlat_seg_ros.runtime.folding import prepare_for_inference

pytestmark = needs_library


@torch.inference_mode()
def test_both_variants_compute_the_same_and_are_timed() -> None:
    network = prepare_for_inference(small_network(kind="two_networks", input_size=(64, 48)))
    if not any(isinstance(module, InvertedResidualOnCpu) for module in network.modules()):
        pytest.skip("this CPU has no AVX2: no block runs in C++")
    plain = with_torchs_operators(network)
    assert not any(isinstance(module, InvertedResidualOnCpu) for module in plain.modules())
    image = torch.randn(1, 3, 48, 64)
    torch.testing.assert_close(network.tracks.low(image), plain.tracks.low(image), rtol=1e-3, atol=1e-3)
    times = measure_blocks(network, rounds=2)
    assert list(times) == ["Sl", "Sh"]
    assert all(spread.count == 2 and spread.p50 > 0 for pair in times.values() for spread in pair)
    assert block_table(times).count("\n") == 3

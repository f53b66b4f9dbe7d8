"""Section 1, the paper's table 3: what each part of the network costs, for the shipped model and the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import torch

from bench.measuring import rounded
from lowlat_seg_ros.evaluation.module_times import Size, measure, module_calls
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork

FAST_NETWORK: Final = "Sl with its own classifier, a fast single-frame network"

PAPER_SHARES: Mapping[str, float] = {
    "Lower part of the network, Sl": 0.17,
    "Higher part of the network, Sh": 0.83,
    "Adaptive schedule (deviation)": 0.06,
    "Adaptive propagation": 0.11,
    "Non-key frame": 0.33,
}
"""Of the full network, from the paper's tables 1 and 3; its GPU and its network."""


def measure_modules(network: SegmentationNetwork, size: Size, threads: int, rounds: int) -> dict[str, Any]:
    """Every part once a round, each with its 10th and 90th percentile and its share of the full network.

    Args:
        network: ready for inference, on the CPU.
        size: (width, height) in pixels of the frame.
        threads: of PyTorch.
        rounds: after a few untimed ones.
    """
    image = torch.randn(1, 3, size[1], size[0]).to(memory_format=torch.channels_last)
    calls = {**module_calls(network, size), FAST_NETWORK: lambda: network.forward_fast(image)}
    callers = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        times = measure(calls, rounds)
    finally:
        torch.set_num_threads(callers)
    return {
        "model": network.config.name,
        "size": list(size),
        "threads": threads,
        "rounds": rounds,
        "rows": [{**rounded(asdict(row)), "paper_share": PAPER_SHARES.get(row.module)} for row in times],
    }

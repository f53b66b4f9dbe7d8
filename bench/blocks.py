"""What the blocks in C++ gain: Sl and Sh of the shipped model with them and with torch's operators, in turn.

    .venv/bin/python -m bench.blocks
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 .venv/bin/python -m bench.blocks --copy 1
    ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default .venv/bin/python -m bench.blocks --copy 0

The second is as on a CPU with AVX2 and no more, the third as on one without. One thread, as each track has on two
cores. The shares are of torch's time.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable
from functools import partial

import torch

from bench.markdown import table
from bench.spread import Spread
from lowlat_seg_ros.evaluation.module_times import round_times
from lowlat_seg_ros.kernels.inverted_residual_on_cpu import InvertedResidualOnCpu
from lowlat_seg_ros.kernels.native_library import native_library
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.steady_memory import keep_large_buffers

ROUNDS = 20


def with_torchs_operators(network: SegmentationNetwork) -> SegmentationNetwork:
    """A copy whose blocks do not run in C++."""
    plain = copy.deepcopy(network)
    for parent in list(plain.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, InvertedResidualOnCpu):
                setattr(parent, name, child.block)
    return plain


def measure_blocks(network: SegmentationNetwork, rounds: int) -> dict[str, tuple[Spread, Spread]]:
    """Milliseconds of Sl and of Sh, each in C++ and in torch."""
    width, height = network.config.input_size
    image = torch.randn(1, 3, height, width).to(memory_format=torch.channels_last)
    calls: dict[tuple[str, bool], Callable[[], object]] = {}
    for in_cpp, variant in ((True, network), (False, with_torchs_operators(network))):
        low = variant.tracks.low(image)
        calls["Sl", in_cpp] = partial(variant.tracks.low, image)
        calls["Sh", in_cpp] = partial(variant.tracks.high, image, low)
    spreads = {call: Spread.of([times]) for call, times in round_times(calls, rounds).items()}
    found = {call: spread for call, spread in spreads.items() if spread is not None}
    return {part: (found[part, True], found[part, False]) for part in ("Sl", "Sh")}


def block_table(times: dict[str, tuple[Spread, Spread]]) -> str:
    rows = [
        (
            part,
            *(f"{spread.p50:.1f} (to {spread.p95:.1f})" for spread in (in_cpp, in_torch)),
            f"{in_cpp.p50 / in_torch.p50:.0%}",
        )
        for part, (in_cpp, in_torch) in times.items()
    ]
    return table(("", "C++ ms", "torch ms", "share"), rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Sl and Sh with blocks in C++ and with torch's operators.")
    parser.add_argument("--copy", type=int, choices=(0, 1, 2), default=2, help="for any CPU, for AVX2, for AVX-512")
    options = parser.parse_args(arguments)
    library = native_library()
    if library is None:
        print("bench.blocks: there is nothing to compare: the C++ kernels are not built", file=sys.stderr)
        return 1
    keep_large_buffers()
    torch.set_num_threads(1)
    name = ("any CPU", "AVX2", "AVX-512")[library.use_cpu(options.copy)]
    with torch.inference_mode():
        print(f"The copy for {name}; median (and 95th percentile) of {ROUNDS} rounds.\n")
        print(block_table(measure_blocks(load_checkpoint("default"), ROUNDS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

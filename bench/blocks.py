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
import time
from collections.abc import Callable

import torch
from torch import nn

from bench.spread import Spread
from bench.turns import in_turn
from lowlat_seg_ros.network.checkpoint import load_checkpoint
from lowlat_seg_ros.network.inverted_residual_on_cpu import InvertedResidualOnCpu
from lowlat_seg_ros.network.native_library import native_library
from lowlat_seg_ros.network.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.ros.process_setup import keep_large_buffers

ROUNDS = 20
WARM_UP_ROUNDS = 3


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
    cases: dict[tuple[str, bool], Callable[[int], float]] = {}
    for in_cpp, variant in ((True, network), (False, with_torchs_operators(network))):
        low = variant.tracks.low(image)
        cases["Sl", in_cpp] = timed(variant.tracks.low, image)
        cases["Sh", in_cpp] = timed(variant.tracks.high, image, low)
    times = in_turn(cases, WARM_UP_ROUNDS + rounds)
    spreads = {case: Spread.of([milliseconds[WARM_UP_ROUNDS:]]) for case, milliseconds in times.items()}
    found = {case: spread for case, spread in spreads.items() if spread is not None}
    return {part: (found[part, True], found[part, False]) for part in ("Sl", "Sh")}


def timed(part: nn.Module | Callable[..., object], *operands: object) -> Callable[[int], float]:
    def milliseconds(_: int) -> float:
        start = time.perf_counter()
        part(*operands)
        return 1000 * (time.perf_counter() - start)

    return milliseconds


def table(times: dict[str, tuple[Spread, Spread]]) -> str:
    lines = ["| | C++ ms | torch ms | share |", "|---|---:|---:|---:|"]
    lines += [
        f"| {part} | {in_cpp.p50:.1f} (to {in_cpp.p95:.1f}) | {in_torch.p50:.1f} (to {in_torch.p95:.1f}) | "
        f"{in_cpp.p50 / in_torch.p50:.0%} |"
        for part, (in_cpp, in_torch) in times.items()
    ]
    return "\n".join(lines)


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
        print(table(measure_blocks(load_checkpoint("default"), ROUNDS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

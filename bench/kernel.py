"""The spatially variant convolution on the CPU: its C++ body, its reference, unfolding, and a plain memory copy.

    .venv/bin/python -m bench.kernel [--rounds 21] [--threads 1 2]

All of one size are timed in turn (A B C D, A B C D, …), so that whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.measuring import seconds
from bench.report import kernel_table
from lowlat_seg_ros.kernels.spatially_variant_convolution import convolve_on_cpu, runs_on_cpu, shift_and_add

KERNEL_SIZE = 9
REACH = KERNEL_SIZE // 2
GRIDS = ((45, 60), (64, 128), (128, 256))  # (h, w); the first is the shipped model's at stride 8
CHANNEL_COUNTS = (64, 96, 256)
UNFOLDED_BYTES_AT_MOST = 2**30  # beyond that unfolding is left out
SLOW_SECONDS, SLOW_ROUNDS = 0.5, 3  # a body whose first call takes longer is timed in fewer rounds

Body = Callable[[], object]


@dataclass(frozen=True)
class KernelRow:
    """What one body takes for one feature (1, channels, height, width) with 9x9 kernels, float32, channels last."""

    body: str
    height: int
    width: int
    channels: int
    threads: int
    milliseconds: float  # median of the rounds
    p10: float
    p90: float
    times_reference: float  # how many times as fast as the reference, by the medians
    extra_mib: float  # peak of resident memory above what was there before the call; the result is part of it


def measure_kernels(
    rounds: int,
    grids: Sequence[tuple[int, int]] = GRIDS,
    channel_counts: Sequence[int] = CHANNEL_COUNTS,
) -> list[KernelRow]:
    """One row for each body, grid and number of channels, with torch's present number of threads."""
    rows = []
    with torch.inference_mode():
        for (height, width), channels in itertools.product(grids, channel_counts):
            rows += measure_size(rounds, height, width, channels)
    return rows


def measure_size(rounds: int, height: int, width: int, channels: int) -> list[KernelRow]:
    generator = torch.Generator().manual_seed(channels)
    feature = channels_last(torch.randn(1, channels, height, width, generator=generator))
    kernels = channels_last(torch.randn(1, KERNEL_SIZE**2, height, width, generator=generator).softmax(1))
    bodies = bodies_for(feature, kernels)
    extra_mib = {name: extra_memory(body) for name, body in bodies.items()}
    rounds_of = {name: SLOW_ROUNDS if seconds(body) > SLOW_SECONDS else rounds for name, body in bodies.items()}
    times: dict[str, list[float]] = {name: [] for name in bodies}
    for turn in range(rounds):
        for name, body in bodies.items():
            if turn < rounds_of[name]:
                times[name].append(1e3 * seconds(body))
    reference = np.median(times["shift and add"])
    return [
        KernelRow(
            name,
            height,
            width,
            channels,
            torch.get_num_threads(),
            milliseconds=float(np.median(taken)),
            p10=float(np.percentile(taken, 10)),
            p90=float(np.percentile(taken, 90)),
            times_reference=float(reference / np.median(taken)),
            extra_mib=extra_mib[name],
        )
        for name, taken in times.items()
    ]


def bodies_for(feature: Tensor, kernels: Tensor) -> dict[str, Body]:
    """What is compared; without the built library there is no C++ body."""
    copies = torch.empty_like(feature), torch.empty_like(kernels)
    bodies: dict[str, Body] = {}
    if runs_on_cpu(feature, kernels):
        bodies["C++"] = lambda: convolve_on_cpu(feature, kernels, REACH)
    bodies["shift and add"] = lambda: shift_and_add(feature, kernels, REACH)
    if KERNEL_SIZE**2 * feature.nbytes <= UNFOLDED_BYTES_AT_MOST:
        bodies["unfold and einsum"] = lambda: unfold_and_einsum(feature, kernels)
    bodies["memory copy"] = lambda: (copies[0].copy_(feature), copies[1].copy_(kernels))
    return bodies


def unfold_and_einsum(feature: Tensor, kernels: Tensor) -> Tensor:
    """Equation 1 as a textbook would write it. Unfolding goes from -D to D, equation 1's sources from D to -D."""
    batch, channels, height, width = feature.shape
    neighbours = functional.unfold(feature, KERNEL_SIZE, padding=REACH).view(batch, channels, -1, height, width)
    return torch.einsum("bcthw,bthw->bchw", neighbours, kernels.flip(1))


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def extra_memory(body: Body) -> float:
    """MiB by which the process grows at most during a call, its free memory given back to Linux before."""
    body()  # once: threads and libraries have their memory from now on
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew (man 5 proc)
    before = resident_kib("VmRSS")
    result = body()  # held, so that it is counted like all the rest
    del result
    return max(0, resident_kib("VmHWM") - before) / 1024


def resident_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise LookupError(f"/proc/self/status has no {field}")


def main() -> None:
    parser = argparse.ArgumentParser(description="The spatially variant convolution, compared on this CPU.")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, nargs="+", default=[torch.get_num_threads()])
    arguments = parser.parse_args()
    rows = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        rows += measure_kernels(arguments.rounds)
    print(kernel_table({"kernel": {"rows": list(map(asdict, rows))}}))


if __name__ == "__main__":
    main()

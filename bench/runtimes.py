"""Sl and Sh in every runtime and precision that serves here: `python -m bench.runtimes`, one thread, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.placing import Placer
from lowlat_seg_ros.runtime.machine import cpu_model, instruction_sets

ROUNDS = 12
SL_RUNS = 5  # in a round, to one of Sh


def main() -> None:
    torch.set_num_threads(1)
    network = load_checkpoint("default")
    width, height = network.config.input_size
    image = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)
    placed = {
        " ".join(place): other.tracks for place, other in Placer(network, torch.device("cpu")).everywhere().items()
    }
    low: dict[str, list[float]] = {name: [] for name in placed}
    high: dict[str, list[float]] = {name: [] for name in placed}
    for _ in range(ROUNDS):
        for name, tracks in placed.items():
            low[name] += [milliseconds(tracks.low, image) for _ in range(SL_RUNS)]
            high[name].append(milliseconds(partial(tracks.high, low=None), image))
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "openvino", "onnxruntime"))
    print(f"{cpu_model()} ({instruction_sets()}); {versions}\n\n| | Sl p50 | minimum | Sh p50 | minimum |")
    print("|---|---:|---:|---:|---:|")
    for name in placed:
        cells = [f"{value:.1f}" for times in (low[name], high[name]) for value in (np.median(times), min(times))]
        print(f"| {name} | {' | '.join(cells)} |")


def milliseconds(run: Callable[[Tensor], Tensor], image: Tensor) -> float:
    started = time.perf_counter()
    with torch.inference_mode():
        run(image)
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()

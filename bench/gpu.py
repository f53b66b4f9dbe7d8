"""Section 6, on a GPU: `python -m bench.gpu`, without ROS and without a network connection.

Labels against the CPU's, both tracks at once, the fast track's latency with the slow track idle and busy, and memory.
Writes <card>.json and <card>.md into bench/results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bench.clip import first_frames, measured_clip, name_of
from bench.environment import PAPER_MODEL, RESULTS, environment, machine_name
from bench.gpu_fast_track import How
from bench.gpu_measurements import (
    TYPES,
    compare_labels,
    measure_engine,
    measure_fast_track,
    measure_memory,
    measure_overlap,
)
from bench.report import SPREAD_HEADINGS, SPREAD_NOTE, spread_cells, table
from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.evaluation.module_times import network_of
from lowlat_seg_ros.models.checkpoint import CheckpointError, load_checkpoint
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class GpuPlan:
    """How much of everything."""

    ways: tuple[How, ...] = ("eager", "compiled", "captured")
    types: tuple[str, ...] = tuple(TYPES)
    large_size: tuple[int, int] = (2048, 1024)
    clip_frames: int = 16
    rounds: int = 3
    frames_a_turn: int = 100
    overlap_frames: int = 50
    memory_frames: int = 2000


FULL_PLAN: Final = GpuPlan()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 after one sentence on what was wrong, labels that differ too much among it."""
    parser = argparse.ArgumentParser(prog="bench.gpu", description="Measure the two tracks on a CUDA GPU.")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results (default: bench/results)")
    parser.add_argument("--model", default="default", help="a shipped model's name or a checkpoint (default: default)")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print(f"bench.gpu: PyTorch {torch.__version__} finds no CUDA GPU on this machine.", file=sys.stderr)
        return 1
    device = torch.device("cuda", torch.cuda.current_device())
    try:
        results = measure_gpu(options.model, device, torch.cuda.get_device_name(device))
        write_results(results, options.out)
    except KeyboardInterrupt:
        print("bench.gpu: stopped; the results of an earlier run are as they were", file=sys.stderr)
        return 130
    except (CheckpointError, OSError) as error:
        print(f"bench.gpu: {error}", file=sys.stderr)
        return 1
    if not all(row["is_met"] for row in results["labels"]):
        print("bench.gpu: the labels differ from the CPU's by more than is tolerated", file=sys.stderr)
        return 1
    return 0


def measure_gpu(model: str, device: torch.device, card: str, plan: GpuPlan = FULL_PLAN) -> dict[str, Any]:
    """All of it; ``card`` is the device's name in the results."""
    network, paper = load_checkpoint(model), network_of(str(PAPER_MODEL))
    clip = measured_clip()
    own = _resized(first_frames(clip, plan.clip_frames), network.config.input_size)
    large = _resized(own, plan.large_size)
    on_device = load_checkpoint(model, device)
    return {
        "environment": {**environment(network.config.name), "card": card, "cuda": torch.version.cuda},
        "clip": name_of(clip),
        "labels": compare_labels(network, own, device),
        "overlap": [measure_overlap(paper, large, device, name, plan.overlap_frames) for name in plan.types],
        "fast_track": [
            row
            for measured, frames in ((network, own), (network, large), (paper, large))
            for row in _fast_track(measured, frames, device, plan)
        ],
        "engine": measure_engine(on_device, own, device, plan.rounds, plan.frames_a_turn),
        "memory": measure_memory(on_device, own, device, plan.memory_frames),
    }


def _fast_track(
    network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device, plan: GpuPlan
) -> list[dict[str, Any]]:
    height, width = frames[0].shape[:2]
    return [
        {"model": network.config.name, "size": [width, height], **row}
        for name in plan.types
        for row in measure_fast_track(network, frames, device, name, plan.ways, plan.rounds, plan.frames_a_turn)
    ]


def _resized(frames: Sequence[Frame], size: tuple[int, int]) -> list[Frame]:
    return [np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR), np.uint8) for frame in frames]


def write_results(results: Mapping[str, Any], folder: Path) -> None:
    """The card's two files, each replaced whole."""
    name = machine_name(results["environment"]["card"], 1).removesuffix("_1_cores")
    report = gpu_report(results)
    atomic_write(folder / f"{name}.json", (json.dumps(results, indent=1) + "\n").encode())
    atomic_write(folder / f"{name}.md", report.encode())
    print(report)
    print(f"written to {folder}: {name}.json, {name}.md")


def gpu_report(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    facts = results["environment"]
    labels = [
        (row["type"], f"{row['equal']:.3%}", f"≥ {row['least']:.1%}", "yes" if row["is_met"] else "**no**")
        for row in results["labels"]
    ]
    overlap = [
        (row["type"], f"{row['overlapping_share']:.0%}", *_medians(row["sh_ms_beside"], row["sh_ms_alone"]))
        for row in results["overlap"]
    ]
    memory = results["memory"]
    return "\n\n".join(
        [
            f"# Latency on {facts['card']}",
            f"`python -m bench.gpu` on {facts['date']}, commit {facts['commit']}, model {facts['model']}, "
            f"PyTorch {facts['torch']}, CUDA {facts['cuda']}, beside {facts['cpu']}. Frames: {results['clip']}.",
            SPREAD_NOTE,
            "## Labels equal to the CPU's, in the frame where fewest are",
            table(("type", "equal", "tolerated", "met"), labels),
            "## Both tracks at once, the paper's model",
            "The share of the fast track's time on the GPU that lies within runs of Sh, by the GPU's clock.",
            table(("type", "at once", "Sh beside, p50", "Sh alone, p50"), overlap),
            "## The fast track, host to host",
            table(
                ("model", "size", "type", "how", "slow track", *SPREAD_HEADINGS),
                [_fast_track_cells(row) for row in results["fast_track"]],
                texts=5,
            ),
            "## The stream engine as the node runs it",
            table(
                ("slow track", *SPREAD_HEADINGS),
                [(row["slow_track"], *spread_cells(row["latency_ms"])) for row in results["engine"]],
            ),
            f"Memory on the GPU grew by {memory['growth_mebibytes']:.1f} MiB over {memory['frames']} frames, "
            f"to {memory['mebibytes'][-1]:.0f} MiB.",
            "",
        ]
    )


def _medians(*spreads: Mapping[str, Any] | None) -> tuple[str, ...]:
    return tuple("" if spread is None else f"{spread['p50']:.1f}" for spread in spreads)


def _fast_track_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    case = (row["model"], f"{row['size'][0]}x{row['size'][1]}", row["type"], row["how"])
    if "problem" in row:
        return (*case, f"not run: {row['problem']}", *[""] * len(SPREAD_HEADINGS))
    return (*case, row["slow_track"], *spread_cells(row["latency_ms"]))


if __name__ == "__main__":
    sys.exit(main())

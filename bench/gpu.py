"""Section 6, on a GPU: `python -m bench.gpu`, without ROS and without a network connection.

Labels against the CPU's, both tracks at once, the fast track's latency with the slow track idle and busy, and memory.
Writes <card>.json and <card>.md into bench/results. Only `captured` needs a GPU: the tests run all else on the CPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch

from bench.clip import Frame, first_frames, measured_clip, name_of
from bench.environment import PAPER_MODEL, RESULTS, environment, machine_name
from bench.gpu_tracks import FastTrack, How, busy_slow_track, now, overlapping_share, spans_after, step_of
from bench.measuring import (
    MEBIBYTE,
    growth,
    in_turn,
    resident_mebibytes,
    rounded,
    seconds,
    spread_mapping,
    write_files,
)
from bench.report import SPREAD_HEADINGS, SPREAD_NOTE, spread_cells, table
from bench.slow_work import WatchedSlowNetwork
from bench.soak import STAMP_STEP, memory_samples
from bench.tracks import AS_SCHEDULED, CPU, NO_KEY_FRAMES, begin_stream, see_frame, warm_engine
from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.evaluation.module_times import network_of
from lowlat_seg_ros.fast.pictures import frame_size
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.steady_memory import prepare_for_timing
from lowlat_seg_ros.stream.key_frames import KeyFramePolicy
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

TYPES: Final = {"fp32": torch.float32, "fp16": torch.float16}
LEAST_EQUAL: Final = {"fp32": 0.999, "fp16": 0.995}  # issue 4: labels must not change
SLOW_TRACK: Final = ("idle", "busy")


@dataclass(frozen=True)
class GpuSize:
    """How much of everything."""

    ways: tuple[How, ...] = ("eager", "compiled", "captured")
    types: tuple[str, ...] = tuple(TYPES)
    large_size: tuple[int, int] = (2048, 1024)
    clip_frames: int = 16
    rounds: int = 3
    frames_a_turn: int = 100
    overlap_frames: int = 50
    memory_frames: int = 2000


FULL: Final = GpuSize()


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
    except (Error, OSError) as error:
        print(f"bench.gpu: {error}", file=sys.stderr)
        return 1
    if not all(row["is_met"] for row in results["labels"]):
        print("bench.gpu: the labels differ from the CPU's by more than is tolerated", file=sys.stderr)
        return 1
    return 0


def measure_gpu(model: str, device: torch.device, card: str, size: GpuSize = FULL) -> dict[str, Any]:
    """All of it; ``card`` is the device's name in the results."""
    prepare_for_timing()
    network, paper = load_checkpoint(model), network_of(str(PAPER_MODEL))
    clip = measured_clip()
    own = _resized(first_frames(clip, size.clip_frames), network.config.input_size)
    large = _resized(own, size.large_size)
    on_device = load_checkpoint(model, device)
    return {
        "environment": {**environment(model), "card": card, "cuda": torch.version.cuda},
        "clip": name_of(clip),
        "labels": compare_labels(network, own, device),
        "overlap": [measure_overlap(paper, large, device, name, size.overlap_frames) for name in size.types],
        "fast_track": [
            {"model": measured.config.name, "size": list(frame_size(frames[0])), **row}
            for measured, frames in ((network, own), (network, large), (paper, large))
            for name in size.types
            for row in measure_fast_track(measured, frames, device, name, size.ways, size.rounds, size.frames_a_turn)
        ],
        "engine": measure_engine(on_device, own, device, size.rounds, size.frames_a_turn),
        "memory": measure_memory(on_device, own, device, size.memory_frames),
    }


def _resized(frames: Sequence[Frame], size: tuple[int, int]) -> list[Frame]:
    return [np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR), np.uint8) for frame in frames]


def compare_labels(network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device) -> list[dict[str, Any]]:
    """The share of pixels whose label is the CPU's, in the frame where it is smallest, for each type.

    The first of the ``frames``, of the network's input size, is the key frame of the others.
    """
    reference = _labels_of(network, frames, CPU, torch.float32)
    rows = []
    for name, dtype in TYPES.items():
        if device == CPU and dtype == torch.float16:
            continue  # a CPU's half precision is slow and no target
        labels = _labels_of(network, frames, device, dtype)
        equal = [float((one == other).mean()) for one, other in zip(labels, reference, strict=True)]
        least = LEAST_EQUAL[name]
        rows.append({"type": name, "equal": min(equal), "least": least, "is_met": min(equal) >= least})
    return rows


def _labels_of(
    network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device, dtype: torch.dtype
) -> list[Frame]:
    fast_track = FastTrack(step_of(network, device, dtype), frames[0], device, "eager")
    return [fast_track(frame).copy() for frame in frames[1:]]


def measure_fast_track(
    network: SegmentationNetwork,
    frames: Sequence[Frame],
    device: torch.device,
    dtype_name: str,
    ways: Sequence[How],
    rounds: int,
    frames_a_turn: int,
) -> list[dict[str, Any]]:
    """A frame's milliseconds from the host's memory to the host's memory, each way with the slow track idle and busy.

    Args:
        network: on the CPU; copies of it are measured.
        frames: of one size, the first the key frame.
        device: where it runs.
        dtype_name: a key of TYPES.
        ways: how the step is run. One that cannot be prepared gives a row that says why.
        rounds: turns of each case.
        frames_a_turn: timed frames of a turn.
    """
    step = step_of(network, device, TYPES[dtype_name])
    rows: list[dict[str, Any]] = []
    fast_tracks: dict[str, FastTrack] = {}
    for how in ways:
        try:
            fast_tracks[how] = FastTrack(step, frames[0], device, how)
        except Exception as error:  # torch.compile's are of any type: a compiler that is missing, an unknown operator
            rows.append({"how": how, "type": dtype_name, "problem": f"{type(error).__name__}: {error}".split("\n")[0]})
    cases = {
        (how, slow_track): _timed_turn(fast_track, frames, slow_track == "busy", step.network, device, frames_a_turn)
        for how, fast_track in fast_tracks.items()
        for slow_track in SLOW_TRACK
    }
    for (way, slow_track), turns in in_turn(cases, rounds).items():
        rows.append({"how": way, "type": dtype_name, "slow_track": slow_track, "latency_ms": spread_mapping(turns)})
    return rows


def _timed_turn(
    fast_track: FastTrack,
    frames: Sequence[Frame],
    is_busy: bool,
    network: SegmentationNetwork,
    device: torch.device,
    count: int,
) -> Callable[[int], list[float]]:
    def turn(number: int) -> list[float]:
        beside: AbstractContextManager[object] = (
            busy_slow_track(network, fast_track.key, device) if is_busy else nullcontext()
        )
        with beside:
            return [1000 * seconds(lambda i=i: fast_track(frames[i % len(frames)])) for i in range(count)]  # type: ignore[misc]

    return turn


def measure_overlap(
    network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device, dtype_name: str, count: int
) -> dict[str, Any]:
    """Whether the two tracks' streams run at once, by the GPU's own clock.

    Returns:
        The share of the fast track's time on the device that lies within runs of Sh, and what Sh takes beside the fast
        track and alone.
    """
    step = step_of(network, device, TYPES[dtype_name])
    fast_track = FastTrack(step, frames[0], device, "eager")
    moments = []
    with busy_slow_track(step.network, fast_track.key, device) as runs:
        base = now(device)
        for number in range(count):
            with fast_track.stream.in_use():
                began = now(device)
            fast_track(frames[number % len(frames)])
            with fast_track.stream.in_use():
                moments.append((began, now(device)))
            fast_track.stream.wait()
    fast, slow = spans_after(base, moments), spans_after(base, runs)
    with busy_slow_track(step.network, fast_track.key, device) as runs:
        base = now(device)
        time.sleep((fast[-1].ended - fast[0].began) / 1000)
    alone = spans_after(base, runs)
    return {
        "type": dtype_name,
        "fast_frames": count,
        "overlapping_share": rounded(overlapping_share(fast, slow)),
        "sh_ms_beside": spread_mapping([[span.ended - span.began for span in slow]]),
        "sh_ms_alone": spread_mapping([[span.ended - span.began for span in alone]]),
        "spans": {"fast": rounded([list(span) for span in fast]), "slow": rounded([list(span) for span in slow])},
    }


def measure_engine(
    network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device, rounds: int, frames_a_turn: int
) -> list[dict[str, Any]]:
    """The stream engine as the node runs it, its slow track idle, busy and as scheduled.

    ``network`` lies on ``device``.
    """
    watched = WatchedSlowNetwork(network)
    with ThreadedSlowTrack(watched, device) as slow_track:
        engine = warm_engine(network, slow_track, frames[0], device)
        seen = see_frame(network, frames[0], device)

        def turn_of(policy: KeyFramePolicy, is_busy: bool) -> Callable[[int], list[float]]:
            def turn(number: int) -> list[float]:
                engine.reset("another turn")
                begin_stream(engine, frames[0])
                engine.policy = policy
                beside: AbstractContextManager[None] = watched.busy(slow_track, seen) if is_busy else nullcontext()
                with beside:
                    return [
                        engine.segment(
                            frames[i % len(frames)], (number * frames_a_turn + i) * STAMP_STEP
                        ).milliseconds.total
                        for i in range(frames_a_turn)
                    ]

            return turn

        cases = {
            "idle": turn_of(NO_KEY_FRAMES, False),
            "busy": turn_of(NO_KEY_FRAMES, True),
            "as scheduled": turn_of(AS_SCHEDULED, False),
        }
        turns = in_turn(cases, rounds)
    return [{"slow_track": name, "latency_ms": spread_mapping(each)} for name, each in turns.items()]


def measure_memory(
    network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device, count: int
) -> dict[str, Any]:
    """Whether the device's memory grows while the engine segments ``count`` frames; ``network`` lies on it."""
    samples = memory_samples(network, frames, count, device, lambda: device_mebibytes(device), sample_count=40)
    return {"frames": count, "growth_mebibytes": rounded(growth(samples)), "mebibytes": rounded(samples)}


def device_mebibytes(device: torch.device) -> float:
    """What PyTorch has taken of the device's memory; on the CPU, the process's memory in RAM."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device) / MEBIBYTE
    return resident_mebibytes()


def write_results(results: Mapping[str, Any], folder: Path) -> None:
    """The card's two files, each replaced whole."""
    name = machine_name(results["environment"]["card"], 1).removesuffix("_1_cores")
    write_files(folder, name, results, gpu_report(results))


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

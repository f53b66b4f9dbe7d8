"""Section 6, on a GPU: `python -m bench.gpu`, without ROS and without a network connection.

Labels against the CPU's, both tracks at once, the fast track's latency with the slow track idle and busy, and memory.
Writes <card>.json and <card>.md into bench/results. The tests run it on the CPU, where nothing is captured.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
import torch

from bench.clip import Frame, first_frames, measured_clip, name_of
from bench.environment import PAPER_MODEL, RESULTS, environment, machine_name
from bench.gpu_tracks import Moment, TimedSlowNetwork, begun_engine, now, overlapping_share, placed_on, spans_after
from bench.measuring import MEBIBYTE, growth, in_turn, resident_mebibytes, rounded, spread_mapping, write_files
from bench.report import SPREAD_HEADINGS, SPREAD_NOTE, spread_cells, table
from bench.slow_work import WatchedSlowNetwork
from bench.soak import STAMP_STEP, memory_samples
from bench.tracks import AS_SCHEDULED, CPU, FIRST_STAMP, NO_KEY_FRAMES, begin_stream, see_frame
from lowlat_seg_ros.errors import Error, ParameterError, in_one_line
from lowlat_seg_ros.evaluation.module_times import network_of
from lowlat_seg_ros.fast.motion_on_gpu import MotionOnGpu
from lowlat_seg_ros.fast.pictures import frame_size
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.captured import failures, nothing_captured
from lowlat_seg_ros.runtime.choice import ON_GPU
from lowlat_seg_ros.runtime.steady_memory import prepare_for_timing
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack

How = Literal["as it is", "captured"]
PRECISIONS: Final = ("fp32", "fp16")
LEAST_EQUAL: Final = {  # of the pixels: labels must not change. What is learned just in time magnifies what is rounded.
    "adaptive": {"fp32": 0.999, "fp16": 0.995},
    "just_in_time": {"fp32": 0.99, "fp16": 0.98},
}
WAYS: Final[tuple[How, ...]] = ("as it is", "captured")
RUNS_TO_WARM_UP: Final = 10  # of Sh, those of the engine's own warm-up among them
SLOW_TRACK: Final = ("idle", "busy", "as scheduled")


@dataclass(frozen=True)
class GpuSize:
    """How much of everything."""

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
    auto = placed_on(network, device, "fp32" if device.type == "cpu" else ON_GPU.precision, frame_size(own[0]))
    memory = measure_memory(auto, own, device, size.memory_frames)  # before others' is there
    return {
        "environment": {**environment(model), "card": card, "cuda": torch.version.cuda},
        "clip": name_of(clip),
        "labels": compare_labels(network, own, device),
        "overlap": [measure_overlap(paper, large, device, name, size.overlap_frames) for name in PRECISIONS],
        "engine": [
            row
            for measured, frames in ((network, own), (network, large), (paper, large))
            for name in PRECISIONS
            for row in measure_engine(measured, frames, device, name, size)
        ],
        "memory": memory,
    }


def _resized(frames: Sequence[Frame], size: tuple[int, int]) -> list[Frame]:
    return [np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR), np.uint8) for frame in frames]


def compare_labels(network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device) -> list[dict[str, Any]]:
    """The share of pixels that are labelled as the CPU does by the same steps in fp32, in the frame with the fewest.

    Args:
        network: on the CPU.
        frames: of the network's input size; the first is the key frame of the others.
    """
    rows = []
    for propagation, limits in LEAST_EQUAL.items():
        reference = _labels_of(network, frames, CPU, propagation)
        for precision, least in limits.items():
            case = {"propagation": propagation, "type": precision, "least": least}
            try:
                placed = placed_on(network, device, precision, frame_size(frames[0]))
            except ParameterError as error:
                rows.append({**case, "problem": str(error), "is_met": True})
                continue
            labels = _labels_of(placed, frames, device, propagation)
            equal = min(float((one == other).mean()) for one, other in zip(labels, reference, strict=True))
            rows.append({**case, "equal": equal, "is_met": equal >= least})
    return rows


def _labels_of(
    network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device, propagation: str
) -> list[Frame]:
    """With the GPU's motion, and Sh inline, so that as much is learned wherever this runs."""
    policy = FixedInterval(len(frames))
    engine = StreamEngine(network, InlineSlowTrack(network), policy, device=device, propagation=propagation)
    if engine.motion is not None:
        engine.motion.close()
        engine.motion = MotionOnGpu(frame_size(frames[0]))
    engine.warm_up()
    return [engine.segment(frame, index).labels for index, frame in enumerate(frames)][1:]


def measure_engine(
    network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device, precision: str, size: GpuSize
) -> list[dict[str, Any]]:
    """A frame's milliseconds from the host's memory to the host's memory, by the engine as the node runs it.

    Args:
        network: on the CPU; a copy of it is measured.
        frames: of one size, at which they are looked at; the first is the key frame.
        precision: of both tracks. One that the device has not gives a row that says why.
    """
    case = {"model": network.config.name, "size": list(frame_size(frames[0])), "type": precision}
    try:
        rows = _measured_engine(placed_on(network, device, precision, frame_size(frames[0])), frames, device, size)
    except (ParameterError, RuntimeError) as error:  # PyTorch's, as without memory
        return [{**case, "problem": in_one_line(error)}]
    return [{**case, **row} for row in rows]


def _measured_engine(
    placed: SegmentationNetwork, frames: Sequence[Frame], device: torch.device, size: GpuSize
) -> list[dict[str, Any]]:
    slow = WatchedSlowNetwork(placed)
    with begun_engine(slow, placed, frames[0], device) as (engine, slow_track):
        seen = see_frame(placed, frames[0], device, frame_size(frames[0]))

        def turn_of(how: How, slow_work: str) -> Callable[[int], list[float]]:
            def turn(number: int) -> list[float]:
                engine.reset("another turn")
                begin_stream(engine, frames[0])
                engine.policy = AS_SCHEDULED if slow_work == "as scheduled" else NO_KEY_FRAMES
                with (
                    slow.busy(slow_track, seen) if slow_work == "busy" else nullcontext(),
                    nothing_captured() if how == "as it is" else nullcontext(),
                ):
                    results = [
                        engine.segment(frames[index % len(frames)], FIRST_STAMP + (index + 1) * STAMP_STEP)
                        for index in range(size.frames_a_turn)
                    ]
                return [result.milliseconds.total for result in results]

            return turn

        with slow.busy(slow_track, seen):  # its first runs take longer
            while len(slow.runs) < RUNS_TO_WARM_UP:
                time.sleep(0.001)
        cases = {(how, slow_work): turn_of(how, slow_work) for how in WAYS for slow_work in SLOW_TRACK}
        turns = in_turn(cases, size.rounds)
    return [
        {
            "how": how if how != "captured" or not failures() else f"captured, but for {', '.join(failures())}",
            "slow_track": slow_work,
            "latency_ms": spread_mapping(each),
        }
        for (how, slow_work), each in turns.items()
    ]


def measure_overlap(
    network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device, precision: str, count: int
) -> dict[str, Any]:
    """Whether the two tracks' streams run at once, by the GPU's own clock.

    Returns:
        The share of the fast track's time on the device that lies within runs of Sh, and what Sh takes beside the fast
        track and alone; or why the precision cannot be had.
    """
    try:
        placed = placed_on(network, device, precision, frame_size(frames[0]))
    except ParameterError as error:
        return {"type": precision, "problem": str(error)}
    slow = TimedSlowNetwork(placed)
    moments = []
    with begun_engine(slow, placed, frames[0], device) as (engine, slow_track):
        engine.policy = NO_KEY_FRAMES
        seen = see_frame(placed, frames[0], device, frame_size(frames[0]))
        base = now(device)
        with slow.busy(slow_track, seen):
            for number in range(count):
                began = _moment_of(engine, device)
                engine.segment(frames[number % len(frames)], FIRST_STAMP + number + 1)
                moments.append((began, _moment_of(engine, device)))
            engine.forget()  # waits for the stream
        fast, beside = spans_after(base, moments), spans_after(base, slow.moments)
        slow.moments.clear()
        with slow.busy(slow_track, seen):
            time.sleep((fast[-1].ended - fast[0].began) / 1000)
        alone = spans_after(base, slow.moments)
    return {
        "type": precision,
        "fast_frames": count,
        "overlapping_share": rounded(overlapping_share(fast, beside)),
        "sh_ms_beside": spread_mapping([[span.ended - span.began for span in beside]]),
        "sh_ms_alone": spread_mapping([[span.ended - span.began for span in alone]]),
        "spans": {"fast": rounded([list(span) for span in fast]), "slow": rounded([list(span) for span in beside])},
    }


def _moment_of(engine: StreamEngine, device: torch.device) -> Moment:
    with engine.stream.in_use():
        return now(device)


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
        (row["propagation"], row["type"], _equal(row), f"≥ {row['least']:.1%}", "yes" if row["is_met"] else "**no**")
        for row in results["labels"]
    ]
    overlap = [
        (row["type"], f"{row['overlapping_share']:.0%}", *_medians(row["sh_ms_beside"], row["sh_ms_alone"]))
        for row in results["overlap"]
        if "problem" not in row
    ]
    memory = results["memory"]
    return "\n\n".join(
        [
            f"# Latency on {facts['card']}",
            f"`python -m bench.gpu` on {facts['date']}, commit {facts['commit']}, model {facts['model']}, "
            f"PyTorch {facts['torch']}, CUDA {facts['cuda']}, beside {facts['cpu']}. Frames: {results['clip']}.",
            SPREAD_NOTE,
            "## Labels equal to what the CPU makes of the same steps in fp32, in the frame where fewest are",
            table(("propagation", "type", "equal", "tolerated", "met"), labels, texts=3),
            "## Both tracks at once, the paper's model",
            "The share of the fast track's time on the GPU that lies within runs of Sh, by the GPU's clock.",
            table(("type", "at once", "Sh beside, p50", "Sh alone, p50"), overlap),
            "## A frame, host to host, by the stream engine as the node runs it",
            table(
                ("model", "size", "type", "how", "slow track", *SPREAD_HEADINGS),
                [_engine_cells(row) for row in results["engine"]],
                texts=5,
            ),
            f"Memory on the GPU grew by {memory['growth_mebibytes']:.1f} MiB over {memory['frames']} frames, "
            f"to {memory['mebibytes'][-1]:.0f} MiB.",
            "",
        ]
    )


def _medians(*spreads: Mapping[str, Any] | None) -> tuple[str, ...]:
    return tuple("" if spread is None else f"{spread['p50']:.1f}" for spread in spreads)


def _equal(row: Mapping[str, Any]) -> str:
    return f"not run: {row['problem']}" if "problem" in row else f"{row['equal']:.3%}"


def _engine_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    case = row["model"], f"{row['size'][0]}x{row['size'][1]}", row["type"]
    if "problem" in row:
        return (*case, f"not run: {row['problem']}", "", *[""] * len(SPREAD_HEADINGS))
    return (*case, row["how"], row["slow_track"], *spread_cells(row["latency_ms"]))


if __name__ == "__main__":
    sys.exit(main())

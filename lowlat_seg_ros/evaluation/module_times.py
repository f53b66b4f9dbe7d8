"""What each part of the network costs on the CPU, as the paper's table 3 has it.

``python -m lowlat_seg_ros.evaluation.module_times --model default`` prints the table.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.motion import FoundMotion, MotionEstimator, already_found, carry
from lowlat_seg_ros.fast.registry import build_propagation
from lowlat_seg_ros.models.checkpoint import CheckpointError, load_checkpoint
from lowlat_seg_ros.models.config import ConfigError, load_config
from lowlat_seg_ros.models.inference import prepare_for_inference
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork

FULL_NETWORK = "Full network (Sl, Sh, classifier)"
CARRYING = "Optical flow, carried logits"
WARM_UP_ROUNDS = 3
Name = TypeVar("Name")
Size = tuple[int, int]  # (width, height) in pixels


@dataclass(frozen=True)
class ModuleTime:
    """How long one part of the network took, over all rounds. Milliseconds."""

    module: str
    median_ms: float
    p10_ms: float
    p90_ms: float
    share: float  # of the full network's median


def module_calls(network: SegmentationNetwork, size: Size) -> dict[str, Callable[[], object]]:
    """Each row of the table as a call that does its work on one frame of random pixels.

    The schedule and the propagation include their convolutions that reduce the current frame's F_l, in torch, as the
    paper counts; on a frame a runtime computes them together with Sl. The key frame's are kept from its own time.
    """
    width, height = size
    key_image, image = torch.randn(2, 3, height, width).to(memory_format=torch.channels_last).split(1)
    carried = build_propagation("adaptive", network, network)
    find_motion = motion_call(size)
    with torch.inference_mode():
        key, current = network.low_features(key_image), network.low_features(image)
        answer = network.answer(key_image, key.low)
    key_high = network_feature(answer)
    motion = already_found(find_motion()) if carried.needs_motion else None
    key_frame = KeyFrame(SeenFrame(0, 0, key_image, key, motion), answer, is_accurate=True)

    def schedule() -> object:
        guidance = network.deviation_predictor.guidance(current.low)
        return network.predicted_deviation(key, current._replace(deviation_guidance=guidance))

    def propagation() -> object:
        guidance = network.kernel_predictor.guidance(current.low)
        return network.propagate(key_high, key, current._replace(kernel_guidance=guidance)).high

    def carrying() -> object:
        motion = find_motion().motion
        return motion and carry(answer.logits, answer.logits, motion)

    def ordinary_frame() -> object:
        seen = SeenFrame(1, 1, image, network.low_features(image), motion and already_found(find_motion()))
        network.predicted_deviation(key, seen.low)
        return carried.answer(key_frame, seen).logits

    return {
        "Lower part of the network, Sl": lambda: network.low_feature(image),
        "Higher part of the network, Sh": lambda: network.high_features(image, current.low),
        "Classifier": lambda: network.classify(key_high),
        FULL_NETWORK: lambda: network(image),
        "Adaptive schedule (deviation)": schedule,
        "Adaptive propagation": propagation,
        **({CARRYING: carrying} if carried.needs_motion else {}),
        "Non-key frame": ordinary_frame,
    }


def network_feature(answer: Answer) -> Tensor:
    assert answer.feature is not None, "expected a network of ours"
    return answer.feature


def motion_call(size: Size) -> Callable[[], FoundMotion]:
    """The search for the optical flow between two pictures of one scene."""
    estimator = MotionEstimator(size)
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    key_frame = np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    frame = np.ascontiguousarray(np.roll(key_frame, 4, axis=1))
    key_picture = estimator.picture(key_frame)

    def find_motion() -> FoundMotion:
        picture = estimator.picture(frame)
        return FoundMotion(picture, estimator.between(key_picture, picture))

    return find_motion


def measure(
    calls: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[ModuleTime]:
    """Time every call once a round, so that whatever else the machine does meanwhile falls on all of them alike.

    Args:
        calls: what to time, FULL_NETWORK among them.
        rounds: how often, after a few untimed ones.
        clock: seconds.
    """
    milliseconds = round_times(calls, rounds, clock)
    full = float(np.median(milliseconds[FULL_NETWORK]))
    return [_summary(name, samples, full) for name, samples in milliseconds.items()]


def round_times(
    calls: Mapping[Name, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[Name, list[float]]:
    """Milliseconds of each call in every round but the untimed ones; see ``measure``."""
    milliseconds: dict[Name, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for number in range(WARM_UP_ROUNDS + rounds):
            for name, call in calls.items():
                start = clock()
                call()
                if number >= WARM_UP_ROUNDS:
                    milliseconds[name].append(1000 * (clock() - start))
    return milliseconds


def _summary(name: str, milliseconds: list[float], full_network_ms: float) -> ModuleTime:
    p10, median, p90 = (float(value) for value in np.percentile(milliseconds, (10, 50, 90)))
    return ModuleTime(name, median, p10, p90, median / full_network_ms)


def markdown_table(times: Sequence[ModuleTime]) -> str:
    lines = ["| module | ms | p10 to p90 | share |", "|---|---:|---:|---:|"]
    lines += [
        f"| {row.module} | {row.median_ms:.1f} | {row.p10_ms:.1f} to {row.p90_ms:.1f} | {row.share:.1%} |"
        for row in times
    ]
    return "\n".join(lines)


def network_of(model: str) -> SegmentationNetwork:
    """The network to time, ready for inference: a checkpoint's, or a description's (*.yaml) with random weights."""
    if Path(model).suffix in (".yaml", ".yml"):
        return prepare_for_inference(SegmentationNetwork(load_config(model)))
    return load_checkpoint(model)


def size_of(text: str) -> Size:
    """``480x360`` as (480, 360)."""
    if not re.fullmatch("[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected WIDTHxHEIGHT in pixels, as 480x360")
    width, height = map(int, text.split("x"))
    return width, height


def count_of(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,6}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; expected a whole number above 0")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 1 after one sentence on what was wrong."""
    parser = argparse.ArgumentParser(prog="module_times", description="Time the parts of a network on the CPU.")
    parser.add_argument(
        "--model", default="default", help="a shipped name, a checkpoint's folder, or a description.yaml"
    )
    parser.add_argument("--size", type=size_of, help="WIDTHxHEIGHT in pixels; the default is the model's own")
    parser.add_argument("--threads", type=count_of, default=torch.get_num_threads(), help="of PyTorch")
    parser.add_argument("--rounds", type=count_of, default=30, help="how often each part is timed")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args(arguments)
    try:
        print_module_times(options)
    except (CheckpointError, ConfigError, OSError) as error:
        print(f"module_times: {error}", file=sys.stderr)
        return 1
    return 0


def print_module_times(options: argparse.Namespace) -> None:
    network = network_of(options.model)
    width, height = size = options.size or network.config.input_size
    torch.set_num_threads(options.threads)
    times = measure(module_calls(network, size), options.rounds)
    print(f"{options.model}, {width}x{height}, {options.threads} threads, median of {options.rounds} rounds\n")
    print(markdown_table(times))
    if options.json:
        setting = {"model": options.model, "size": size, "threads": options.threads, "rounds": options.rounds}
        figures = {**setting, "modules": [asdict(row) for row in times]}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

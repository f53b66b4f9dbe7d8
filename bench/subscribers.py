"""What each subscriber costs a frame: confidence, colours, overlays.

scripts/with_ros python -m bench.subscribers --size 1280 720
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bench.clip import first_frames, measured_clip
from lowlat_seg_ros.data.drawing import colourise, overlay
from lowlat_seg_ros.evaluation.module_times import Size, round_times
from lowlat_seg_ros.evaluation.report_text import table
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.steady_memory import prepare_for_timing
from lowlat_seg_ros.runtime.threads import thread_counts
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack

FRAMES: Final = 12
KEY_INTERVAL: Final = 5
OPACITY: Final = 0.5


def labelled(network: SegmentationNetwork, size: Size) -> tuple[NDArray[np.uint8], SegmentationResult]:
    """A frame (RGB) between key frames, and what the engine says of it."""
    clip = measured_clip()
    engine = StreamEngine(network, InlineSlowTrack(network, 1), FixedInterval(KEY_INTERVAL))
    try:
        for number, frame in enumerate(first_frames(clip, FRAMES)):
            enlarged = np.asarray(cv2.resize(frame, size), np.uint8)
            result = engine.segment(enlarged, round(number * 1e9 / clip.rate_hz))
    finally:
        engine.close()
    assert result.evidence is not None
    return enlarged, result


def costs(
    frame: NDArray[np.uint8], result: SegmentationResult, network: SegmentationNetwork
) -> dict[str, Callable[[], object]]:
    """What the node does for a subscriber of each topic, without the sending."""
    assert result.evidence is not None
    evidence, colours = result.evidence, list(network.config.colours)
    bgr = [colour[::-1] for colour in colours]

    def anew() -> SegmentationResult:
        return replace(result, evidence=replace(evidence))  # an evidence keeps what it has worked out

    def overlaid() -> NDArray[np.uint8]:
        picture = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), np.uint8)
        return overlay(picture, result.labels, bgr, OPACITY)

    return {
        "~/keyframe": lambda: anew().mean_confidence,
        "~/confidence": lambda: anew().confidence,
        "~/color": lambda: colourise(result.labels, colours),
        "~/overlay": overlaid,
        "~/overlay/compressed": lambda: cv2.imencode(".jpg", overlaid()),
    }


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.subscribers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--rounds", type=int, default=51)
    options = parser.parse_args()
    prepare_for_timing()
    threads = thread_counts(0, 0).fast
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    network = load_checkpoint("default")
    frame, result = labelled(network, (options.size[0], options.size[1]))
    times = round_times(costs(frame, result, network), options.rounds)
    figures = [[name, *(f"{value:.2f}" for value in np.percentile(own, (50, 10, 90)))] for name, own in times.items()]
    print(f"{options.size[0]}x{options.size[1]}, {threads} threads, {options.rounds} rounds in turn, milliseconds:\n")
    print("\n".join(table(["for a subscriber of", "median", "p10", "p90"], figures)))
    print("\n~/keyframe and ~/confidence together cost what ~/confidence does.")


if __name__ == "__main__":
    main()

"""What carried logits are worth where nothing was chosen by it: two tracks with and without them.

    .venv/bin/python -m bench.carrying --video ../shared/clips/highway_960x540_25hz.mp4

On the synthetic street, whose labels are known, and on a video, where what the full network sees in each frame stands
for them. Deterministic: the slow track is late by counted frames. Some minutes.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from lowlat_seg_ros.data.camvid import LabelledImage
from lowlat_seg_ros.data.clips import STREET, ClipError, open_clip
from lowlat_seg_ros.data.synthetic_street import SyntheticStreet
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.rows import Row, TrackSettings, evaluate_rows
from lowlat_seg_ros.network.checkpoint import load_checkpoint
from lowlat_seg_ros.network.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.labelling import label_image
from lowlat_seg_ros.stream.preprocessing import Preprocessor, frame_size

SETTINGS = TrackSettings(interval=5, threshold=0.125, minimum_interval=4, maximum_interval=8, delay_frames=(1, 2, 3))


def street(frame_count: int) -> list[LabelledImage]:
    scenes = SyntheticStreet(frame_count=frame_count)
    return [scenes[index] for index in range(frame_count)]


@torch.inference_mode()
def labelled_by(network: SegmentationNetwork, path: str, frame_count: int) -> list[LabelledImage]:
    """The first frames of a video with the full network's labels."""
    config = network.config
    preprocess = Preprocessor(config.input_size, config.mean, config.std, torch.device("cpu"))

    def labels(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return label_image(network(preprocess(frame)), config.input_size, frame_size(frame))

    frames = itertools.islice(open_clip(path).frames(), frame_count)
    return [LabelledImage(f"frame {index}", frame, labels(frame)) for index, frame in enumerate(frames)]


def compared(network: SegmentationNetwork, frames: list[LabelledImage]) -> Iterator[tuple[Row, Row]]:
    """Each two-track row without and with carried logits."""
    rows = []
    for carrying in ("none", "optical_flow"):
        network.config = replace(network.config, carrying=carrying)
        rows.append(evaluate_rows(EvaluatedClip(network, frames), ("fixed", "low-latency"), SETTINGS))
    return zip(*rows, strict=True)


def table(title: str, rows: Iterator[tuple[Row, Row]]) -> str:
    lines = [
        f"| {title} | mIoU without | with | PA without | with | consistency without | with |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for without, with_carrying in rows:
        figures = [
            f"{figure(row):.4f}"
            for figure in (
                lambda row: row.mean_iou,
                lambda row: row.pixel_accuracy,
                lambda row: row.temporal_consistency,
            )
            for row in (without, with_carrying)
        ]
        lines.append(f"| {without.name} | {' | '.join(figures)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Two tracks with and without carried logits.")
    parser.add_argument("--video", help="or a folder of pictures")
    parser.add_argument("--frames", type=int, default=60, help="of each clip")
    options = parser.parse_args(arguments)
    network = load_checkpoint("default")
    try:
        clips = {STREET: street(options.frames)}
        if options.video:
            clips[options.video] = labelled_by(network, options.video, options.frames)
    except ClipError as error:
        print(f"bench.carrying: {error}", file=sys.stderr)
        return 1
    for title, frames in clips.items():
        print(f"{table(title, compared(network, frames))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

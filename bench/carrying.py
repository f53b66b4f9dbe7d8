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

from bench.markdown import table
from lowlat_seg_ros.data.camvid import LabelledImage
from lowlat_seg_ros.data.clips import STREET, ClipError, open_clip
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.per_frame_network import PerFrameNetwork
from lowlat_seg_ros.evaluation.rows import Row, TrackSettings, evaluate_rows
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.replay.settings import DEFAULT_THRESHOLDS, PolicySettings
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

NODE = PolicySettings()
SETTINGS = TrackSettings(
    interval=NODE.interval,
    threshold=DEFAULT_THRESHOLDS[NODE.name],
    minimum_interval=NODE.minimum_interval,
    maximum_interval=NODE.maximum_interval,
    delay_frames=(1, 2, 3),
)
HEADINGS = ("mIoU without", "with", "PA without", "with", "consistency without", "with")


def street(frame_count: int) -> list[LabelledImage]:
    scenes = SyntheticStreet(frame_count=frame_count)
    return [scenes[index] for index in range(frame_count)]


def labelled_by(network: SegmentationNetwork, path: str, frame_count: int) -> list[LabelledImage]:
    """The first frames of a video with the full network's labels."""
    labels = PerFrameNetwork(network)
    frames = itertools.islice(open_clip(path).frames(), frame_count)
    return [LabelledImage(f"frame {index}", frame, labels(frame)) for index, frame in enumerate(frames)]


def compared(network: SegmentationNetwork, frames: list[LabelledImage]) -> Iterator[tuple[Row, Row]]:
    """Each two-track row without and with carried logits."""
    rows = []
    for carrying in ("none", "optical_flow"):
        network.config = replace(network.config, carrying=carrying)
        rows.append(evaluate_rows(EvaluatedClip(network, frames), ("fixed", "low-latency"), SETTINGS))
    return zip(*rows, strict=True)


def score_table(title: str, rows: Iterator[tuple[Row, Row]]) -> str:
    return table((title, *HEADINGS), [(pair[0].name, *figures(pair)) for pair in rows])


def figures(pair: tuple[Row, Row]) -> Iterator[str]:
    for name in ("mean_iou", "pixel_accuracy", "temporal_consistency"):
        for row in pair:
            yield f"{getattr(row, name):.4f}"


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
        print(f"{score_table(title, compared(network, frames))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A picture of what is lost: a network on every frame, two tracks that carry its labels, and where they differ.

    .venv/bin/python -m bench.two_tracks_picture [--model MODEL] [--frames FRAMES] [--frame N] [--out FILE]

`docs/any_network.md` shows that of the synthetic street and the shipped network, treated as a stranger.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bench.environment import CHECKOUT
from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.camvid import LabelledImage
from lowlat_seg_ros.data.clips import STREET, open_clip
from lowlat_seg_ros.data.drawing import legend, overlay
from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.rows import TrackSettings, in_engine
from lowlat_seg_ros.fast.pictures import frame_size, unlabelled_image
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.key_frames import DEFAULT_POLICY
from lowlat_seg_ros.stream.networks import load_networks

OUT: Final = CHECKOUT / "docs" / "two_tracks.webp"
WIDTH: Final = 400  # of each of the three
QUALITY: Final = 80  # of the WebP
DIFFERENT: Final = (230, 30, 30)
FADED: Final = 0.35  # of the frame's brightness where the labels are the same

Picture = NDArray[np.uint8]


@torch.inference_mode()
def two_tracks_picture(model: str, frames: str, index: int, delay_frames: int) -> Picture:
    """Of the frame of that index, answers having come ``delay_frames`` late until then: (h, 3 WIDTH, 3) RGB.

    Raises:
        Error: the model or the frames cannot be used, or there is no such frame.
    """
    networks = load_networks(model, "default", torch.device("cpu"))
    if not isinstance(networks.fast, SegmentationNetwork):
        raise Error(f"the fast track of {model} is no checkpoint's; expected one of those")
    pictures = itertools.islice(open_clip(frames).frames(), index + 1)
    unlabelled = (LabelledImage(frames, picture, unlabelled_image(frame_size(picture))) for picture in pictures)
    clip = EvaluatedClip(networks.fast, unlabelled, slow=networks.slow)
    if len(clip) <= index:
        raise Error(f"{frames} has {len(clip)} frames; expected frame {index} among them")
    settings = TrackSettings(1, DEFAULT_POLICY, (delay_frames,))
    label = in_engine(clip, settings, DEFAULT_POLICY, delay_frames=delay_frames)
    labels = [label(frame).labels for frame in clip.frames][-1]
    return _drawn(clip.frames[-1].image, clip.full_labels(index), labels, networks.slow.classes, networks.slow.colours)


def _drawn(
    frame: Picture, full: Picture, carried: Picture, classes: Sequence[str], colours: Sequence[tuple[int, int, int]]
) -> Picture:
    different = full != carried
    faded = (FADED * frame).astype(np.uint8)
    faded[different] = DIFFERENT
    height = round(frame.shape[0] * WIDTH / frame.shape[1])
    panels = [overlay(frame, full, colours, 0.55), overlay(frame, carried, colours, 0.55), faded]
    small = [cv2.resize(panel, (WIDTH, height), interpolation=cv2.INTER_AREA) for panel in panels]
    shown = [label for label in range(len(classes)) if label in full or label in carried]
    names = legend([classes[label] for label in shown], [colours[label] for label in shown], 3 * WIDTH, text_height=12)
    return np.vstack([np.hstack(small), names]).astype(np.uint8, copy=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 after one sentence on what was wrong."""
    parser = argparse.ArgumentParser(prog="bench.two_tracks_picture", description="What two tracks lose of a network.")
    parser.add_argument("--model", default="default", help="as of lowlat-seg evaluate (default: the shipped one)")
    parser.add_argument("--frames", default=STREET, help="folder, video or the word street (default)")
    parser.add_argument("--frame", type=int, default=60, metavar="N", help="which is drawn, from 0 (default: 60)")
    parser.add_argument("--delay-frames", type=int, default=3, metavar="N", help="that answers come late (default: 3)")
    parser.add_argument("--out", type=Path, default=OUT, help="file (default: docs/two_tracks.webp)")
    options = parser.parse_args(arguments)
    try:
        picture = two_tracks_picture(options.model, options.frames, options.frame, options.delay_frames)
        quality = [cv2.IMWRITE_WEBP_QUALITY, QUALITY]
        written, content = cv2.imencode(options.out.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
        atomic_write(options.out, content.tobytes())
    except (Error, OSError, cv2.error) as error:
        print(f"bench.two_tracks_picture: {error}", file=sys.stderr)
        return 1
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())

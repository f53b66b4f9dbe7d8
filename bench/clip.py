"""The clip that is measured on: CamVid's where it lies beside the checkout, else the synthetic street."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.environment import CAMVID
from lowlat_seg_ros.data.clips import Clip, open_clip
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

Frame = NDArray[np.uint8]


def measured_clip() -> Clip:
    return open_clip(CAMVID) if CAMVID.is_dir() else SyntheticStreet()


def name_of(clip: Clip) -> str:
    """The clip in words, for the results."""
    kind = "the synthetic street" if isinstance(clip, SyntheticStreet) else "CamVid's labelled clip"
    return f"{kind}, {clip.size[0]}x{clip.size[1]} at {clip.rate_hz:g} Hz"


def first_frames(clip: Clip, count: int) -> list[Frame]:
    """Frames of the clip, from the beginning again where it is too short."""
    frames = list(itertools.islice(clip.frames(), count))
    return [frames[number % len(frames)] for number in range(count)]


def write_clip(frames: list[Frame], size: tuple[int, int], folder: Path) -> Path:
    """A folder of these frames, enlarged to ``size`` (width, height), for a camera to play."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        enlarged = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
        cv2.imwrite(str(folder / f"{number:03d}.bmp"), cv2.cvtColor(enlarged, cv2.COLOR_RGB2BGR))
    return folder

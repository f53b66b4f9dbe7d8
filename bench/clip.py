"""The clip that is measured on, and its pace: CamVid's where it lies beside the checkout, else the synthetic street."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.environment import CAMVID
from lowlat_seg_ros.data.clips import Clip, open_clip
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

Frame = NDArray[np.uint8]
NANOSECONDS_A_SECOND = 1_000_000_000


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


def sleep_nanoseconds(duration: int) -> None:
    time.sleep(duration / NANOSECONDS_A_SECOND)


class DueFrame(NamedTuple):
    """A frame of the clip, and when it was due on the pacer's clock, in nanoseconds."""

    number: int
    due: int


@dataclass
class Pacer:
    """Hands out the frames of a clip as a camera with a queue of one image does.

    Frame i is due i periods after the first. Whoever asks early waits; whoever asks late gets the newest frame that is
    due, and the ones between are counted as skipped.
    """

    period: int  # nanoseconds
    count: int  # frames of the clip
    clock: Callable[[], int] = time.monotonic_ns
    sleep: Callable[[int], None] = sleep_nanoseconds
    skipped: int = 0

    def __iter__(self) -> Iterator[DueFrame]:
        start = self.clock()
        following = 0
        while following < self.count:
            newest = min((self.clock() - start) // self.period, self.count - 1)
            index = max(following, newest)
            self.skipped += index - following
            due = start + index * self.period
            while (early := due - self.clock()) > 0:
                self.sleep(early)
            yield DueFrame(index, due)
            following = index + 1

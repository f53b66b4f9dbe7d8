"""What ``lowlat-seg label`` can be given, opened: frames with their stamps and the names of their label images."""

from __future__ import annotations

import glob
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.clips import (
    FOLDER_RATE_HZ,
    STREET,
    VIDEO_SUFFIXES,
    Clip,
    Pictures,
    is_picture,
    natural_order,
    open_clip,
    require_rate,
)
from lowlat_seg_ros.data.folders import IMAGE_SUFFIXES
from lowlat_seg_ros.data.problems import Problems
from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.replay.bag_files import STORAGE_SUFFIXES, is_bag
from lowlat_seg_ros.replay.bags import Bag, open_bag

LONGEST_CAMERA_NUMBER = 4  # digits; a longer number is a name that was mistyped


class InputError(Error):
    """What was given to be labelled cannot be; the message says what was expected."""


class NamedFrame(NamedTuple):
    """One frame that is to be labelled."""

    name: str  # of its label image, relative to the folder of these and without the suffix
    stamp_ns: int
    image: NDArray[np.uint8]  # (H, W, 3) RGB


class LabelInput(Protocol):
    """Frames to be labelled, of one camera."""

    title: str
    rate_hz: float
    count: int | None  # of frames, for a progress bar; None where nobody knows
    is_live: bool
    are_stills: bool  # pictures that have nothing to do with each other

    def frames(self) -> Generator[NamedFrame, None, None]: ...

    def problems(self) -> list[str]:
        """What was wrong with it, a sentence each, once its frames were read."""


def open_inputs(text: str, *, rate_hz: float | None, topic: str | None, stills: bool) -> list[LabelInput]:
    """One input, or several videos that a glob names.

    Raises:
        Error: there is nothing of that name, or it is none of what can be labelled.
    """
    if not text:
        raise InputError(
            "the name of the input is empty; expected a video, a folder, a glob, a bag or a camera's number"
        )
    require_rate(rate_hz)
    path = Path(text)
    if topic is not None or is_bag(path):
        if rate_hz is not None or stills:
            raise InputError(
                f"{text} is a bag, whose stamps say when its frames were taken; expected no --rate and no --stills"
            )
        return [BagInput(open_bag(path), topic)]
    if text.isdecimal() and len(text) <= LONGEST_CAMERA_NUMBER and not path.exists():
        return [CameraInput(int(text), rate_hz)]
    if glob.has_magic(text) and not path.exists():
        return _matched(text, rate_hz, stills)
    if is_picture(path):
        return [ClipInput(Pictures([path], path.name, rate_hz, is_video=False), are_stills=True)]
    if path.is_file() and path.suffix.lower() not in VIDEO_SUFFIXES:
        raise InputError(
            f"{path} is no picture, video or bag by its name; expected one that ends in "
            f"{' '.join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES | {*STORAGE_SUFFIXES}))}"
        )
    return [ClipInput(open_clip(text if text == STREET else path, rate_hz=rate_hz, is_video=not stills), stills)]


def _matched(pattern: str, rate_hz: float | None, stills: bool) -> list[LabelInput]:
    matches = dict.fromkeys(glob.glob(pattern, recursive=True))  # `**/**` matches a path twice
    paths = sorted(map(Path, matches), key=_by_folder)
    paths = [path for path in paths if path.is_file()]
    pictures = [path for path in paths if is_picture(path)]
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    if pictures and videos:
        raise InputError(f"{pattern} matches pictures and videos, {pictures[0]} and {videos[0]}; expected one kind")
    problems = Problems()
    taken = set(pictures or videos)
    for path in (path for path in paths if path not in taken):
        problems.add("others", f"{pattern} matches files that are no {'pictures' if pictures else 'videos'}", path)
    if pictures:
        return [ClipInput(Pictures(pictures, pattern, rate_hz, not stills, problems), stills)]
    if not videos:
        others = f", but {len(paths)} other file{'s' * (len(paths) > 1)}, {paths[0]} first" if paths else ""
        raise InputError(f"{pattern} matches no picture and no video{others}")
    inputs = [ClipInput(open_clip(video, rate_hz=rate_hz), stills) for video in videos]
    inputs[0].clip.problems.include(problems)
    return [*inputs]


def _by_folder(path: Path) -> tuple[str, tuple[list[str | int], str]]:
    return str(path.parent), natural_order(path)


@dataclass
class ClipInput:
    """A video, pictures in their order, or the synthetic street; the label images of pictures have their names."""

    clip: Clip
    are_stills: bool
    is_live = False

    def __post_init__(self) -> None:
        self.title = self.clip.name
        self.rate_hz = self.clip.rate_hz
        self.count: int | None = self.clip.frame_count
        self._names = _label_names(self.clip.pictures) if isinstance(self.clip, Pictures) else None

    def frames(self) -> Generator[NamedFrame, None, None]:
        for number, (time_ns, image) in enumerate(self.clip.timed_frames()):
            yield NamedFrame(_numbered(number) if self._names is None else self._names[number], time_ns, image)

    def problems(self) -> list[str]:
        return self.clip.problems.report_lines()


def _label_names(pictures: Sequence[Path]) -> list[str]:
    """The pictures' names, with as many folders before them and, if need be, suffixes after them as tell them apart."""
    absolute = [path.absolute() for path in pictures]
    stems = [path.stem for path in absolute]
    if len(set(stems)) == len(stems):
        return stems
    parts = [path.parts for path in absolute]
    shared = next(depth for depth, names in enumerate(zip(*parts, strict=False)) if len(set(names)) > 1)
    relative = [Path(*path.parts[shared:]) for path in absolute]
    names = [str(path.with_suffix("")) for path in relative]
    return names if len(set(names)) == len(names) else [str(path) for path in relative]


@dataclass
class BagInput:
    """A camera's topic in a bag."""

    bag: Bag
    topic: str | None
    is_live = False
    are_stills = False

    def __post_init__(self) -> None:
        self._left_out = Problems()
        self._camera = self.bag.choose_camera(self.topic)
        summary = self.bag.camera_summary(self._camera)
        self.title = f"{self.bag.name} {self._camera}"
        self.rate_hz = summary.rate_hz or FOLDER_RATE_HZ
        self.count: int | None = summary.frame_count

    def frames(self) -> Generator[NamedFrame, None, None]:
        taken = 0
        with self.bag:
            for number, frame in enumerate(self.bag.frames(self._camera)):
                yield NamedFrame(_numbered(number), frame.stamp, frame.image)
                taken += 1
        every = next(topic.message_count for topic in self.bag.topics if topic.name == self._camera)
        self._left_out.leave_out(f"messages on {self._camera}", every - taken, every)

    def problems(self) -> list[str]:
        return [*self.bag.problems, *self._left_out.report_lines()]


class CameraInput:
    """A camera of this computer, by its number, until it ends or Ctrl-C."""

    is_live = True
    are_stills = False
    count: int | None = None

    def __init__(self, index: int, rate_hz: float | None) -> None:
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise InputError(
                f"there is no camera {index} that can be opened, and no file of that name; expected a video, a folder, "
                "a glob, a bag or a camera's number, 0 for the first"
            )
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self.title = f"camera {index}"
        self.rate_hz = rate_hz or self._capture.get(cv2.CAP_PROP_FPS) or 30.0

    def frames(self) -> Generator[NamedFrame, None, None]:
        number = 0
        try:
            while (read := self._capture.read())[0]:
                image = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
                yield NamedFrame(_numbered(number), time.time_ns(), image)
                number += 1
        finally:
            self._capture.release()

    def problems(self) -> list[str]:
        return []


def _numbered(number: int) -> str:
    return f"{number:06d}"

"""What ``lowlat-seg label`` can be given, opened: frames with their stamps and the names of their label images."""

from __future__ import annotations

import glob
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.clips import (
    FOLDER_RATE_HZ,
    IMAGE_SUFFIXES,
    STREET,
    VIDEO_SUFFIXES,
    Clip,
    PictureFolder,
    natural_order,
    open_clip,
)
from lowlat_seg_ros.data.image_file import read_rgb
from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.replay.bag_files import METADATA, STORAGE_SUFFIXES
from lowlat_seg_ros.replay.bags import Bag, open_bag

NANOSECONDS_A_SECOND = 1e9


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
    path = Path(text)
    if topic is not None or _is_bag(path):
        return [BagInput(open_bag(path), topic)]
    if text.isdecimal() and not path.exists():
        return [CameraInput(int(text), rate_hz)]
    if glob.has_magic(text) and not path.exists():
        return _matched(text, rate_hz, stills)
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        return [PicturesInput(path.name, [path], rate_hz, are_stills=True)]
    if path.is_file() and path.suffix.lower() not in VIDEO_SUFFIXES:
        raise InputError(
            f"{path} is no picture, video or bag by its name; expected one that ends in "
            f"{' '.join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES | {*STORAGE_SUFFIXES}))}"
        )
    clip = open_clip(text if text == STREET else path, rate_hz=rate_hz)
    if isinstance(clip, PictureFolder):
        return [PicturesInput(clip.name, clip.pictures, rate_hz, stills)]
    return [ClipInput(clip, stills)]


def _is_bag(path: Path) -> bool:
    if path.is_dir():
        return (path / METADATA).is_file() or any(file.name.endswith(STORAGE_SUFFIXES) for file in path.iterdir())
    return path.name.endswith(STORAGE_SUFFIXES)


def _matched(pattern: str, rate_hz: float | None, stills: bool) -> list[LabelInput]:
    paths = sorted((Path(match) for match in glob.glob(pattern, recursive=True)), key=_by_folder)
    paths = [path for path in paths if path.is_file()]
    pictures = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    if pictures and videos:
        raise InputError(f"{pattern} matches pictures and videos, {pictures[0]} and {videos[0]}; expected one kind")
    if pictures:
        return [PicturesInput(pattern, pictures, rate_hz, stills)]
    if not videos:
        others = f", but {len(paths)} other file{'s' * (len(paths) > 1)}, {paths[0]} first" if paths else ""
        raise InputError(f"{pattern} matches no picture and no video{others}")
    return [ClipInput(open_clip(video, rate_hz=rate_hz), stills) for video in videos]


def _by_folder(path: Path) -> tuple[str, tuple[list[str | int], str]]:
    return str(path.parent), natural_order(path)


@dataclass
class ClipInput:
    """A video, or the synthetic street."""

    clip: Clip
    are_stills: bool
    is_live = False

    def __post_init__(self) -> None:
        self.title = self.clip.name
        self.rate_hz = self.clip.rate_hz
        self.count: int | None = self.clip.frame_count

    def frames(self) -> Generator[NamedFrame, None, None]:
        for number, image in enumerate(self.clip.frames()):
            yield NamedFrame(_numbered(number), round(number * NANOSECONDS_A_SECOND / self.rate_hz), image)

    def problems(self) -> list[str]:
        return []


class PicturesInput:
    """Pictures in their order; their label images have their names."""

    is_live = False

    def __init__(self, title: str, pictures: Sequence[Path], rate_hz: float | None, are_stills: bool) -> None:
        self.title = title
        self.rate_hz = rate_hz or FOLDER_RATE_HZ
        self.count: int | None = len(pictures)
        self.are_stills = are_stills
        self._named = dict(zip(_label_names(pictures), pictures, strict=True))

    def frames(self) -> Generator[NamedFrame, None, None]:
        first: tuple[Path, tuple[int, ...]] | None = None
        for number, (name, path) in enumerate(self._named.items()):
            image = read_rgb(path)
            first = first or (path, image.shape)
            if image.shape != first[1] and not self.are_stills:
                raise InputError(
                    f"the picture {path} is {image.shape[1]} x {image.shape[0]} and {first[0]} is {first[1][1]} x "
                    f"{first[1][0]}; expected one camera's frames, or --stills for pictures of several"
                )
            yield NamedFrame(name, round(number * NANOSECONDS_A_SECOND / self.rate_hz), image)

    def problems(self) -> list[str]:
        return []


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
    found: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._camera = self.bag.choose_camera(self.topic)
        summary = self.bag.camera_summary(self._camera)
        self.title = f"{self.bag.name} {self._camera}"
        self.rate_hz = summary.rate_hz or FOLDER_RATE_HZ
        self.count: int | None = summary.frame_count

    def frames(self) -> Generator[NamedFrame, None, None]:
        with self.bag:
            for number, frame in enumerate(self.bag.frames(self._camera)):
                yield NamedFrame(_numbered(number), frame.stamp, frame.image)

    def problems(self) -> list[str]:
        return self.bag.problems


class CameraInput:
    """A camera of this computer, by its number, until it ends or Ctrl-C."""

    is_live = True
    are_stills = False
    count: int | None = None

    def __init__(self, index: int, rate_hz: float | None) -> None:
        cv2.setLogLevel(0)  # else its own warnings surround the one sentence given here
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

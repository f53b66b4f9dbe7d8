"""Clips: what a camera would have delivered, from a video, a folder of pictures or the synthetic street.

A clip holds no frame and no open file. Every call of `frames()` starts again at the first frame or the one asked for,
reads one frame at a time, and closes what it opened when it is exhausted or the iterator is closed.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.image_file import ImageFileError, read_rgb
from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

STREET: Final = "street"
"""The word that opens the synthetic street; a folder of that name is opened as `./street`."""

FOLDER_RATE_HZ: Final = 15.0
"""The rate of a folder of pictures unless told otherwise: CamVid's labelled clip was taken at 15 Hz."""

IMAGE_SUFFIXES: Final = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

VIDEO_SUFFIXES: Final = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"}
)
"""Files are told apart by suffix because FFmpeg would play a text file as a film of its letters."""

HIGHEST_RATE_HZ: Final = 500.0
"""A video that claims more reports its time base (1000, 90000), not its rate."""

# FFmpeg's own words about a damaged file would surround the one sentence given here; whoever wants them sets this.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class ClipError(Error):
    """A clip that cannot be played; the message is one sentence that names the file and what was expected."""


class Clip(Protocol):
    """Frames of one camera: all of one size, at a steady rate."""

    @property
    def name(self) -> str:
        """What to call the clip in a title: a file's or folder's name."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of every frame, in pixels."""

    @property
    def rate_hz(self) -> float:
        """Frames a second."""

    @property
    def frame_count(self) -> int:
        """How many frames there are; a video's header may be a few off."""

    def frames(self, first: int = 0) -> Generator[NDArray[np.uint8], None, None]:
        """Yield every frame from number `first` on as (H, W, 3) uint8 RGB; raises ClipError at a damaged one."""


def open_clip(path: str | Path, *, rate_hz: float | None = None) -> Clip:
    """Open a folder of pictures (in natural order of their names), a video file, or, by the word `street`, the street.

    `rate_hz` replaces the clip's own rate. The first frame is read at once, so that what is no clip fails here: raises
    ClipError for a missing path, a folder without pictures, a picture or video that cannot be read, a video that
    reports no rate.
    """
    if rate_hz is not None and not _is_rate(rate_hz):
        raise ClipError(f"The rate of a clip must be more than 0 and at most {HIGHEST_RATE_HZ:g} Hz, not {rate_hz:g}.")
    if path == STREET:
        return SyntheticStreet(rate_hz=rate_hz or FOLDER_RATE_HZ)
    path = Path(path)
    if path.is_dir():
        return PictureFolder(path, rate_hz)
    if not path.exists():
        raise ClipError(f"The clip {path} does not exist; give a folder of pictures, a video, or the word street.")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise ClipError(f"{path} is a single picture; give the folder it is in.")
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise ClipError(
            f"{path} is no clip; give a folder of pictures or a video ({' '.join(sorted(VIDEO_SUFFIXES))})."
        )
    return Video(path, rate_hz)


class PictureFolder:
    """A folder of pictures as a clip: natural order of names (2 before 10), hidden files and other kinds left out.

    All pictures must have the first one's size, as one camera's have; a picture of another size is a ClipError when
    its turn comes (all are not decoded twice to find out earlier).
    """

    def __init__(self, folder: Path, rate_hz: float | None = None) -> None:
        try:
            self.pictures = tuple(sorted(filter(is_picture, folder.iterdir()), key=natural_order))
        except OSError as error:
            raise ClipError(f"The folder {folder} cannot be listed: {error.strerror}.") from error
        if not self.pictures:
            raise ClipError(f"The folder {folder} holds no pictures ({' '.join(sorted(IMAGE_SUFFIXES))}).")
        self.name = folder.resolve().name
        self.rate_hz = rate_hz or FOLDER_RATE_HZ
        self.frame_count = len(self.pictures)
        self.size = _size(_read_picture(self.pictures[0]))

    def frames(self, first: int = 0) -> Generator[NDArray[np.uint8], None, None]:
        """Yield every picture from number `first` on as (H, W, 3) uint8 RGB."""
        for picture in self.pictures[first:]:
            frame = _read_picture(picture)
            if _size(frame) != self.size:
                sizes = f"{_in_words(_size(frame))} but the clip began with {_in_words(self.size)}"
                raise ClipError(f"The picture {picture} is {sizes}.")
            yield frame


class Video:
    """A video file as a clip, at the rate it reports or at `rate_hz`."""

    def __init__(self, path: Path, rate_hz: float | None = None) -> None:
        self.path = path
        self.name = path.name
        capture = self._open()
        try:
            self.frame_count = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
            reported_rate_hz = capture.get(cv2.CAP_PROP_FPS)
            first = _next_frame(capture)
        finally:
            capture.release()
        if first is None:
            raise ClipError(f"The video {path} holds no frame that can be decoded.")
        self.size = _size(first)
        if rate_hz is None and not _is_rate(reported_rate_hz):
            raise ClipError(f"The video {path} reports no frame rate ({reported_rate_hz:g} Hz); give its rate in Hz.")
        self.rate_hz = rate_hz or reported_rate_hz

    def frames(self, first: int = 0) -> Generator[NDArray[np.uint8], None, None]:
        """Yield every frame from number `first` on as (H, W, 3) uint8 RGB; ClipError at the end of one cut short."""
        capture = self._open_at(first)
        decoded = first
        try:
            while (frame := _next_frame(capture)) is not None:
                decoded += 1
                yield frame
        finally:
            capture.release()
        # A header's count is often a few off, and wrong by more only where the rest of the file is missing or damaged.
        if self.frame_count - decoded > max(2, self.frame_count // 10):
            raise ClipError(f"The video {self.path} is cut short: {decoded} of its {self.frame_count} frames decode.")

    def _open(self) -> cv2.VideoCapture:
        # Any other backend of OpenCV would take a file name with a number in it for a series of pictures.
        capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise ClipError(f"The video {self.path} cannot be opened: it is damaged, cut short or not a video.")
        return capture

    def _open_at(self, first: int) -> cv2.VideoCapture:
        """The video with frame `first` as the next one, or at its end if it is shorter."""
        capture = self._open()
        if first == 0:
            return capture
        # Quick: FFmpeg decodes on from the last frame before it that can be decoded alone. Not every file allows it.
        if capture.set(cv2.CAP_PROP_POS_FRAMES, first) and capture.get(cv2.CAP_PROP_POS_FRAMES) == first:
            return capture
        capture.release()
        capture = self._open()
        for _ in range(first):
            if not capture.grab():
                break
        return capture


def _next_frame(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    decoded, frame = capture.read()
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False) if decoded else None


def _read_picture(path: Path) -> NDArray[np.uint8]:
    try:
        return read_rgb(path)
    except ImageFileError as error:
        raise ClipError(str(error)) from error


def is_picture(path: Path) -> bool:
    """Whether a file is one that a folder of pictures would show."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def natural_order(path: Path) -> list[str | int]:
    """Sort files by this as people number them: 2 before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def _is_rate(rate_hz: float) -> bool:
    return math.isfinite(rate_hz) and 0 < rate_hz <= HIGHEST_RATE_HZ


def _size(frame: NDArray[np.uint8]) -> tuple[int, int]:
    return frame.shape[1], frame.shape[0]


def _in_words(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"

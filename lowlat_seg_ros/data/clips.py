"""Clips: what a camera would have delivered, from a video, a folder of pictures or the synthetic street.

A clip holds no frame and no open file. Every call of `frames()` starts again at the first frame or the one asked for,
reads one frame at a time, and closes what it opened when it is exhausted or the iterator is closed.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.camvid import size_of
from lowlat_seg_ros.data.folders import IMAGE_SUFFIXES, is_picture, natural_order, pictures_in
from lowlat_seg_ros.data.image_file import ImageFileError, read_rgb
from lowlat_seg_ros.data.problems import DataError, Problems
from lowlat_seg_ros.data.timed_frame import NANOSECONDS_A_SECOND, TimedFrame
from lowlat_seg_ros.data.videos import HIGHEST_RATE_HZ, VIDEO_SUFFIXES, ClipError, Video, is_rate
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

__all__ = [
    "FOLDER_RATE_HZ",
    "STREET",
    "VIDEO_SUFFIXES",
    "Clip",
    "ClipError",
    "PictureFolder",
    "Pictures",
    "Video",
    "is_picture",
    "natural_order",
    "open_clip",
]

STREET: Final = "street"
"""The word that opens the synthetic street; a folder of that name is opened as `./street`."""

FOLDER_RATE_HZ: Final = 15.0
"""The rate of a folder of pictures unless told otherwise: CamVid's labelled clip was taken at 15 Hz."""


class Clip(Protocol):
    """Frames of one camera, all of one size."""

    problems: Problems
    """What was left out or assumed of what has been read so far."""

    @property
    def name(self) -> str:
        """What to call the clip in a title: a file's or folder's name."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of every frame, in pixels."""

    @property
    def rate_hz(self) -> float:
        """Frames a second, of a video with a variable rate the mean."""

    @property
    def frame_count(self) -> int:
        """How many frames there are; a video's header may be a few off."""

    def frames(self, first: int = 0) -> Generator[NDArray[np.uint8], None, None]:
        """Yield every frame from number `first` on as (H, W, 3) uint8 RGB; raises ClipError at a damaged one."""

    def timed_frames(self, first: int = 0) -> Generator[TimedFrame, None, None]:
        """The same, each with its time."""


def open_clip(path: str | Path, *, rate_hz: float | None = None, is_video: bool = True) -> Clip:
    """Open a folder of pictures (in natural order of their names), a video file, or, by the word `street`, the street.

    `rate_hz` replaces the clip's own times; a folder of stills, which are no video, may have pictures of many sizes.
    The first frame is read at once, so that what is no clip fails here: raises ClipError for a missing path, a folder
    without pictures or with two of one name, a picture or video that cannot be read, a video that reports no rate.
    """
    require_rate(rate_hz)
    if path == STREET:
        return SyntheticStreet(rate_hz=rate_hz or FOLDER_RATE_HZ)
    path = Path(path)
    if path.is_dir():
        return PictureFolder(path, rate_hz, is_video)
    if not path.exists():
        raise ClipError(f"The clip {path} does not exist; give a folder of pictures, a video, or the word street.")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise ClipError(f"{path} is a single picture; give the folder it is in.")
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise ClipError(
            f"{path} is no clip; give a folder of pictures or a video ({' '.join(sorted(VIDEO_SUFFIXES))})."
        )
    return Video(path, rate_hz)


def require_rate(rate_hz: float | None) -> None:
    """Raise ClipError unless the rate, where one is given, is a camera's."""
    if rate_hz is not None and not is_rate(rate_hz):
        raise ClipError(f"The rate of a clip must be more than 0 and at most {HIGHEST_RATE_HZ:g} Hz, not {rate_hz:g}.")


class Pictures:
    """Pictures of one camera as a clip, in the order given.

    All must have the first one's size, as one camera's have, unless they are stills; a picture of another size is a
    ClipError when its turn comes (all are not decoded twice to find out earlier).
    """

    def __init__(
        self,
        pictures: Sequence[Path],
        name: str,
        rate_hz: float | None = None,
        is_video: bool = True,
        problems: Problems | None = None,
    ) -> None:
        """Read the first picture; `problems` is what was found wrong with them so far."""
        self.pictures = tuple(pictures)
        self.name = name
        self.problems = problems or Problems()
        self._is_video = is_video
        self.rate_hz = rate_hz or FOLDER_RATE_HZ
        self.frame_count = len(self.pictures)
        first = self._read(self.pictures[0])
        self.size = first.shape[1], first.shape[0]

    def frames(self, first: int = 0) -> Generator[NDArray[np.uint8], None, None]:
        """Yield every picture from number `first` on as (H, W, 3) uint8 RGB."""
        for frame in self.timed_frames(first):
            yield frame.image

    def timed_frames(self, first: int = 0) -> Generator[TimedFrame, None, None]:
        """The same, each with its time by the rate."""
        for index, picture in enumerate(self.pictures[first:], start=first):
            image = self._read(picture)
            if self._is_video and (image.shape[1], image.shape[0]) != self.size:
                expected = "{} x {}".format(*self.size)
                raise ClipError(
                    f"The picture {picture} is {size_of(image)} but the clip began with {expected}; "
                    "expected one camera's frames, all of one size."
                )
            yield TimedFrame(round(index * NANOSECONDS_A_SECOND / self.rate_hz), image)

    def _read(self, path: Path) -> NDArray[np.uint8]:
        try:
            return read_rgb(path, self.problems)
        except ImageFileError as error:
            raise ClipError(str(error)) from error


class PictureFolder(Pictures):
    """A folder of pictures as a clip: natural order of names (2 before 10), hidden files and other kinds left out."""

    def __init__(self, folder: Path, rate_hz: float | None = None, is_video: bool = True) -> None:
        problems = Problems()
        try:
            pictures = pictures_in(folder, problems)
        except DataError as error:
            raise ClipError(str(error)) from error
        if not pictures:
            raise ClipError(f"The folder {folder} holds no pictures ({' '.join(sorted(IMAGE_SUFFIXES))}).")
        super().__init__(pictures, folder.resolve().name, rate_hz, is_video, problems)

"""Video files, frame by frame, at the times that they state themselves.

OpenCV decodes them. What its FFmpeg has no decoder for (AV1) is read by PyAV where that is installed (`videos`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.problems import Problems
from lowlat_seg_ros.data.timed_frame import NANOSECONDS_A_SECOND, TimedFrame
from lowlat_seg_ros.errors import Error

VIDEO_SUFFIXES: Final = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"}
)
"""Files are told apart by suffix because FFmpeg would play a text file as a film of its letters."""

HIGHEST_RATE_HZ: Final = 500.0
"""A video that claims more reports its time base (1000, 90000), not its rate."""

FRAMES_TIMED: Final = 30  # whose times give the rate where a file reports none
NANOSECONDS_A_MILLISECOND: Final = 1_000_000
SAME_TIME: Final = 1000  # nanoseconds: times that are computed twice from the same numbers are closer

TEXT: Final = frozenset(b"\t\n\r") | frozenset(range(0x20, 0x7F))
TEXT_BYTES: Final = 64  # no film's header has as many letters in a row

CODEC_NAMES: Final = {
    "av01": "AV1",
    "vvc1": "VVC (H.266)",
    "vvi1": "VVC (H.266)",
    "hevc": "HEVC (H.265)",
    "h264": "H.264",
}


class ClipError(Error):
    """A clip that cannot be played; the message is one sentence that names the file and what was expected."""


class Video:
    """A video file as a clip, at the times of its frames, or evenly at `rate_hz` where that is given."""

    def __init__(self, path: Path, rate_hz: float | None = None) -> None:
        self.path = path
        self.name = path.name
        self.problems = Problems()
        self._open, reader, first = _opened(path)
        self.frame_count = reader.frame_count
        self._reported_rate_hz = reader.rate_hz
        reader.close()
        if first is None:
            raise ClipError(f"The video {path} holds no frame that can be decoded.")
        self._start, image = first
        self.size = image.shape[1], image.shape[0]
        self._given_rate_hz = rate_hz
        self.rate_hz = rate_hz or self._own_rate()

    def frames(self, first: int = 0) -> Generator[NDArray[np.uint8], None, None]:
        """Yield every frame from number `first` on as (H, W, 3) uint8 RGB; ClipError at the end of one cut short."""
        for frame in self.timed_frames(first):
            yield frame.image

    def timed_frames(self, first: int = 0, time: int | None = None) -> Generator[TimedFrame, None, None]:
        """Yield every frame from number `first` on with its time; ClipError at the end of a video cut short.

        `time`, nanoseconds from the first frame, is that of frame `first` where it is known: it is sought there, which
        spares decoding what lies before.
        """
        reader = self._open_at(first, time)
        decoded, latest, last = first, 0.0, None
        try:
            while (found := reader.read()) is not None:
                latest = max(latest, found[0])
                last = self._time_of(decoded, found[0] - self._start, last)
                decoded += 1
                yield TimedFrame(last, found[1])
        finally:
            reader.close()
        self._require_whole(decoded, latest)

    def _time_of(self, index: int, stated: float, last: int | None) -> int:
        """A frame's own time where times advance, as they do in every whole file."""
        if self._given_rate_hz is not None:
            return round(index * NANOSECONDS_A_SECOND / self._given_rate_hz)
        time = round(stated * NANOSECONDS_A_MILLISECOND)
        if last is None or time > last:
            return time
        self.problems.add(
            ("video", "times"),
            f"{self.path} has frames whose times do not advance; they are taken to follow at {self.rate_hz:g} Hz",
            index,
        )
        return last + round(NANOSECONDS_A_SECOND / self.rate_hz)

    def _own_rate(self) -> float:
        """The reported rate where it can be one, else that of the first frames' times; raises ClipError."""
        reported_hz = self._reported_rate_hz
        if is_rate(reported_hz):
            return reported_hz
        reader = self._open(self.path)
        try:
            times = [found[0] for _ in range(FRAMES_TIMED) if (found := reader.read()) is not None]
        finally:
            reader.close()
        period_ms = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        rate_hz = 1000 / period_ms if period_ms > 0 else 0.0
        if not is_rate(rate_hz):
            raise ClipError(f"The video {self.path} reports no frame rate ({reported_hz:g} Hz); give its rate in Hz.")
        return rate_hz

    def _open_at(self, first: int, time: int | None) -> Reader:
        """The video with frame `first` as the next one, or at its end if it is shorter."""
        reader = self._open(self.path)
        if first == 0:
            return reader
        # A seek lands on the frame that the average rate puts there, which in a variable one is another.
        if time is not None and self._given_rate_hz is None and reader.seek(first):
            found = reader.read()
            stated = None if found is None else (found[0] - self._start) * NANOSECONDS_A_MILLISECOND
            if stated is not None and abs(stated - time) <= SAME_TIME and reader.seek(first):
                return reader
        reader.close()
        reader = self._open(self.path)
        for _ in range(first):
            if not reader.skip():
                break
        return reader

    def _require_whole(self, decoded: int, last_ms: float) -> None:
        """Raise ClipError where the rest of the file is missing or damaged; the last time is as the file states it.

        A header's count is often a few off, and, of a variable rate, a guess by the duration: then the end must be far.
        """
        missing = self.frame_count - decoded
        # Though it is no camera's, a reported rate of 1000 Hz is the one that the count was taken at.
        period_ms = 1000 / self._reported_rate_hz if self._reported_rate_hz > 0 else 0.0
        end_ms = last_ms + last_ms / max(1, decoded - 1)  # the last frame is shown for about as long as the others
        is_far_from_end = period_ms == 0 or end_ms < (0.9 * self.frame_count - 2) * period_ms
        if missing > max(2, self.frame_count // 10) and is_far_from_end:
            raise ClipError(f"The video {self.path} is cut short: {decoded} of its {self.frame_count} frames decode.")


class Reader(Protocol):
    """An open video, frame after frame."""

    frame_count: int  # by the header; 0 where that says nothing
    rate_hz: float  # likewise

    def read(self) -> tuple[float, NDArray[np.uint8]] | None:
        """The next frame's own time in milliseconds and its picture, (H, W, 3) uint8 RGB; None at the end."""

    def skip(self) -> bool:
        """Pass over a frame; False at the end."""

    def seek(self, index: int) -> bool:
        """Go to about that frame; False where the file cannot be sought in."""

    def close(self) -> None: ...


class OpenCvReader:
    """By the FFmpeg inside of OpenCV, which turns pictures as the file says."""

    def __init__(self, path: Path) -> None:
        # Any other backend of OpenCV would take a file name with a number in it for a series of pictures.
        self._capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise ClipError(f"The video {path} cannot be opened: it is damaged, cut short or not a video.")
        self.frame_count = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        self.rate_hz = self._capture.get(cv2.CAP_PROP_FPS)

    @property
    def codec(self) -> str:
        """Four letters, such as ``av01``; empty where they are none."""
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        return "".join(letter for letter in code.to_bytes(4, "little").decode("latin-1") if letter.isalnum()).lower()

    def read(self) -> tuple[float, NDArray[np.uint8]] | None:
        decoded, frame = self._capture.read()
        if not decoded:
            return None
        rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        return self._capture.get(cv2.CAP_PROP_POS_MSEC), rgb

    def skip(self) -> bool:
        return self._capture.grab()

    def seek(self, index: int) -> bool:
        found = self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        return found and self._capture.get(cv2.CAP_PROP_POS_FRAMES) == index

    def close(self) -> None:
        self._capture.release()


class PyAvReader:
    """By PyAV, whose wheels bring more decoders."""

    def __init__(self, path: Path) -> None:
        import av

        try:
            self._container = av.open(os.path.abspath(path), metadata_errors="replace")
            stream = self._container.streams.video[0]
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise ClipError(f"The video {path} cannot be opened: it is damaged, cut short or not a video.") from error
        self._errors = av.FFmpegError
        self._frames = self._container.decode(stream)
        rate = stream.average_rate
        self.rate_hz = float(rate) if rate else 0.0
        self.frame_count = stream.frames or _frames_of(stream, self.rate_hz)
        self._index = -1

    def read(self) -> tuple[float, NDArray[np.uint8]] | None:
        frame = self._next()
        if frame is None:
            return None
        rgb = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
        stated = self._index / self.rate_hz if frame.time is None and self.rate_hz else frame.time or 0.0
        return stated * 1000, np.ascontiguousarray(rgb)

    def skip(self) -> bool:
        return self._next() is not None

    def seek(self, index: int) -> bool:
        return index == 0

    def close(self) -> None:
        self._container.close()

    def _next(self) -> Any:
        self._index += 1
        try:
            return next(self._frames, None)
        except self._errors:  # the rest is missing or damaged
            return None


Frame = tuple[float, NDArray[np.uint8]]


def _opened(path: Path) -> tuple[Callable[[Path], Reader], Reader, Frame | None]:
    """What opens the video, and it open, after its first frame: OpenCV where it decodes that, else PyAV.

    Raises:
        ClipError: it cannot be opened, or is in a codec that OpenCV does not decode, and PyAV is not installed.
    """
    if _is_text(path):
        raise ClipError(f"The video {path} is a text; expected a film itself, not a list of where its parts are.")
    reader = OpenCvReader(path)
    first = reader.read()
    if first is not None or not reader.codec:
        return OpenCvReader, reader, first
    codec = reader.codec
    reader.close()
    try:
        import av  # noqa: F401
    except ImportError:
        raise ClipError(
            f"OpenCV decodes no frame of the video {path}, which is in {CODEC_NAMES.get(codec, codec)}: unless it is "
            "damaged, pip install av (the extra `videos`) or convert it to H.264."
        ) from None
    other = PyAvReader(path)
    return PyAvReader, other, other.read()


def _is_text(path: Path) -> bool:
    """Whether a file begins in letters: FFmpeg would follow a playlist to other files, and into the network."""
    try:
        with path.open("rb") as file:
            start = file.read(TEXT_BYTES)
    except OSError as error:
        raise ClipError(f"The video {path} cannot be opened: {error.strerror or error}.") from error
    return bool(start) and all(byte in TEXT for byte in start)


def _frames_of(stream: Any, rate_hz: float) -> int:
    return round(float(stream.duration * stream.time_base) * rate_hz) if stream.duration else 0


def is_rate(rate_hz: float) -> bool:
    """Whether a camera may have it."""
    return math.isfinite(rate_hz) and 0 < rate_hz <= HIGHEST_RATE_HZ

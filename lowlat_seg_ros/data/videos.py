"""Video files, frame by frame, at the times that they state themselves."""

from __future__ import annotations

import math
from collections.abc import Generator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.problems import Problems
from lowlat_seg_ros.data.timed_frame import NANOSECONDS_A_SECOND, TimedFrame
from lowlat_seg_ros.data.video_reader import ClipError, VideoReader

__all__ = ["HIGHEST_RATE_HZ", "VIDEO_SUFFIXES", "ClipError", "Video", "is_rate"]

VIDEO_SUFFIXES: Final = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"}
)
"""Files are told apart by suffix because FFmpeg would play a text file as a film of its letters."""

HIGHEST_RATE_HZ: Final = 500.0
"""A video that claims more reports its time base (1000, 90000), not its rate."""

FRAMES_TIMED: Final = 30  # whose times give the rate where a file reports none
NANOSECONDS_A_MILLISECOND: Final = 1_000_000

MISSING_SHARE: Final = 0.1  # of what a video says it is long; its sound may be longer than its pictures
MISSING_FRAMES: Final = 2

TEXT: Final = frozenset(b"\t\n\r") | frozenset(range(0x20, 0x7F))
TEXT_BYTES: Final = 64  # no film's header has as many letters in a row


class Video:
    """A video file as a clip, at the times of its frames, or evenly at `rate_hz` where that is given."""

    def __init__(self, path: Path, rate_hz: float | None = None) -> None:
        self.path = path
        self.name = path.name
        self.problems = Problems()
        _require_no_text(path)
        reader = self._open()
        first = reader.read()
        self._counted, self._has_slots = reader.frame_count, reader.has_slots
        self.frame_count = self._counted or round(reader.end_ms * reader.rate_hz / 1000)
        self._reported_rate_hz = reader.rate_hz
        self._end_ms = reader.end_ms
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
        spares decoding what lies before. ClipError, too, where the pictures change their size.
        """
        reader = self._open_at(first, time)
        decoded, latest, last = first, self._start, None
        try:
            while (found := reader.read()) is not None:
                latest = max(latest, found[0])
                last = self._time_of(decoded, found[0] - self._start, last)
                self._require_size(decoded, found[1])
                decoded += 1
                yield TimedFrame(last, found[1])
        finally:
            reader.close()
        if decoded > first:
            self._require_whole(decoded, latest)

    def _require_size(self, index: int, image: NDArray[np.uint8]) -> None:
        size = image.shape[1], image.shape[0]
        if size != self.size:
            raise ClipError(
                f"The pictures of the video {self.path} are {self.size[0]} x {self.size[1]}, and from frame {index} on "
                f"{size[0]} x {size[1]}; expected one camera's frames, all of one size."
            )

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
        reader = self._open()
        try:
            times = [found[0] for _ in range(FRAMES_TIMED) if (found := reader.read()) is not None]
        finally:
            reader.close()
        period_ms = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        rate_hz = 1000 / period_ms if period_ms > 0 else 0.0
        if not is_rate(rate_hz):
            raise ClipError(f"The video {self.path} reports no frame rate ({reported_hz:g} Hz); give its rate in Hz.")
        return rate_hz

    def _open(self) -> VideoReader:
        return VideoReader(self.path, self.problems)

    def _open_at(self, first: int, time: int | None) -> VideoReader:
        """The video with frame `first` as the next one, or at its end if it is shorter."""
        reader = self._open()
        if first == 0:
            return reader
        if time is not None and self._given_rate_hz is None:
            if reader.seek(self._start + time / NANOSECONDS_A_MILLISECOND):
                return reader
            reader.close()
            reader = self._open()
        for _ in range(first):
            if not reader.skip():
                break
        return reader

    def _require_whole(self, decoded: int, last_ms: float) -> None:
        """Raise ClipError where the rest of the file is missing or damaged; the last time is as the file states it.

        A header's count is often a few off, and, of a variable rate, a guess by the duration: then the end must be far.
        """
        # The last picture is shown for about as long as the others.
        period_ms = (last_ms - self._start) / (decoded - 1) if decoded > 1 else 1000 / self.rate_hz
        missing_ms, missing = self._end_ms - last_ms - period_ms, self.frame_count - decoded
        is_far_from_end = missing_ms > max(MISSING_FRAMES * period_ms, MISSING_SHARE * (self._end_ms - self._start))
        if is_far_from_end and missing > max(MISSING_FRAMES, MISSING_SHARE * self.frame_count):
            raise ClipError(f"The video {self.path} is cut short: {decoded} of its {self.frame_count} frames decode.")
        if missing_ms > period_ms / 2 if self._has_slots else decoded < self._counted:
            self.problems.add(
                ("video", "count"),
                f"{self.path} has {self._counted} frames by its header and gives {decoded}: others are lost, "
                "or left out by its edit list",
            )


def _require_no_text(path: Path) -> None:
    """Raise ClipError where a file begins in letters: FFmpeg follows a playlist to other files and into the network."""
    try:
        with path.open("rb") as file:
            start = file.read(TEXT_BYTES)
    except OSError as error:
        raise ClipError(f"The video {path} cannot be opened: {error.strerror or error}.") from error
    if start and all(byte in TEXT for byte in start):
        raise ClipError(f"The video {path} is a text; expected a film itself, not a list of where its parts are.")


def is_rate(rate_hz: float) -> bool:
    """Whether a camera may have it."""
    return math.isfinite(rate_hz) and 0 < rate_hz <= HIGHEST_RATE_HZ

"""The pictures of a video file by PyAV, turned as the file says, and all that FFmpeg says is wrong with them.

FFmpeg patches up damaged pictures, and goes on: that it did stands in its log alone, which is therefore read. It works
in one thread, since PyAV's log may not be written from two.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.problems import Problems
from lowlat_seg_ros.errors import Error, shown

TRANSPORT_PACKETS: Final = 188, 192, 204  # bytes; with a time stamp in front, with a checksum behind
SAME_MILLISECOND: Final = 0.001  # times that are computed twice from the same numbers are closer
_UNSPECIFIED: Final = 2  # of a video's colours
_HIGH_DEFINITION: Final = 720  # rows; from there on players take colours of which nothing is said for others
_HDR: Final = (16, 18)  # PQ, HLG: "transfer characteristics" of ITU-T H.273

_opening: Final = Lock()
"""FFmpeg has a lock of its own there. A thread that waited for that with Python's would keep one that logs waiting."""


class ClipError(Error):
    """A clip that cannot be played; the message is one sentence that names the file and what was expected."""


class VideoReader:
    """An open video, frame after frame; what is amiss with it is noted in `problems`.

    Raises ClipError for what is no video, is in a codec without a decoder, or is turned by an angle that is no quarter.
    """

    def __init__(self, path: Path, problems: Problems) -> None:
        self._path = path
        self._problems = problems
        self._av = _library()
        self._complaints: list[str] = []
        try:
            with _opening, self._listening():
                self._open()
        except (self._av.FFmpegError, ValueError) as error:
            raise ClipError(f"The video {path} cannot be opened: it is damaged, cut short or not a video.") from error
        self._packets = self._container.demux(self._stream)
        self._place: int | None = None  # of the newest packet
        self._ready: deque[tuple[float, Any]] = deque()
        self.has_slots = self._container.format.name == "avi"  # for frames, and empty ones are counted, too
        self._slots: deque[float] = deque()
        self._is_known = False  # what the first frame says of all
        self.rate_hz = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        self.frame_count: int = self._stream.frames  # by the header; 0 where it does not count them
        self.end_ms = _stated_end_ms(self._container, self._stream)  # 0 where nothing is said of it
        if self._container.format.name == "mpegts" and all(path.stat().st_size % each for each in TRANSPORT_PACKETS):
            self._note("cut", "ends within a packet: it is cut short, and nothing says by how much")

    def _open(self) -> None:
        self._container = self._av.open(os.path.abspath(self._path), metadata_errors="replace")
        self._stream = self._container.streams.best("video")
        if self._stream is None:
            raise ClipError(f"The video {self._path} holds no pictures.")
        if self._stream.codec_context is None:
            raise ClipError(f"The video {self._path} is in a codec that FFmpeg does not know; convert it to H.264.")
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.open(strict=False)

    def read(self) -> tuple[float, NDArray[np.uint8]] | None:
        """The next frame's own time in milliseconds and its picture, (H, W, 3) uint8 RGB; None at the end."""
        found = self._next()
        self._tell()
        if found is None:
            return None
        time_ms, frame = found
        if not self._is_known:
            self._is_known = True
            for note in _facts_of(self._container, self._stream, frame):
                self._note(note, note)
        return time_ms, self._turned(frame.to_ndarray(format="rgb24"), frame)

    def skip(self) -> bool:
        """Pass over a frame; False at the end."""
        is_there = self._next() is not None
        self._tell()
        return is_there

    def seek(self, time_ms: float) -> bool:
        """Let the frame of that time be the next; False where it is not found whole: the file must be opened anew."""
        if self.has_slots:
            return False
        try:
            self._container.seek(int(time_ms / 1000 / self._stream.time_base), stream=self._stream)
        except self._av.FFmpegError:
            return False
        self._packets = self._container.demux(self._stream)
        while (found := self._next()) is not None and found[0] < time_ms - SAME_MILLISECOND:
            pass
        # Frames behind a key frame may need some before it, and are patched up then.
        if found is None or self._complaints or found[0] > time_ms + SAME_MILLISECOND:
            return False
        self._ready.appendleft(found)
        return True

    def close(self) -> None:
        self._container.close()

    def _next(self) -> tuple[float, Any] | None:
        with self._listening():
            while not self._ready:
                try:
                    packet = next(self._packets, None)
                except self._av.FFmpegError as error:
                    self._complaints.append(error.strerror)
                    packet = None
                if packet is None:
                    return None
                self._decode(packet)
        return self._ready.popleft()

    def _decode(self, packet: Any) -> None:
        self._place = packet.dts
        if packet.is_corrupt:
            self._complaints.append("packet corrupt")
        if self.has_slots and packet.dts is not None:
            self._slots.append(float(packet.dts * packet.time_base) * 1000)
        try:
            self._ready += [(self._time_of(frame), frame) for frame in packet.decode()]
        except self._av.FFmpegError as error:
            self._complaints.append(error.strerror)
            if self._slots:
                self._slots.pop()

    def _time_of(self, frame: Any) -> float:
        """In milliseconds. In AVI each frame has a slot, and its own time is a guess where they are out of order."""
        if self._slots:
            return self._slots.popleft()
        return float(frame.time or 0.0) * 1000

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Keep what FFmpeg complains of meanwhile."""
        with self._av.logging.Capture() as lines:
            try:
                yield
            finally:
                told = [line[2].strip() for line in lines if line[0] <= self._av.logging.ERROR or "corrupt" in line[2]]
                self._complaints = told + self._complaints

    def _tell(self) -> None:
        if self._complaints:
            said = shown(self._complaints[0])
            self._note(
                "damaged", f"may be damaged, its pictures patched up or missing; FFmpeg says: {said}", self._place
            )
            self._complaints.clear()

    def _note(self, kind: str, what: str, place: object = None) -> None:
        self._problems.add((self._path, kind), f"{self._path} {what}", place)

    def _turned(self, picture: NDArray[np.uint8], frame: Any) -> NDArray[np.uint8]:
        """By the file's display matrix, whose rows are where the picture's x and y axes point to."""
        side_data = frame.side_data.get("DISPLAYMATRIX")
        if side_data is None:
            return picture
        axes = np.frombuffer(side_data, np.int32)[:6].reshape(2, 3)[:, :2].astype(np.int64)
        (xx, xy), (yx, yy) = np.where(100 * np.abs(axes) < np.abs(axes).max(), 0, np.sign(axes)).tolist()
        if bool(xx or yy) == bool(xy or yx):  # neither upright nor on its side
            raise ClipError(f"The video {self._path} is to be turned by an angle that is no quarter; turn it yourself.")
        if xy:
            picture = picture.swapaxes(0, 1)
        return np.ascontiguousarray(picture[:: -1 if yy + xy < 0 else 1, :: -1 if xx + yx < 0 else 1])


@cache
def _library() -> Any:
    """PyAV, with FFmpeg's log handed on; raises ClipError where it is not installed."""
    try:
        import av
        import av.logging
    except ImportError as error:
        raise ClipError("Videos are read by PyAV, which is not installed; pip install av.") from error
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)
    outside = logging.getLogger("libav")  # what is logged while nobody captures it
    outside.addHandler(logging.NullHandler())
    outside.propagate = False
    return av


def _stated_end_ms(container: Any, stream: Any) -> float:
    """When the pictures end by the header, on their own clock; 0 where it says nothing.

    Matroska's duration is the end in some writers' files, and in others' the length, which is less where a film begins
    late.
    """
    if stream.duration is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base) * 1000
    return (container.duration or 0) / 1000


def _facts_of(container: Any, stream: Any, frame: Any) -> list[str]:
    """What is assumed or left out of a video, each as the end of "X ..."."""
    notes = []
    tracks = [each for each in container.streams.video if not each.disposition & each.disposition.attached_pic]
    if len(tracks) > 1:
        notes.append(f"holds {len(tracks)} tracks of pictures, of which one is taken")
    if stream.sample_aspect_ratio not in (None, 0, 1):
        notes.append("has pixels that are not square; its pictures are taken as they are stored, not stretched")
    if frame.interlaced_frame:
        notes.append("is interlaced: what moves is torn into two combs")
    if any(component.is_alpha for component in frame.format.components):
        notes.append("has an alpha channel, which is ignored")
    if (bits := max(component.bits for component in frame.format.components)) > 8:
        notes.append(f"has {bits} bits a channel, which are scaled to 8")
    if frame.color_trc in _HDR:
        notes.append("is HDR, and paler here than players show it")
    if frame.colorspace == _UNSPECIFIED and frame.height >= _HIGH_DEFINITION and not frame.format.is_rgb:
        notes.append("does not say how its colours are coded; they are read by BT.601, and players may take BT.709")
    return notes

"""Writing a video that appears under its name only when it is whole."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.errors import Error

CODEC: Final = "mp4v"
"""MPEG-4 part 2: every OpenCV wheel can write it (H.264 it cannot), in about a millisecond a small frame. Desktop
players (VLC, mpv, QuickTime, Windows Media Player) play it; browsers do not."""


class VideoError(Error):
    """A video that cannot be written; the message is one sentence that names the file."""


class VideoWriter:
    """Write (H, W, 3) uint8 RGB frames to an .mp4 file, as a context manager.

    Frames go to a hidden neighbour `.NAME.part.mp4`, which takes the final name once the block has ended without an
    exception and the file has been opened for reading again; it is removed when the block ends with one. A killed
    program so leaves no half video under the final name. Of an odd `size` (width, height) the codec drops the last
    column or row. Raises VideoError for another suffix, a missing folder, a size or rate this OpenCV cannot write, a
    frame of another size, and at the end for a video without frames or one that a full disk cut short.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], rate_hz: float) -> None:
        self._path = Path(path)
        self._size = size
        self._written = 0
        if self._path.suffix.lower() != ".mp4":
            raise VideoError(f"The name of the video {path} must end in .mp4.")
        if not self._path.parent.is_dir():
            raise VideoError(f"The folder of the video {path} does not exist.")
        self._part = self._path.with_name(f".{self._path.stem}.part.mp4")
        # MPEG-4 counts time in at most 65535 ticks a second, so 30000/1001 Hz has to become 29.97 Hz.
        rate_hz = round(rate_hz, 3)
        self._writer = cv2.VideoWriter(str(self._part), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*CODEC), rate_hz, size)
        if not self._writer.isOpened():
            self._part.unlink(missing_ok=True)
            raise VideoError(f"This OpenCV cannot write {path} ({CODEC}, {size[0]} x {size[1]} at {rate_hz:g} Hz).")

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append one frame; raises VideoError if it has not the size the video was opened with."""
        expected = (self._size[1], self._size[0], 3)
        if frame.shape != expected or frame.dtype != np.uint8:
            raise VideoError(f"The video {self._path} takes frames {expected} uint8, not {frame.shape} {frame.dtype}.")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._written += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.release()
        try:
            if kind is None:
                self._require_whole()
                os.replace(self._part, self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def _require_whole(self) -> None:
        if self._written == 0:
            raise VideoError(f"The video {self._path} was given no frame.")
        # OpenCV reports no error of writing; what a reader finds in the file is the only word there is about it.
        capture = cv2.VideoCapture(str(self._part), cv2.CAP_FFMPEG)
        in_file = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if in_file != self._written:
            raise VideoError(f"Of the video {self._path} only {in_file} of {self._written} frames could be written.")

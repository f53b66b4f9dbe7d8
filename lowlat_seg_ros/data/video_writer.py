"""Writing a video that appears under its name only when it is whole."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.errors import Error

CODECS: Final = {".mp4": "mp4v", ".webm": "VP80"}
"""What every OpenCV wheel can write (H.264 it cannot). Browsers and desktop players play VP8, which takes 60 ms a frame
of 480x360; MPEG-4 part 2 takes 3 ms, and browsers do not play it."""

MOST_PENDING: Final = 8
"""Frames that may wait to be encoded."""


class VideoError(Error):
    """A video that cannot be written; the message is one sentence that names the file."""


class VideoWriter:
    """Write (H, W, 3) uint8 RGB frames to a .webm or .mp4 file in a thread of its own, as a context manager.

    Frames go to a hidden neighbour `.NAME.part.webm`, which takes the final name once the block has ended without an
    exception and the file has been opened for reading again; it is removed when the block ends with one. A killed
    program so leaves no half video under the final name. Of an odd `size` (width, height) the last column or row is
    doubled. Raises VideoError for another suffix, a missing folder, a size or rate this OpenCV cannot write, a
    frame of another size, and at the end for a video without frames or one that a full disk cut short.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], rate_hz: float) -> None:
        self._path = Path(path)
        self._size = size
        self._written = 0
        suffix = self._path.suffix.lower()
        if suffix not in CODECS:
            raise VideoError(f"The name of the video {path} must end in {' or '.join(CODECS)}.")
        if not self._path.parent.is_dir():
            raise VideoError(f"The folder of the video {path} does not exist.")
        self._part = self._path.with_name(f".{self._path.stem}.part{suffix}")
        # MPEG-4 counts time in at most 65535 ticks a second, so 30000/1001 Hz has to become 29.97 Hz.
        rate_hz = round(rate_hz, 3)
        even = size[0] + size[0] % 2, size[1] + size[1] % 2
        codec = cv2.VideoWriter.fourcc(*CODECS[suffix])
        with _standard_error_closed():  # OpenCV remarks there that it takes another tag for VP8
            self._writer = cv2.VideoWriter(str(self._part), cv2.CAP_FFMPEG, codec, rate_hz, even)
        if not self._writer.isOpened():
            self._part.unlink(missing_ok=True)
            raise VideoError(
                f"This OpenCV cannot write {path} ({CODECS[suffix]}, {size[0]} x {size[1]} at {rate_hz:g} Hz)."
            )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="video")
        self._pending: deque[Future[None]] = deque()

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append one frame, which must not be changed afterwards; raises VideoError for one of another size."""
        expected = (self._size[1], self._size[0], 3)
        if frame.shape != expected or frame.dtype != np.uint8:
            raise VideoError(f"The video {self._path} takes frames {expected} uint8, not {frame.shape} {frame.dtype}.")
        if len(self._pending) == MOST_PENDING:
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(self._encode, frame))
        self._written += 1

    def _encode(self, frame: NDArray[np.uint8]) -> None:
        bottom, right = frame.shape[0] % 2, frame.shape[1] % 2
        even = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        self._writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)
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
        # Of a file cut short it may be any number, negative ones included.
        in_file = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) if capture.isOpened() else 0
        capture.release()
        if in_file != self._written:
            raise VideoError(
                f"Of the video {self._path} only {in_file} of {self._written} frames could be written; is the "
                "disk full?"
            )


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """What a C library writes to standard error is dropped."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)

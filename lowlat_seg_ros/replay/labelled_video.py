"""The drive under the two tracks' labels, as a small video for the page."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.drawing import Colour, Picture, overlay
from lowlat_seg_ros.data.video_writer import VideoWriter

MOST_FRAMES: Final = 240  # a page with them has 3 MB more, and VP8 takes 25 ms a frame
WIDTH: Final = 320  # pixels; browsers enlarge it
OPACITY: Final = 0.55
JPEG_QUALITY: Final = 90
SLOWEST_HZ: Final = 1.0
FASTEST_HZ: Final = 30.0
TRACK_UIDS: Final = re.compile(rb"([\x73\x63]\xc5\x88).{8}", re.DOTALL)
"""Random in every WebM file, in its track and its tags; the same drive is to give the same file."""


class LabelledVideo:
    """Keeps every frame of a short drive, every n-th of a longer one, evenly and at most MOST_FRAMES of them."""

    def __init__(self, colours: tuple[Colour, ...]) -> None:
        self._colours = colours
        self._kept: list[NDArray[np.uint8]] = []  # JPEGs: a video is made of them once their spacing is known
        self._seen = 0
        self.every = 1

    def offer(self, picture: Picture, labels: NDArray[np.uint8]) -> None:
        """The next labelled frame, (H, W, 3) RGB, and its labels, (H, W)."""
        number, self._seen = self._seen, self._seen + 1
        if number % self.every:
            return
        if len(self._kept) == MOST_FRAMES:
            self._kept, self.every = self._kept[::2], 2 * self.every
            if number % self.every:
                return
        width = min(WIDTH, picture.shape[1])
        size = width, max(1, round(picture.shape[0] * width / picture.shape[1]))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        ids = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8, copy=False)
        drawn = cv2.cvtColor(overlay(small, ids, self._colours, OPACITY), cv2.COLOR_RGB2BGR)
        self._kept.append(cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])

    def content(self, rate_hz: float) -> bytes | None:
        """A WebM file at the drive's rate, or faster by ``every``; None for less than two frames.

        Raises:
            VideoError, OSError: it cannot be written, for a full disk or a size that VP8 has not.
        """
        if len(self._kept) < 2:
            return None
        first = _decoded(self._kept[0])
        size = first.shape[1], first.shape[0]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "drive.webm"
            with VideoWriter(file, size, min(max(rate_hz, SLOWEST_HZ), FASTEST_HZ)) as video:
                for kept in self._kept:
                    video.write(_fitted(_decoded(kept), size))
            return TRACK_UIDS.sub(rb"\g<1>" + 8 * b"\x01", file.read_bytes(), count=2)


def _decoded(content: NDArray[np.uint8]) -> Picture:
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)
    assert picture is not None  # it was encoded here
    return picture.astype(np.uint8, copy=False)


def _fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """The picture in the middle of one of that width and height, its shape kept: a camera's size may change."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    scale = min(size[0] / width, size[1] / height)
    inner = max(1, round(scale * width)), max(1, round(scale * height))
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    fitted = np.zeros((size[1], size[0], 3), np.uint8)
    fitted[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    return fitted

"""Where one frame lies: a picture's path, or a place in a video."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.clips import ClipError, Video
from lowlat_seg_ros.data.image_file import ImageFileError, read_rgb
from lowlat_seg_ros.data.problems import DataError, Problems


@dataclass(frozen=True)
class VideoFrame:
    """Frame `index`, counted from 0, of a video file."""

    video: Path
    index: int
    time: int | None = field(default=None, compare=False)  # nanoseconds from the first frame: it is sought there

    def __str__(self) -> str:
        return f"{self.video}, frame {self.index}"


FrameSource = Path | VideoFrame


def read_frame(source: FrameSource, problems: Problems | None = None) -> NDArray[np.uint8]:
    """The frame as (H, W, 3) uint8 RGB; raises DataError, naming the file, if it cannot be read."""
    try:
        if isinstance(source, VideoFrame):
            return _read_video_frame(source)
        return read_rgb(source, problems)
    except (ImageFileError, ClipError) as error:
        raise DataError(str(error)) from error


def _read_video_frame(source: VideoFrame) -> NDArray[np.uint8]:
    with closing(Video(source.video).timed_frames(source.index, source.time)) as frames:
        frame = next(frames, None)
    if frame is None:
        raise DataError(f"The video {source.video} has no frame {source.index}.")
    return frame.image

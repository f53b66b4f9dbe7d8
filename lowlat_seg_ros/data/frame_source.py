"""Where one frame lies: a picture's path, or a place in a video."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.camvid import DataError
from lowlat_seg_ros.data.clips import ClipError, Video
from lowlat_seg_ros.data.image_file import ImageFileError, read_rgb


@dataclass(frozen=True)
class VideoFrame:
    """Frame `index`, counted from 0, of a video file."""

    video: Path
    index: int

    def __str__(self) -> str:
        return f"{self.video}, frame {self.index}"


FrameSource = Path | VideoFrame


def read_frame(source: FrameSource) -> NDArray[np.uint8]:
    """The frame as (H, W, 3) uint8 RGB; raises DataError, naming the file, if it cannot be read."""
    try:
        if isinstance(source, VideoFrame):
            return _read_video_frame(source)
        return read_rgb(source)
    except (ImageFileError, ClipError) as error:
        raise DataError(str(error)) from error


def _read_video_frame(source: VideoFrame) -> NDArray[np.uint8]:
    with closing(Video(source.video).frames(source.index)) as frames:
        frame = next(frames, None)
    if frame is None:
        raise DataError(f"The video {source.video} has no frame {source.index}.")
    return frame

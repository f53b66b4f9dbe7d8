"""Low-latency video semantic segmentation for vehicles, as a ROS 2 node and as a library.

The public names are loaded when they are first asked for: whoever wants the messages alone loads neither torch nor cv2.
"""

from __future__ import annotations

import os
from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING

from lowlat_seg_ros.runtime.threads import let_threads_sleep

if TYPE_CHECKING:
    from lowlat_seg_ros.errors import Error as Error
    from lowlat_seg_ros.segmenter import Segmenter as Segmenter
    from lowlat_seg_ros.slow.registry import load_model as load_model
    from lowlat_seg_ros.stream.result import SegmentationResult as SegmentationResult

# Imported from the checkout, the package finds its generated messages (lowlat_seg_ros.msg) in the install folder.
__path__ = extend_path(__path__, __name__)

# What OpenCV and its FFmpeg say of a damaged file would surround our one sentence; whoever wants it sets these.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

_PUBLIC = {
    "Error": "lowlat_seg_ros.errors",
    "SegmentationResult": "lowlat_seg_ros.stream.result",
    "Segmenter": "lowlat_seg_ros.segmenter",
    "load_model": "lowlat_seg_ros.slow.registry",
}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    let_threads_sleep()  # torch reads this when it is loaded, as most public names do
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])

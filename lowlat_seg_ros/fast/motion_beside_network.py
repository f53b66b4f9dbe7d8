"""The optical flow in a thread of its own, so that no frame waits for it."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.fast.motion import Motion, MotionEstimator
from lowlat_seg_ros.runtime.threads import keep_off_this_core


class FoundMotion(NamedTuple):
    """What the thread makes of a frame."""

    picture: NDArray[np.uint8]  # what later frames' motion is found from, if this one becomes a key frame
    motion: Motion | None  # since the key frame; None without one


class MotionBesideNetwork:
    """The motion of one camera's frames since their key frames, found while the network runs.

    It takes a sixth of what a frame costs and needs nothing of the network: begun before Sl, it is there when its turn
    comes, even where the thread has to win its core from Sh. One thread calls this.
    """

    def __init__(self, estimator: MotionEstimator) -> None:
        self._estimator = estimator
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="motion")
        self._thread_id = self._thread.submit(threading.get_native_id).result()
        # The thread's own: the last motion, with the key frame's picture that it is from.
        self._last: tuple[NDArray[np.uint8], Motion] | None = None

    def begin(self, frame: NDArray[np.uint8], key: NDArray[np.uint8] | None) -> Future[FoundMotion]:
        """Start to look for the motion of a frame, (H, W, 3) uint8 RGB, since the key frame of that picture."""
        # Linux may wake a thread on the core of the one that wakes it, another being idle: the network would wait.
        keep_off_this_core(self._thread_id)
        return self._thread.submit(self._find, frame, key)

    def _find(self, frame: NDArray[np.uint8], key: NDArray[np.uint8] | None) -> FoundMotion:
        """Begins the search with the last motion where that is from the same key frame."""
        picture = self._estimator.picture(frame)
        if key is None:
            return FoundMotion(picture, None)
        start = self._last[1] if self._last is not None and self._last[0] is key else None
        motion = self._estimator.between(key, picture, start)
        self._last = key, motion
        return FoundMotion(picture, motion)

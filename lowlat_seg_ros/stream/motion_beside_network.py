"""The optical flow in a thread of its own, so that no frame waits for it."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.stream.motion import Motion, MotionEstimator
from lowlat_seg_ros.stream.threads import keep_off_this_core


class MotionBesideNetwork:
    """The motion of one camera's frames since their key frames, found while the network runs.

    It takes a sixth of what a frame costs and needs nothing of the network: begun before Sl, it is there when its turn
    comes, even where the thread has to win its core from Sh. One thread calls this.
    """

    def __init__(self, estimator: MotionEstimator) -> None:
        self._estimator = estimator
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="motion")
        self._thread_id = self._thread.submit(threading.get_native_id).result()
        self._last: tuple[NDArray[np.uint8], Future[Motion]] | None = None  # with the key frame's picture it is from

    def picture(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What motion is looked for in, as the estimator has it."""
        return self._estimator.picture(frame)

    def begin(self, key: NDArray[np.uint8], current: NDArray[np.uint8]) -> Future[Motion]:
        """Start to look for the motion between two such pictures, beginning with the last one from the same ``key``."""
        start = None
        if self._last is not None and self._last[0] is key and self._last[1].exception() is None:
            start = self._last[1].result()
        # Linux may wake a thread on the core of the one that wakes it, another being idle: the network would wait.
        keep_off_this_core(self._thread_id)
        coming = self._thread.submit(self._estimator.between, key, current, start)
        self._last = key, coming
        return coming

"""The key frame that labels are propagated from, and the cache that holds it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.fast.motion import Motion
from lowlat_seg_ros.fast.motion_beside_network import FoundMotion
from lowlat_seg_ros.models.segmentation_network import LowFeatures


@dataclass(frozen=True, eq=False)
class SeenFrame:
    """A frame that Sl has seen: all that is needed to make a key frame of it."""

    sequence: int  # frames since the engine's start
    stamp: int  # nanoseconds
    image: Tensor  # (1, 3, H, W) uint8, RGB, at the network's input size
    low: LowFeatures
    coming_motion: Future[FoundMotion] | None = None  # where logits are carried along the optical flow

    @property
    def motion_picture(self) -> NDArray[np.uint8] | None:
        """What later frames' motion is found from; waits for it."""
        return None if self.coming_motion is None else self.coming_motion.result().picture

    @property
    def found_motion(self) -> Motion | None:
        """Since the key frame that there was; waits for it."""
        return None if self.coming_motion is None else self.coming_motion.result().motion


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """A frame's low-level and high-level features, never one without the other (contract 2), and what they show.

    It is immutable, so that a cache which swaps one reference swaps the pair.
    """

    sequence: int
    stamp: int
    low: LowFeatures  # F_l of this frame
    high: Tensor  # F_h of this frame, (1, C_h, h, w)
    is_accurate: bool  # from Sh, not propagated by the fast track
    logits: Tensor | None = None  # (1, classes, r h, r w); where they are carried along the optical flow
    motion_picture: NDArray[np.uint8] | None = None  # likewise

    @staticmethod
    def of(frame: SeenFrame, high: Tensor, logits: Tensor | None, *, is_accurate: bool) -> KeyFrame:
        return KeyFrame(frame.sequence, frame.stamp, frame.low, high, is_accurate, logits, frame.motion_picture)


class KeyFrameCache:
    """The key frame in use, and which frames were the newest to become one. Used by the engine's thread alone."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything, as before the first frame."""
        self._key: KeyFrame | None = None
        self._newest_sequence = -1
        self._newest_accurate_sequence = -1

    @property
    def key(self) -> KeyFrame | None:
        """What labels are propagated from now; None before the first key frame."""
        return self._key

    def frames_since_key(self, sequence: int) -> int:
        """Frames since the newest one that became a key, whether or not Sh has finished with it."""
        return sequence - self._newest_sequence

    def put(self, key: KeyFrame) -> None:
        """The current frame becomes a key frame, temporary or accurate."""
        self._use(key)
        self._newest_sequence = key.sequence

    def offer_late(self, key: KeyFrame) -> bool:
        """The slow track's result for a frame that became a key earlier; returns whether it is used (contract 3).

        It replaces its own temporary version, and a newer temporary one too: an accurate feature that is a few frames
        older ends the chain of features propagated from propagated ones. It never replaces a newer accurate one.
        """
        if key.sequence <= self._newest_accurate_sequence:
            return False
        self._use(key)
        self._newest_sequence = max(self._newest_sequence, key.sequence)  # a first frame was never put
        return True

    def _use(self, key: KeyFrame) -> None:
        self._key = key
        if key.is_accurate:
            self._newest_accurate_sequence = key.sequence

"""What the engine says about one frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.fast.confidence import Evidence
from lowlat_seg_ros.stream.key_frames import KeyReason
from lowlat_seg_ros.stream.slow_lane import SlowTrackCounts

LARGEST_CONFIDENCE: Final = 255


@dataclass(frozen=True)
class StageTimes:
    """Milliseconds in each stage of one ``segment`` call; 0 for a stage that the frame did not go through.

    On CUDA a stage's figure is the time until its kernels were queued. ``labels`` copies its result to the host and so
    waits for all of them, as does ``schedule`` where the policy measures something: ``total`` is the GPU's time too.
    """

    low: float = 0.0  # resizing, normalising, Sl
    schedule: float = 0.0  # the policy's measure and decision
    high: float = 0.0  # Sh, where this call waited for it
    propagate: float = 0.0  # the propagation: from the key frame's answer to this frame's logits
    labels: float = 0.0  # upsampling, largest logit, the frame's size
    total: float = 0.0  # from entry to return, also what is in no stage


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """The labels of the frame that was given, and how they came about."""

    labels: NDArray[np.uint8]  # (H, W) of the frame, class ids; 255 = unlabelled
    stamp: int  # of the frame, nanoseconds
    sequence: int  # frames before this one since the engine's start
    is_key_frame: bool  # it is in the cache now or, where there was no key frame, on its way there
    key_reason: KeyReason  # why the policy wanted a key frame; "" where it did not
    deviation: float  # what was compared with ``threshold``; nan where nothing was measured
    threshold: float
    key_stamp: int  # of the key frame the labels came from; this frame's own where it has none
    key_age_frames: int  # frames between that key frame and this one
    key_is_accurate: bool  # that key frame's answer came from Sh; false at age 0: labels of Sl alone
    waited_for_slow_track: bool  # Sh ran within this call
    milliseconds: StageTimes
    slow_track: SlowTrackCounts
    propagation: str  # its name: how labels come from a key frame
    classifier_agreement: float  # of what just_in_time learned with the last answer, judged before; nan: not known
    classifier_age_ms: float  # from the newest key frame that it learned from to this frame; nan where not known
    evidence: Evidence | None = field(repr=False)  # behind ``confidence``; None where that is 0 or 1 everywhere
    unlabelled_reason: str  # why all labels are 255; "" where they are not
    warnings: tuple[str, ...]  # one sentence each; empty where all is well

    @cached_property
    def confidence(self) -> NDArray[np.uint8]:
        """(H, W) of the frame: the estimated probability that a label is the slow network's own, 255 for one.

        0 before the slow network's first answer. Worked out when it is asked for (``fast.confidence``) from what a
        result keeps for that in ``evidence``, some megabytes. Who keeps many results and asks no more keeps
        ``dataclasses.replace(result, evidence=None)``.
        """
        height, width = self.labels.shape
        return np.asarray(cv2.resize(self._on_grid, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)

    @property
    def mean_confidence(self) -> float:
        """Of all places, 0 to 1."""
        return float(self._on_grid.mean()) / LARGEST_CONFIDENCE

    @cached_property
    def _on_grid(self) -> NDArray[np.uint8]:
        if self.evidence is not None:
            return self.evidence.probability()
        is_own = self.key_is_accurate and self.key_age_frames == 0
        return np.full((1, 1), LARGEST_CONFIDENCE if is_own else 0, np.uint8)


class TellsItsKey(Protocol):
    """What a result and its message in ROS say of where labels came from."""

    key_age_frames: int
    key_is_accurate: bool


def has_key(result: SegmentationResult | TellsItsKey) -> bool:
    """Whether the labels came from a key frame; else Sl made them alone, on a first frame."""
    return result.key_age_frames > 0 or result.key_is_accurate

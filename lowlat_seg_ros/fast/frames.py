"""What the two tracks know of a frame: what Sl saw in it, what a network answered, and the key frame that is both."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from lowlat_seg_ros.fast.motion import FoundMotion, MotionSearch

if TYPE_CHECKING:
    from lowlat_seg_ros.fast.confidence import Evidence


class LowFeatures(NamedTuple):
    """What the fast track keeps of a frame: F_l, and the parts of both predictors that need no second frame."""

    low: Tensor  # F_l, (B, C_l, h, w)
    kernel_guidance: Tensor  # (B, kernel_channels, h, w)
    deviation_guidance: Tensor  # (B, deviation_channels, h, w)


class Answer(NamedTuple):
    """What a frame shows: by the slow network, or by a propagation in its place."""

    logits: Tensor  # (1, classes, h, w), on any grid
    feature: Tensor | None = None  # F_h, (1, C_h, h, w), that the logits come from; None where there is none to carry
    ids: tuple[int, ...] | None = None  # of the channels, 255 for no class; None: 0, 1, … of the network's
    doubt: Tensor | None = None  # (1, 1, h, w), 0 to 1, of a propagation: how little of it is the key frame's

    def class_ids(self) -> tuple[int, ...]:
        """Of the logits' classes, one a channel."""
        return tuple(range(self.logits.shape[1])) if self.ids is None else self.ids


@dataclass(frozen=True, eq=False)
class SeenFrame:
    """A frame that Sl has seen: all that is needed to make a key frame of it."""

    sequence: int  # frames since the engine's start
    stamp: int  # nanoseconds
    image: Tensor  # (1, 3, H, W) uint8, RGB, at the network's input size
    low: LowFeatures
    motion: MotionSearch | Future[FoundMotion] | None = None  # since the key frame then; where wanted
    arrived: int = 0  # nanoseconds on a clock that never goes back
    time: int = 0  # nanoseconds on the stream's clock


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """A frame and what it shows, never one without the other (contract 2).

    It is immutable, so that a cache which swaps one reference swaps all of it.
    """

    frame: SeenFrame
    answer: Answer
    is_accurate: bool  # the slow network's answer, not the fast track's
    evidence: Evidence | None = None  # how far the fast track's answer can be believed; None of an accurate one

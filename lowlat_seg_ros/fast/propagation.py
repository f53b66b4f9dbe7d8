"""The seam of propagations: how a frame gets its labels from an earlier key frame. One file an instance.

A new one is a subclass of ``Propagation`` in a file of its own, a line in ``fast.registry``, a test and a paragraph in
``docs/design.md``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.fast.confidence import PRIOR, Prior
from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.slow.network import FeatureHead, SlowNetwork


class PropagationError(Error):
    """A propagation that is not known or cannot carry what the networks give; the message says what was expected."""


class ClassifierState(NamedTuple):
    """How far what was learned from the slow network's answers can be trusted."""

    agreement: float  # with the last answer, judged before it was learned from: a share of places; nan before
    stamp: int  # of the newest key frame behind it, nanoseconds


class Propagation(ABC):
    """One camera's. The slow track calls ``prepare`` and ``learn``, in its own thread; the fast track the others."""

    confidence_prior: Prior = PRIOR  # how far its labels are to be believed before the first answer that tells
    needs_motion = False  # whether each frame is to come with the optical flow since its key frame
    classifier_state: ClassifierState | None = None  # of what it has learned, if it learns one

    def __init__(self, fast: FastNetwork, slow: SlowNetwork) -> None:
        """Raises PropagationError where it cannot carry what ``slow`` gives."""
        self.fast = fast
        self.slow = slow

    @abstractmethod
    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        """What the current frame shows, from the key frame. If it becomes a key frame itself, this is kept of it."""

    def answer_without_key(self, seen: SeenFrame) -> Answer | None:
        """What a frame shows by itself: by Sl's own classifier, which is less but there in time.

        None, and so no labels, where that classifier does not know the slow network's classes.
        """
        if self.fast.classes != self.slow.classes:
            return None
        return Answer(self.fast.classify_low(seen.low.low))

    def warm_up(self, key: KeyFrame, seen: SeenFrame) -> None:  # noqa: B027  # for most, ``answer`` has shown all there is
        """Run once what ``answer`` has no occasion for before the first key frame, and leave no trace."""

    def prepare(self, answer: Answer, frame: SeenFrame) -> Answer:
        """What is handed over of the slow network's answer for a frame."""
        return answer

    def learn(self, key: KeyFrame, may_go_on: Callable[[], bool]) -> None:  # noqa: B027  # most have nothing to learn
        """Learn from the slow network's answer, once it has been handed over.

        ``may_go_on`` is to be asked every few milliseconds; after the first false a key frame waits.
        """

    def learn_more(self, may_go_on: Callable[[], bool]) -> None:  # noqa: B027
        """Go on with what ``learn`` had to leave, now that no key frame waits."""


class FeaturePropagation(Propagation):
    """One that carries F_h. It takes a slow network that gives a feature, on the grid of F_l."""

    name = ""  # as the parameter ``propagation`` has it

    def __init__(self, fast: FastNetwork, slow: SlowNetwork) -> None:
        """Raises PropagationError where the slow network gives no feature, or one on another grid."""
        super().__init__(fast, slow)
        self.head = self._head()

    def _head(self) -> FeatureHead:
        head = self.slow.head
        if head is None:
            raise PropagationError(
                f"propagation {self.name!r} carries a feature, and the slow network gives none; expected 'just_in_time'"
            )
        if head.stride != self.fast.stride:
            raise PropagationError(
                f"the slow network's feature map has stride {head.stride}; "
                f"expected {self.fast.stride}, the stride at which the fast network propagates"
            )
        return head

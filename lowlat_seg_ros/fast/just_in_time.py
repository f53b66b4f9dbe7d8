"""Propagation that needs no training for the slow network: its logits carried, and where they do not explain what is
seen, a classifier that the slow track trains on its own last answers (``fast.classifier``).

``docs/any_network.md`` has what it is worth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.classifier import FINENESS, NO_CHANCE, Classifier, Learner
from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.motion import carry, enlarge, fold, is_another_scene, unfold
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.propagation import ClassifierState, Propagation
from lowlat_seg_ros.slow.network import SlowNetwork

NUMBERS_A_PLACE: Final = 256  # of logits, at the most, that are carried for each place of F_l
FINEST: Final = 4  # logits a side of such a place
LEAST_LOGARITHM: Final = -4.0  # of a probability: with a lower one a thin thing drowns in its certain surroundings
COMPILED_FOR: Final = (16, 24, 12, 18, 9, 1)  # channels: a GPU's kernel is another one for each power of two in them
EARNEST: Final = 1.5  # power of the doubt: what the classifier takes over has to be doubted in earnest
LEAST_AGREEMENT: Final = 0.5  # of the classifier with the next answer; below, what it knows is of another scene
STALE_AFTER: Final = 10_000_000_000  # nanoseconds without an answer, after which Sl's own classifier is trusted more


class JustInTimePropagation(Propagation):
    """``propagation: just_in_time``."""

    # Its logits are cut off below, so that a lead is worth more: what answers made of the street's seeds 100, 101, 103.
    confidence_prior = (1.9, 2.3, -0.9, -0.5, -0.1, -1.6)
    needs_motion = True

    def __init__(self, fast: FastNetwork, slow: SlowNetwork) -> None:
        super().__init__(fast, slow)
        self._learner = Learner()  # the slow track's own
        self._classifier: Classifier | None = None  # swapped by the slow track, in one piece
        self._in_use: Classifier | None = None  # keeps its memory until the frame that it labels is done
        self._asked: tuple[Classifier, tuple[int, ...], Classifier] | None = None  # the fast track's

    def prepare(self, answer: Answer, frame: SeenFrame) -> Answer:
        """Log-probabilities of the classes that are there, on a grid whose places divide those of F_l.

        The classifier's classes are among them, so that it can say of later frames what this one does not show.
        """
        height, width = frame.low.low.shape[-2:]
        probabilities = torch.softmax(answer.logits.float(), dim=1)
        fineness = min(FINEST, -(-probabilities.shape[-1] // width))
        channels = self._channels_to_carry(probabilities, answer.class_ids())
        while fineness > 1 and len(channels) * fineness**2 > NUMBERS_A_PLACE:
            fineness -= 1
        carried = resampled(probabilities[:, channels], (fineness * height, fineness * width))
        logits = carried.log().clamp_(min=LEAST_LOGARITHM).to(frame.low.low.dtype)
        logits = logits.contiguous(memory_format=torch.channels_last)
        return Answer(logits, fold(logits, fineness), tuple(answer.class_ids()[channel] for channel in channels))

    def _channels_to_carry(self, probabilities: Tensor, ids: tuple[int, ...]) -> list[int]:
        """All that Sl's own classifier knows too, any of which may come into sight, where so many can be carried.

        Otherwise the classes that are the likeliest somewhere, and those that the just-in-time classifier knows.
        """
        if self._sl_knows_classes and len(ids) * FINEST**2 <= NUMBERS_A_PLACE:
            return list(range(len(ids)))
        classifier = self._classifier  # once: another thread may exchange it
        known = () if classifier is None else classifier.ids
        likeliest = torch.unique(probabilities.argmax(dim=1)).tolist()
        return [channel for channel, label in enumerate(ids) if channel in likeliest or label in known]

    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        key_logits, ids = key.answer.logits, key.answer.class_ids()
        fineness = key_logits.shape[-1] // seen.low.low.shape[-1]
        folded = key.answer.feature if key.answer.feature is not None else fold(key_logits, fineness)
        moved, doubt = self.fast.move(folded, key.frame.low, seen.low)
        strange = self.answer_without_key(seen) if is_another_scene(doubt) else None
        if strange is not None:
            return strange._replace(doubt=torch.ones_like(doubt))
        raw, doubt = doubt, doubt.pow(EARNEST)
        alone = self._alone(seen, ids, lambda: unfold(moved, fineness))
        motion = None if seen.motion is None else seen.motion.result().motion
        if motion is None:
            return Answer(unfold(moved, fineness), ids=ids, doubt=raw)
        if alone is not None:
            doubt = enlarge(doubt, alone.shape[-2:])
        return Answer(carry(key_logits, moved, motion, doubt, alone), ids=ids, doubt=raw)

    def _alone(self, seen: SeenFrame, ids: tuple[int, ...], carried: Callable[[], Tensor]) -> Tensor | None:
        """Log-probabilities (1, classes, h', w') of what is seen without the key frame; None where nothing is known.

        By the just-in-time classifier, once it is taught and while it hears of the road. For a class that no key frame
        has shown it, and where it cannot be asked, Sl's own classifier speaks; of a strange network's new class it is
        what was ``carried``, so that nobody is overruled by who does not know it.
        """
        classifier = self._newest()
        if classifier is None or not classifier.is_taught or self._is_stale(classifier, seen):
            return self._by_sl(seen, ids) if self._sl_knows_classes else None
        alone = self._of_classes(classifier, ids)(seen.low)
        unknown = [channel for channel, label in enumerate(ids) if label not in classifier.sure_of]
        if unknown:
            others = resampled(self._by_sl(seen, ids) if self._sl_knows_classes else carried(), alone.shape[-2:])
            for channel in unknown:
                alone[:, channel] = others[:, channel]
        return alone

    def _of_classes(self, classifier: Classifier, ids: tuple[int, ...]) -> Classifier:
        """As the classifier's own, made once for the frames that ask for the same."""
        if self._asked is None or self._asked[:2] != (classifier, ids):
            self._asked = classifier, ids, classifier.of_classes(ids)
        return self._asked[2]

    def _is_stale(self, classifier: Classifier, seen: SeenFrame) -> bool:
        return self._sl_knows_classes and seen.time - classifier.learned_at > STALE_AFTER

    @property
    def _sl_knows_classes(self) -> bool:
        return self.fast.classes == self.slow.classes

    def _by_sl(self, seen: SeenFrame, ids: tuple[int, ...]) -> Tensor:
        """What Sl's own classifier says, log-probabilities of these classes on the just-in-time classifier's grid."""
        grid = tuple(FINENESS * size for size in seen.low.low.shape[-2:])
        logits = self.fast.classify_low(seen.low.low)
        step = max(1, logits.shape[-1] // grid[1])
        some = logits[..., step // 2 :: step, step // 2 :: step]  # finer ones cost milliseconds
        told = torch.log_softmax(some.float().contiguous(), dim=1)  # quick with places innermost
        if ids != tuple(range(told.shape[1])):
            told = functional.pad(told, (0, 0, 0, 0, 0, 1), value=NO_CHANCE)
            told = told[:, [min(label, told.shape[1] - 1) for label in ids]]
        return resampled(told, grid).to(seen.low.low.dtype).contiguous(memory_format=torch.channels_last)

    def answer_without_key(self, seen: SeenFrame) -> Answer | None:
        """By Sl's classifier where it knows the classes, since no scene is strange to it; else just in time."""
        answer = super().answer_without_key(seen)
        return self._classified(seen) if answer is None else answer

    def _classified(self, seen: SeenFrame) -> Answer | None:
        """By what was learned alone; None before that was a whole lesson."""
        classifier = self._newest()
        if classifier is None or not classifier.is_taught:
            return None
        return Answer(classifier(seen.low), ids=classifier.ids)

    def _newest(self) -> Classifier | None:
        """The fast track's classifier until it asks again: the slow track may exchange it at any time."""
        self._in_use = classifier = self._classifier
        return classifier

    @property
    def classifier_state(self) -> ClassifierState | None:  # type: ignore[override]
        classifier = self._classifier  # once: the slow track may exchange it
        return None if classifier is None else ClassifierState(classifier.agreement, classifier.learned_from)

    def warm_up(self, key: KeyFrame, seen: SeenFrame) -> None:
        other = JustInTimePropagation(self.fast, self.slow)
        other._teach(key, lambda: False)
        assert other._classifier is not None
        other._classifier = replace(other._classifier, is_taught=True)
        other.answer(key, seen)
        low = key.frame.low
        height, width = low.low.shape[-2:]
        for channels in COMPILED_FOR:
            folded = low.low.new_zeros(1, height, width, channels).permute(0, 3, 1, 2)  # in memory as `fold` has it
            self.fast.move(folded, low, seen.low)

    def learn(self, key: KeyFrame, may_go_on: Callable[[], bool]) -> None:
        """Train a new classifier, this key frame included, and swap it in."""
        with self._dropped_if_spoilt():
            self._teach(key, may_go_on)

    def learn_more(self, may_go_on: Callable[[], bool]) -> None:
        with self._dropped_if_spoilt():
            if self._classifier is not None:
                self._classifier = self._learner.go_on(self._classifier, may_go_on)

    @contextmanager
    def _dropped_if_spoilt(self) -> Iterator[None]:
        try:
            yield
        except FloatingPointError:
            self._learner, self._classifier = Learner(), None
            raise

    def _teach(self, key: KeyFrame, may_go_on: Callable[[], bool]) -> None:
        probabilities = key.answer.logits.float().exp()
        grid = tuple(FINENESS * size for size in key.frame.low.low.shape[-2:])
        targets = functional.normalize(resampled(probabilities, grid), p=1.0, dim=1)
        agreement = self._agreement(key, targets)
        is_of_another_scene = agreement < LEAST_AGREEMENT and self._learner.is_taught
        learner = Learner() if is_of_another_scene else self._learner
        self._classifier, self._learner = learner.learn(key, targets, agreement, may_go_on), learner

    def _agreement(self, key: KeyFrame, targets: Tensor) -> float:
        """The share of places where the classifier says what the slow network then said; nan before there is one."""
        if self._classifier is None:
            return math.nan
        expected = self._classifier.of_classes(key.answer.class_ids())(key.frame.low)
        targets = resampled(targets, expected.shape[-2:])
        return float((expected.argmax(dim=1) == targets.argmax(dim=1)).float().mean())


class JustInTimeAlone(JustInTimePropagation):
    """The classifier alone, nothing carried: the floor under the propagation, for evaluations."""

    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        return self._classified(seen) or super().answer(key, seen)


def resampled(picture: Tensor, grid: tuple[int, ...]) -> Tensor:
    """(1, C, …) on another grid of (height, width): the mean of what a coarser place covers, bilinearly finer."""
    if tuple(picture.shape[-2:]) == tuple(grid):
        return picture
    if picture.shape[-2] >= grid[0] and picture.shape[-1] >= grid[1]:
        return functional.adaptive_avg_pool2d(picture, (grid[0], grid[1]))
    return enlarge(picture, grid)

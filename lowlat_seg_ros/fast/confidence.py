"""How likely a frame's labels are the slow network's own, place by place.

Logistic regression on what the fast track knows anyway: how far the likeliest class is ahead, the doubt of what was
carried, and how long ago the slow network last saw the scene. The slow track fits it to its own answers: on each key
frame the fast track has said something too, so that every answer tells where that was right.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.motion import enlarge
from lowlat_seg_ros.fast.pictures import Size, frame_size

FINENESS: Final = 2  # places a side of one of F_l
NANOSECONDS_A_SECOND: Final = 1e9
ORDINARY_AGE: Final = 0.25  # seconds, at which an age says nothing
LEAST_AGE: Final = 0.01  # seconds
LARGEST_LEAD: Final = 9.0  # log-odds
KEYS_REMEMBERED: Final = 8
THINNED: Final = 2  # every so many places a side are learned from
STEPS: Final = 4  # of Newton's method, an answer
LARGEST_STEP: Final = 1.0  # of a weight
PLACES_IN_ONE: Final = 40.0  # neighbouring places are right and wrong together: so many count as one

# Of 1, lead, doubt, lead x doubt, log age, the frame's mean doubt. Plain guesses: the answers soon outweigh all of them
# but that of age, since key frames tell little of labels of another age than their own. That one is chosen on the
# synthetic street's seeds 100, 103 and 105, Sh 2 and 8 frames late: -0.6 was as good at 2 and half as good at 8.
Prior = tuple[float, float, float, float, float, float]
PRIOR: Final[Prior] = (1.0, 1.0, -1.0, -0.5, -0.1, -2.0)
PRIOR_SPREAD: Final = (1.0, 1.0, 1.0, 1.0, 0.15, 1.0)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the fast track knows of how far a frame's labels can be believed; worked out when it is asked for."""

    answer: Answer
    seen: SeenFrame
    key: KeyFrame | None  # whose answer was carried; None of a key frame's own evidence, which keeps no other alive
    origin_time: int  # of the frame that the slow network saw, nanoseconds on the stream's clock
    weights: Tensor  # of the regression, as they were then
    inherited_doubt: Tensor | None = None  # of a key frame from an earlier one that was itself propagated

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) of the places."""
        height, width = self.seen.low.low.shape[-2:]
        return FINENESS * height, FINENESS * width

    @cached_property
    def doubt(self) -> Tensor:
        """(h, w) float32 on the CPU, 0 to 1: how little of the key frame's answer could be carried here."""
        doubt = torch.zeros(self.grid)
        if self.answer.doubt is not None:
            doubt = enlarge(self.answer.doubt.float(), self.grid)[0, 0].cpu()
        motion = None if self.seen.motion is None else self.seen.motion.result().motion
        if motion is not None:
            of_flow = cv2.resize(motion.doubt.cpu().numpy(), self.grid[::-1], interpolation=cv2.INTER_AREA)
            doubt = torch.maximum(doubt, torch.from_numpy(np.asarray(of_flow, np.float32)))
        inherited = self._inherited()
        return doubt if inherited is None else torch.maximum(doubt, inherited)

    def _inherited(self) -> Tensor | None:
        if self.key is None or self.key.evidence is None:
            return self.inherited_doubt
        return self.key.evidence.doubt

    def of_key_frame(self) -> Evidence:
        """The same without the key frame before, which nothing needs to keep alive any longer."""
        return replace(self, key=None, inherited_doubt=self._inherited())

    def probability(self) -> NDArray[np.uint8]:
        """(h, w): that the label is the slow network's own, 255 for one."""
        odds = torch.tensordot(self.weights, self.features(), dims=1)
        return torch.sigmoid(odds).mul_(255).round_().to(torch.uint8).numpy()

    def features(self) -> Tensor:
        """(6, h, w) float32 on the CPU: what the regression is on."""
        logits = nearest(self.answer.logits, self.grid)
        # Minus the logarithm of the largest probability; torch.logsumexp takes twice as long.
        behind = logits.sub_(logits.amax(dim=0)).exp_().sum(dim=0).log_()
        lead = -torch.log(torch.expm1(behind).clamp(min=float(np.exp(-LARGEST_LEAD)))).cpu()
        doubt = self.doubt
        age = float(np.log(max((self.seen.time - self.origin_time) / NANOSECONDS_A_SECOND, LEAST_AGE) / ORDINARY_AGE))
        constants = torch.tensor([1.0, age, float(doubt.mean())])[:, None, None].expand(-1, *self.grid)
        one, log_age, mean_doubt = constants
        return torch.stack([one, lead, doubt, lead * doubt, log_age, mean_doubt])


def nearest(logits: Tensor, grid: tuple[int, int]) -> Tensor:
    """(1, C, …) at the places of a grid of (height, width), (C, height, width) float32 in memory of its own."""
    height, width = logits.shape[-2:]
    step = height // grid[0]
    if (step * grid[0], step * grid[1]) != (height, width):
        return functional.interpolate(logits.float(), list(grid), mode="nearest-exact")[0].clone()
    places = logits[0, :, step // 2 :: step, step // 2 :: step]
    return torch.empty(places.shape, device=logits.device).copy_(places)


class Lesson(NamedTuple):
    """What the fast track said of a key frame, and how much of it the slow network then said too."""

    features: Tensor  # (places, 6)
    rights: Tensor  # (places,) 0 to 1: the share of a place's pixels


class Confidence:
    """One camera's. The slow track calls ``judge``, the fast track the rest."""

    def __init__(self, input_size: Size, prior: Prior = PRIOR) -> None:
        """
        Args:
            input_size: (width, height) at which labels are compared.
            prior: the weights before anything was learned.
        """
        self._input_size = input_size
        self.prior = prior
        self.weights = torch.tensor(prior)  # exchanged by the slow track, in one piece
        self._claims: OrderedDict[int, tuple[Evidence, NDArray[np.uint8]]] = OrderedDict()  # by the frame's sequence
        self._lessons: deque[Lesson] = deque(maxlen=KEYS_REMEMBERED)  # the slow track's own

    def expect(self, evidence: Evidence, labels: NDArray[np.uint8]) -> None:
        """Remember what was said of a key frame until the slow network's answer is there."""
        self._claims[evidence.seen.sequence] = evidence, self._compared(labels)  # the caller may write to its own
        while len(self._claims) > 2:  # one in work and one waiting
            self._claims.popitem(last=False)

    def judge(self, sequence: int, truth: NDArray[np.uint8]) -> None:
        """Learn where the fast track was right about a frame. ``truth``: the slow network's labels of it."""
        evidence, labels = self._claims.pop(sequence, (None, None))
        if evidence is None or labels is None:
            return
        right = (labels == truth).astype(np.float32)
        rights = torch.from_numpy(np.asarray(cv2.resize(right, evidence.grid[::-1], interpolation=cv2.INTER_AREA)))
        some = slice(None, None, THINNED)
        self._lessons.append(Lesson(evidence.features()[:, some, some].flatten(1).t(), rights[some, some].flatten()))
        self.weights = fitted(self.weights, list(self._lessons), self.prior)

    def _compared(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """At the size at which they are compared, in memory of their own."""
        if frame_size(labels) == self._input_size:
            return labels.copy()
        return np.asarray(cv2.resize(labels, self._input_size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def fitted(weights: Tensor, lessons: list[Lesson], of_before: Prior = PRIOR) -> Tensor:
    """The likeliest weights, from those before on: a few steps of Newton's method, in double precision.

    None moves a weight by more than ``LARGEST_STEP``. Where all guesses are near 0 or 1 there is next to no curvature,
    and a whole step would end as far on the other side, answer after answer.
    """
    inputs = torch.cat([lesson.features for lesson in lessons]).double()
    rights = torch.cat([lesson.rights for lesson in lessons]).double()
    prior, precision = torch.tensor(of_before).double(), torch.tensor(PRIOR_SPREAD).double() ** -2
    found = weights.double()
    for _ in range(STEPS):
        guess = torch.sigmoid(inputs @ found)
        gradient = inputs.t() @ (rights - guess) / PLACES_IN_ONE - precision * (found - prior)
        curvature = (inputs.t() * (guess * (1 - guess))) @ inputs / PLACES_IN_ONE + torch.diag(precision)
        step = torch.linalg.solve(curvature, gradient)
        found = found + step * (LARGEST_STEP / step.abs().max().clamp(min=LARGEST_STEP))
    return found.float()

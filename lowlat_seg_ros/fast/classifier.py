"""The just-in-time classifier: what Sl's feature means on this street now, learned from the slow network's answers.

Source of the idea: Mullapudi et al., "Online Model Distillation for Efficient Video Inference", ICCV 2019, where a
whole network learns. Here it is a perceptron on Sl's feature, which every frame has anyway.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.frames import KeyFrame, LowFeatures
from lowlat_seg_ros.fast.motion import fold, unfold
from lowlat_seg_ros.kernels import cpp
from lowlat_seg_ros.runtime.captured import captured

HIDDEN: Final = 64  # units; src/classifier_steps.cpp is compiled for so many
KEYS_REMEMBERED: Final = 6
IDS: Final = 256  # of classes, and 255 for none
FINENESS: Final = 2  # parts a side of one of F_l's places that it tells apart: a pole fills none of those
PARTS: Final = FINENESS**2
OUTPUTS: Final = 128  # that are told of a place at the most: with many classes it is told as one
STEPS: Final = 30  # of Adam, a key frame
PLACES: Final = 2048  # that a step looks at
PLACES_REMEMBERED: Final = 8192  # of a key frame, at the most
LEARNING_RATE: Final = 0.02
WEIGHT_DECAY: Final = 1e-4
GUIDANCE_SCALE: Final = 3.0  # of unit vectors, beside features of about that size
WINDOW: Final = 5  # places, around each, over which F_l is averaged
SMALLEST_SPREAD: Final = 0.1  # of an input, of the mean one: what is still on the first key frame may move later
ENOUGH_SEEN: Final = 0.0003  # of all remembered key frames: what fills less is known better by others (docs/design.md)
NO_CHANCE: Final = -20.0  # the logit of a class that was never seen
FIRST_DECAY, SECOND_DECAY, TINY = 0.9, 0.999, 1e-8  # Adam's


def describe_places(low: Tensor, guidance: Tensor) -> Tensor:
    """What the classifier looks at, (h * w, inputs): F_l, what matching sees, where it is, and F_l around it."""
    height, width = low.shape[-2:]
    rows, columns = (torch.linspace(-1, 1, size, device=low.device) for size in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    place = torch.stack([x, y, y * y, x * y])[None].to(low.dtype)
    around = functional.avg_pool2d(low, WINDOW, 1, WINDOW // 2)
    seen = torch.cat([low, GUIDANCE_SCALE * guidance, place, around], dim=1)
    return seen[0].flatten(1).t()


@dataclass(frozen=True, eq=False)
class Classifier:
    """Weights that never change: the slow track makes a new one and hands it over in one piece."""

    first: Tensor  # (inputs, HIDDEN), the inputs' normalisation folded in
    first_bias: Tensor
    second: Tensor  # (HIDDEN, parts * classes), each part's classes side by side
    second_bias: Tensor
    ids: tuple[int, ...]  # of the classes, in the order of the channels
    sure_of: frozenset[int] = frozenset()  # of them, those that it has seen enough of
    learned_from: int = 0  # the stamp of the newest key frame behind it, nanoseconds
    learned_at: int = 0  # that frame's time on the stream's clock, nanoseconds
    is_taught: bool = True  # it has had a whole lesson's steps
    agreement: float = math.nan  # of the one before it with that key frame's answer, a share of places; nan: none was

    def of_classes(self, ids: tuple[int, ...]) -> Classifier:
        """The same with other channels: what it does not know has no chance, what is not asked for is left out."""
        if ids == self.ids:
            return self
        known = [label for label in self.ids if label in ids]
        source, target = ([order.index(label) for label in known] for order in (self.ids, ids))
        second = self.second.new_zeros(HIDDEN, self.parts, len(ids))
        bias = self.second_bias.new_full((self.parts, len(ids)), NO_CHANCE)
        second[..., target] = self.second.view(HIDDEN, self.parts, -1)[..., source]
        bias[:, target] = self.second_bias.view(self.parts, -1)[:, source]
        second = second.flatten(1).t().contiguous().t()  # as it lies when it is learned
        return replace(self, second=second, second_bias=bias.flatten(), ids=ids)

    @property
    def parts(self) -> int:
        """Of a place."""
        return len(self.second_bias) // len(self.ids)

    def __call__(self, low: LowFeatures) -> Tensor:
        """Log-probabilities (1, classes, h, w), or of twice that size, channels last in memory."""
        layers = self.first, self.first_bias, self.second, self.second_bias
        return _told(low.low, low.kernel_guidance, *layers, parts=self.parts)


@captured
def _told(
    low: Tensor, guidance: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor, *, parts: int
) -> Tensor:
    height, width = low.shape[-2:]
    hidden = torch.addmm(first_bias, describe_places(low, guidance), first).relu_()
    # Places innermost: along a dimension as short as the classes torch's softmax takes ten times as long.
    scores = torch.addmm(second_bias[:, None], second.t(), hidden.t())
    told = torch.log_softmax(scores.unflatten(0, (parts, -1)), dim=1)
    told = unfold(told.view(1, -1, height, width), round(parts**0.5))
    return told.contiguous(memory_format=torch.channels_last)


class Lesson(NamedTuple):
    """A key frame's places and what the slow network said of each."""

    inputs: Tensor  # (h * w, inputs), normalised
    targets: Tensor  # (h * w, PARTS, classes), probabilities
    ids: tuple[int, ...]  # of the classes
    shown: frozenset[int]  # of those that are the likeliest somewhere
    support: Counter[int]  # of ids: in how many parts of places they are


class Learner:
    """Trains the classifier. The slow track's own: the fast track sees what ``learn`` returns and nothing else.

    It has weights for every id that there is; a step costs by those that the remembered key frames show.
    """

    def __init__(self, seed: int = 0) -> None:
        """``seed``: of its random numbers, so that a run can be repeated."""
        self._lessons: deque[Lesson] = deque(maxlen=KEYS_REMEMBERED)
        self._random = np.random.default_rng(seed)
        self._mean = self._spread = torch.empty(0)
        self._state = torch.empty(0)  # (3, weights): the weights of all classes, and the gradient's two moments
        self._steps = 0
        self._steps_left = 0  # of the last lesson
        self._parts = PARTS  # of a place that are told apart

    def learn(
        self, key: KeyFrame, probabilities: Tensor, agreement: float, may_go_on: Callable[[], bool]
    ) -> Classifier:
        """Learn from one more key frame.

        Args:
            probabilities: (1, classes, h, w), by the slow network, of the answer's classes on a grid ``FINENESS`` times
                that of F_l; those of a place sum to one.
            agreement: of what was learned before with this answer, a share of places; nan if there is nothing.
            may_go_on: asked between two steps of some milliseconds; after the first false it ends with what it has.
        """
        low, ids = key.frame.low, key.answer.class_ids()
        inputs = describe_places(low.low, low.kernel_guidance).float().cpu()
        if not bool(torch.isfinite(inputs).all()):
            raise FloatingPointError("the key frame's F_l holds values that are nan or infinite")
        if not self._steps:
            self._begin(inputs)
        inputs = ((inputs - self._mean) / self._spread).contiguous()
        targets = fold(probabilities, FINENESS)[0].flatten(1).t().unflatten(1, (PARTS, -1)).float().cpu()
        if len(inputs) > PLACES_REMEMBERED:
            some = torch.from_numpy(self._random.choice(len(inputs), PLACES_REMEMBERED, replace=False))
            inputs, targets = inputs[some], targets[some]
        shown = frozenset(ids[channel] for channel in torch.unique(key.answer.logits.argmax(dim=1)).tolist())
        self._lessons.append(Lesson(inputs, targets, ids, shown, support_of(targets, ids)))
        # What no remembered key frame shows is forgotten: a stray pixel's class would stay for good.
        known = tuple(sorted(frozenset[int]().union(*(lesson.shown for lesson in self._lessons))))
        self._tell_apart(PARTS if PARTS * len(known) <= OUTPUTS else 1, inputs.shape[1])
        self._steps_left = STEPS
        learned = self._trained(known, inputs.shape[1], low.low, may_go_on)
        support = sum((lesson.support for lesson in self._lessons), Counter[int]())
        return replace(
            learned,
            sure_of=frozenset(label for label in known if support[label] >= ENOUGH_SEEN * support.total()),
            learned_from=key.frame.stamp,
            learned_at=key.frame.time,
            agreement=agreement,
        )

    def go_on(self, learned: Classifier, may_go_on: Callable[[], bool]) -> Classifier:
        """The rest of the lesson behind ``learned``, which was the last that this one gave."""
        if not self._steps_left:
            return learned
        better = self._trained(learned.ids, len(learned.first), learned.first, may_go_on)
        return replace(
            better,
            sure_of=learned.sure_of,
            learned_from=learned.learned_from,
            learned_at=learned.learned_at,
            agreement=learned.agreement,
        )

    def _trained(self, ids: tuple[int, ...], inputs: int, like: Tensor, may_go_on: Callable[[], bool]) -> Classifier:
        weights = self._weights_of(ids, inputs)
        state = self._state[:, weights]
        self._train(state, ids, may_go_on)
        if not bool(torch.isfinite(state).all()):
            raise FloatingPointError("the just-in-time classifier's weights have become nan or infinite")
        self._state[:, weights] = state
        return replace(self._classifier(state[0], ids, inputs, like), is_taught=self.is_taught)

    @property
    def is_taught(self) -> bool:
        """Whether what it gives has had a whole lesson's steps since it began."""
        return self._steps >= STEPS

    def _begin(self, inputs: Tensor) -> None:
        """Normalise as the first key frame needs it, and start from small random weights."""
        self._mean, spread = inputs.mean(0), inputs.std(0, correction=0)
        self._spread = spread.clamp(min=max(TINY, SMALLEST_SPREAD * float(spread.mean())))
        count = inputs.shape[1]
        layers = [(count, (count + 1) * HIDDEN), (HIDDEN, (HIDDEN + 1) * PARTS * IDS)]
        weights = [self._random.uniform(-1, 1, size) / np.sqrt(fan_in) for fan_in, size in layers]
        first = torch.from_numpy(np.concatenate(weights)).float()
        self._state = torch.stack([first, torch.zeros_like(first), torch.zeros_like(first)])

    def _second_layer(self, inputs: int) -> tuple[Tensor, Tensor]:
        """Views of its weights (3, PARTS, IDS, HIDDEN) and biases (3, PARTS, IDS)."""
        second = self._state[:, (inputs + 1) * HIDDEN :]
        weights, biases = second.split([PARTS * IDS * HIDDEN, PARTS * IDS], dim=1)
        return weights.unflatten(1, (PARTS, IDS, HIDDEN)), biases.unflatten(1, (PARTS, IDS))

    def _tell_apart(self, parts: int, inputs: int) -> None:
        """So many parts of a place from now on. One begins as all have been on average, several as the one has been."""
        if parts == self._parts:
            return
        for layer in self._second_layer(inputs):
            if parts == 1:
                layer[:, 0] = layer.mean(dim=1)
            else:
                layer[:] = layer[:, :1].clone()
        self._parts = parts

    def _weights_of(self, ids: tuple[int, ...], inputs: int) -> Tensor:
        """Where the weights of these classes stand among those of all, as ``step_classifier`` lays them out."""
        outputs = (torch.arange(self._parts)[:, None] * IDS + torch.tensor(ids)).flatten()
        second = (inputs + 1) * HIDDEN
        rows = second + outputs[:, None] * HIDDEN + torch.arange(HIDDEN)
        biases = second + PARTS * IDS * HIDDEN + outputs
        return torch.cat([torch.arange(second), rows.flatten(), biases])

    def _train(self, state: Tensor, ids: tuple[int, ...], may_go_on: Callable[[], bool]) -> None:
        inputs = torch.cat([lesson.inputs for lesson in self._lessons])
        targets = torch.zeros(len(inputs), PARTS, len(ids))
        first = 0
        for lesson in self._lessons:
            kept = [channel for channel, label in enumerate(lesson.ids) if label in ids]
            columns = [ids.index(lesson.ids[channel]) for channel in kept]
            rows = slice(first, first + len(lesson.inputs))
            told = lesson.targets
            if len(kept) < len(lesson.ids):
                told = functional.normalize(told[..., kept], p=1.0, dim=2)
            targets[rows][..., columns] = told
            first += len(lesson.inputs)
        if self._parts == 1:
            targets = targets.mean(dim=1, keepdim=True)
        while self._steps_left:
            self._steps_left -= 1
            chosen = torch.from_numpy(self._random.integers(len(inputs), size=PLACES))
            self._steps += 1
            step(inputs, targets, chosen, state, self._steps)
            if not may_go_on():
                return

    def _classifier(self, weights: Tensor, ids: tuple[int, ...], inputs: int, like: Tensor) -> Classifier:
        first, first_bias, second, second_bias = layers_of(weights, inputs, self._parts * len(ids))
        scaled = first / self._spread[:, None]
        return Classifier(
            first=scaled.to(like),
            first_bias=(first_bias - self._mean @ scaled).to(like),
            second=second.t().to(like, copy=True),
            second_bias=second_bias.to(like, copy=True),
            ids=ids,
        )


def support_of(targets: Tensor, ids: tuple[int, ...]) -> Counter[int]:
    """In how many parts each class is the likeliest. ``targets``: (places, parts, classes)."""
    channels, counts = torch.unique(targets.argmax(dim=2), return_counts=True)
    return Counter({ids[channel]: count for channel, count in zip(channels.tolist(), counts.tolist(), strict=True)})


def layers_of(weights: Tensor, inputs: int, outputs: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Views of (inputs, HIDDEN), (HIDDEN,), (outputs, HIDDEN) and (outputs,)."""
    sizes = inputs * HIDDEN, HIDDEN, outputs * HIDDEN, outputs
    first, first_bias, second, second_bias = weights.split(sizes)
    return first.view(inputs, HIDDEN), first_bias, second.view(outputs, HIDDEN), second_bias


def step(inputs: Tensor, targets: Tensor, chosen: Tensor, state: Tensor, number: int) -> None:
    """One step of Adam, ``state`` (3, weights) changing in place: in C++ where there is a library."""
    if cpp.can_run(inputs, targets, state):
        cpp.step_classifier(inputs, targets, chosen, state, number, LEARNING_RATE, WEIGHT_DECAY)
    else:
        step_in_torch(inputs, targets, chosen, state, number)


def step_in_torch(inputs: Tensor, targets: Tensor, chosen: Tensor, state: Tensor, number: int) -> None:
    """The reference, of any floating-point dtype."""
    x, y = inputs[chosen], targets[chosen]
    weights, first_moment, second_moment = state
    first, first_bias, second, second_bias = layers_of(weights, x.shape[1], y[0].numel())
    hidden = torch.relu(torch.addmm(first_bias, x, first))
    scores = torch.addmm(second_bias, hidden, second.t()).view_as(y)
    error = ((torch.softmax(scores, dim=2) - y) / y[..., 0].numel()).flatten(1)
    slope = (error @ second) * (hidden > 0)
    parts = x.t() @ slope, slope.sum(0), error.t() @ hidden, error.sum(0)
    gradient = torch.cat([part.flatten() for part in parts]) + WEIGHT_DECAY * weights
    first_moment.lerp_(gradient, 1 - FIRST_DECAY)
    second_moment.lerp_(gradient.square(), 1 - SECOND_DECAY)
    first_scale, second_scale = 1 - FIRST_DECAY**number, 1 - SECOND_DECAY**number
    weights -= LEARNING_RATE * (first_moment / first_scale) / ((second_moment / second_scale).sqrt() + TINY)

"""A threshold of the predicted deviation means a fraction of pixels, for any slow network and on any street.

Where as much is seen to change, the labels of another network than the predictor was trained with change more often, or
less; so do those of its own in another town or in the rain. Each pair of the slow network's answers tells how much they
did. What the predictor gives is moved by so much in log-odds that it is right on average over the last pairs.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.fast.frames import LowFeatures
from lowlat_seg_ros.fast.network import FastNetwork

PAIRS_REMEMBERED: Final = 8
PIXELS_THAT_COUNT: Final = 50  # of a pair: neighbouring ones change together
SPREAD: Final = 1.0  # of the shift before any pair was seen, log-odds
STEPS, LARGEST_STEP = 12, 1.0  # of Newton's method, and in log-odds, so that it ends from any beginning
LEAST: Final = 1e-4  # a fraction whose logarithm is taken


class Claim(NamedTuple):
    """What was predicted of a key frame."""

    since: int  # the sequence of the key frame before
    odds: float  # logarithm, of the fraction of pixels that have changed since


class CalibratedDeviation:
    """One camera's predicted deviation.

    The slow track calls ``learn``, the fast track the rest.
    """

    def __init__(self, network: FastNetwork) -> None:
        self._network = network
        self.shift = 0.0  # log-odds; exchanged by the slow track
        self._odds: float | None = None  # of the pair that was asked for last; None where a policy asks for none
        self._claims: OrderedDict[int, Claim] = OrderedDict()  # by the frame's sequence
        self._last: tuple[int, NDArray[np.uint8]] | None = None  # the newest answer, and its frame's sequence
        self._pairs: deque[tuple[float, float]] = deque(maxlen=PAIRS_REMEMBERED)  # odds, and what had changed

    def begin(self) -> None:
        """A frame's decision begins, for which nothing was asked yet."""
        self._odds = None

    def predicted_deviation(self, key: LowFeatures, current: LowFeatures) -> Tensor:
        """As the fast network's, (1,), moved by what has been learned."""
        predicted = self._network.predicted_deviation(key, current)
        odds = torch.logit(predicted, LEAST).cpu()  # once: on a GPU each look at a number waits for all before it
        self._odds = float(odds)
        return torch.sigmoid(odds + self.shift)

    def expect(self, sequence: int, since: int) -> None:
        """The frame whose deviation was asked for last becomes a key frame, after that of sequence ``since``."""
        if self._odds is None or not math.isfinite(self._odds):
            return
        self._claims[sequence] = Claim(since, self._odds)
        self._odds = None
        while len(self._claims) > 2:  # one in work and one waiting
            self._claims.popitem(last=False)

    def learn(self, sequence: int, labels: NDArray[np.uint8]) -> None:
        """From the slow network's labels of one more frame, all of one size.

        One class everywhere is no view of a street and teaches nothing.
        """
        claim, last = self._claims.pop(sequence, None), self._last
        if labels.min() == labels.max():
            return
        self._last = sequence, labels
        if claim is not None and last is not None and last[0] == claim.since:
            self._pairs.append((claim.odds, float((labels != last[1]).mean())))
            self.shift = fitted_shift(list(self._pairs))


def fitted_shift(pairs: list[tuple[float, float]]) -> float:
    """The likeliest shift, by Newton's method; ``pairs``: predicted log-odds, and the fraction that had changed."""
    odds, changed = np.asarray(pairs, np.float64).T
    shift = 0.0
    for _ in range(STEPS):
        guess = 1 / (1 + np.exp(-(odds + shift)))
        slope = PIXELS_THAT_COUNT * float((changed - guess).sum()) - shift / SPREAD**2
        curvature = PIXELS_THAT_COUNT * float((guess * (1 - guess)).sum()) + 1 / SPREAD**2
        shift += min(max(slope / curvature, -LARGEST_STEP), LARGEST_STEP)
    return shift

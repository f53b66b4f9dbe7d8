"""Labels that came from a key frame in one step, scored for any pair of a clip's frames."""

from __future__ import annotations

from collections.abc import Iterable

from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix

Pair = tuple[int, int]  # the key frame's index and the frame's


class PairScores:
    """What the fast track makes of a frame from the accurate answer of a key frame, against the ground truth.

    A policy whose key frames wait for Sh labels its frames by such pairs (just in time nearly so: what it has learned
    by then depends on its key frames), so that each pair is worked out once, when it is first asked for.
    """

    def __init__(self, clip: EvaluatedClip) -> None:
        self._clip = clip
        self._matrices: dict[Pair, ConfusionMatrix] = {}

    def of(self, key: int, index: int) -> ConfusionMatrix:
        """One frame's score; a key frame's own labels are Sh's."""
        if (key, index) not in self._matrices:
            self._matrices[key, index] = self._score(key, index)
        return self._matrices[key, index]

    def total(self, pairs: Iterable[Pair]) -> ConfusionMatrix:
        """All these frames in one matrix."""
        total = self._clip.new_matrix()
        for key, index in pairs:
            total.include(self.of(key, index))
        return total

    def _score(self, key: int, index: int) -> ConfusionMatrix:
        clip = self._clip
        labels = clip.full_labels(index) if key == index else clip.propagated_labels(key, index)
        matrix = clip.new_matrix()
        matrix.add(labels, clip.frames[index].truth)
        return matrix

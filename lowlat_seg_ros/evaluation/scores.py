"""Scores from one confusion matrix over a whole clip or split."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.classes import UNLABELLED


class ConfusionMatrix:
    """Counts of (true class, predicted class) over every labelled pixel that was added."""

    def __init__(self, class_count: int, scored: Collection[int] | None = None) -> None:
        """``scored``: the classes that the truth may hold, which alone count in means; all unless given."""
        self.class_count = class_count
        self._is_scored = np.isin(np.arange(class_count), range(class_count) if scored is None else list(scored))
        # One more column for pixels that were given no class: they count as wrong, not as absent.
        self.counts = np.zeros((class_count, class_count + 1), np.int64)

    def add(self, labels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Count one frame. Both (H, W) uint8 class ids; 255 in ``truth`` is left out.

        Raises:
            ValueError: the sizes differ, or an id is not a class.
        """
        if labels.shape != truth.shape:
            raise ValueError(f"labels of {labels.shape} cannot be scored against truth of {truth.shape}")
        known = truth != UNLABELLED
        expected, given = truth[known].astype(np.int64), labels[known].astype(np.int64)
        if max(expected.max(initial=0), given.max(initial=0, where=given != UNLABELLED)) >= self.class_count:
            raise ValueError(f"a label is not one of the {self.class_count} classes nor {UNLABELLED}")
        given[given == UNLABELLED] = self.class_count
        columns = self.class_count + 1
        cells = np.bincount(expected * columns + given, minlength=self.counts.size)
        self.counts += cells.reshape(self.counts.shape)

    def include(self, other: ConfusionMatrix) -> None:
        """Count also everything that was added to another matrix of the same classes."""
        self.counts += other.counts

    def class_iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class, (classes,); NaN where a class is neither true nor predicted."""
        correct = self._correct()
        predicted = self.counts[:, : self.class_count].sum(axis=0)
        union = self.counts.sum(axis=1) + predicted - correct
        return np.divide(correct, union, out=np.full(self.class_count, np.nan), where=(union > 0) & self._is_scored)

    def mean_iou(self) -> float:
        """mIoU over the classes that occur; NaN before anything was added."""
        return _mean_of_known(self.class_iou())

    def pixel_accuracy(self) -> float:
        """PA, the fraction of labelled pixels that are right; NaN before anything was added."""
        total = int(self.counts.sum())
        return float(self._correct().sum() / total) if total else float("nan")

    def class_accuracy(self) -> float:
        """CA, the mean over classes of the fraction of their pixels that are right."""
        true = self.counts.sum(axis=1)
        return _mean_of_known(np.divide(self._correct(), true, out=np.full(self.class_count, np.nan), where=true > 0))

    def _correct(self) -> NDArray[np.float64]:
        return np.diagonal(self.counts[:, : self.class_count]).astype(np.float64)


def _mean_of_known(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")

"""Labels against ground truth: frame by frame, by distance from the key frame, and as a stream."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.fast.pictures import unlabelled_image
from lowlat_seg_ros.replay.report import DistanceScore, Scores, known


class TruthScores:
    """The scores of one system on one camera's frames that have a truth."""

    def __init__(self, class_count: int) -> None:
        self.streaming = StreamingScore(class_count)
        self._all = CountedMatrix(class_count)
        self._by_distance: dict[int, CountedMatrix] = {}

    def add(self, labels: NDArray[np.uint8], truth: NDArray[np.uint8], distance: int | None) -> None:
        """A frame's labels and truth, both (H, W); ``distance`` in camera frames from its key frame, if it has one."""
        self._all.add(labels, truth)
        if distance is not None:
            matrix = self._by_distance.setdefault(distance, CountedMatrix(self._all.class_count))
            matrix.add(labels, truth)

    def report(self) -> Scores | None:
        """None where no frame had a truth."""
        if self.streaming.matrix.frames == 0:
            return None
        return Scores(
            frames=self._all.frames,
            mean_iou=known(self._all.mean_iou()),
            pixel_accuracy=known(self._all.pixel_accuracy()),
            class_accuracy=known(self._all.class_accuracy()),
            class_iou=[known(iou) for iou in self._all.class_iou().tolist()],
            streaming_frames=self.streaming.matrix.frames,
            streaming_mean_iou=known(self.streaming.matrix.mean_iou()),
            by_distance=[
                DistanceScore(distance, matrix.frames, known(matrix.mean_iou()))
                for distance, matrix in sorted(self._by_distance.items())
            ],
            confusion=self._all.counts.tolist(),
        )


class StreamingScore:
    """Streaming accuracy: the labels available at a time against the truth of that time (Li et al., ECCV 2020).

    A late answer costs what it costs a vehicle: the world has moved on.
    """

    def __init__(self, class_count: int) -> None:
        self.matrix = CountedMatrix(class_count)
        self._newest: NDArray[np.uint8] | None = None
        self._coming: deque[tuple[int, NDArray[np.uint8]]] = deque()

    def labels_available_at(self, time: int, labels: NDArray[np.uint8]) -> None:
        """Labels, (H, W), that can be read from ``time`` on, in nanoseconds; never before the last ones."""
        self._coming.append((time, labels))
        # Without a truth to score, the newest that are surely there are all that has to be kept.
        if len(self._coming) > 2:
            self._newest = self._coming.popleft()[1]

    def truth_at(self, time: int, truth: NDArray[np.uint8]) -> None:
        """Score what is available at ``time`` against ``truth``, (H, W); before the first labels all of it is wrong."""
        while self._coming and self._coming[0][0] <= time:
            self._newest = self._coming.popleft()[1]
        labels = self._newest
        if labels is None or labels.shape != truth.shape:
            labels = unlabelled_image((truth.shape[1], truth.shape[0]))
        self.matrix.add(labels, truth)


class CountedMatrix(ConfusionMatrix):
    """A confusion matrix that knows how many frames are in it."""

    def __init__(self, class_count: int) -> None:
        super().__init__(class_count)
        self.frames = 0

    def add(self, labels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        super().add(labels, truth)
        self.frames += 1

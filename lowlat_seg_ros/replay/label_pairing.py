"""Pairing the frames of a camera with the label images of another topic, by their stamps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.replay.problems import Problems

LABELS_AHEAD: Final = 32
"""Label images that are read ahead in search of a frame's: how far labels may be out of step with the frames."""


class StampedLabels:
    """The labels of one topic, asked for by stamp in about the order in which they come; each is read once."""

    def __init__(self, labels: Iterator[tuple[int, NDArray[np.uint8]]], problems: Problems, topic: str) -> None:
        self._labels = labels
        self._problems = problems
        self._topic = topic
        self._waiting: dict[int, NDArray[np.uint8]] = {}

    def at(self, stamp: int, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
        """The labels of that stamp; None if there are none or their (H, W) is not `shape`, which is noted."""
        while stamp not in self._waiting and self._has_room(stamp):
            following = next(self._labels, None)
            if following is None:
                break
            self._waiting[following[0]] = following[1]
        labels = self._waiting.pop(stamp, None)
        if labels is None or labels.shape == shape:
            return labels
        height, width = labels.shape
        self._problems.add(
            (self._topic, "size"),
            f"{self._topic} has labels of {width}x{height} for a frame of {shape[1]}x{shape[0]}; they are left out",
            stamp,
        )
        return None

    def _has_room(self, stamp: int) -> bool:
        """Whether another label image may be read; those that are older than the frame make room."""
        if len(self._waiting) >= LABELS_AHEAD and min(self._waiting) < stamp:
            del self._waiting[min(self._waiting)]
        return len(self._waiting) < LABELS_AHEAD

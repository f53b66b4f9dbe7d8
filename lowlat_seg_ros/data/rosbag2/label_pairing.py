"""Pairing the frames of a camera with the label images of another topic, by their stamps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.rosbag2.problems import Problems

LABELS_KEPT: Final = 32
"""Label images that have been read and not been asked for; enough for stamps that are somewhat out of order."""


class StampedLabels:
    """The labels of one topic, asked for by stamp in about the order in which they come; each is read once."""

    def __init__(self, labels: Iterator[tuple[int, NDArray[np.uint8]]], problems: Problems, topic: str) -> None:
        self._labels = labels
        self._problems = problems
        self._topic = topic
        self._waiting: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._newest: int | None = None

    def at(self, stamp: int, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
        """The labels of that stamp; None if there are none or their (H, W) is not `shape`, which is noted."""
        while self._newest is None or self._newest < stamp:
            following = next(self._labels, None)
            if following is None:
                break
            self._newest = following[0]
            self._waiting[self._newest] = following[1]
            if len(self._waiting) > LABELS_KEPT:
                self._waiting.popitem(last=False)
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

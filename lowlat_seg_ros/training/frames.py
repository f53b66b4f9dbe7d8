"""The frames that are trained on: where they lie, their labels, and what the camera saw before.

Nothing here is read before its turn comes, so that a data set need not fit into memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.camvid import require_size
from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.frame_source import FrameSource, read_frame
from lowlat_seg_ros.data.label_file import LabelFile, ReadLabels, read_label_file
from lowlat_seg_ros.data.problems import Problems

LONGEST_DISTANCE = 10  # frames from the key frame to the labelled one, as in the paper


class TrainingFrame(NamedTuple):
    """A frame on disk."""

    name: str
    drive: str  # what was recorded in one go, and is to be held out in one go
    image: FrameSource
    labels: LabelFile | None  # None: nobody labelled it
    earlier: tuple[FrameSource, ...] = ()  # the frames before it, the nearest first; none for a still
    position: float = 0.0  # the share of its drive's frames that lie before it


class TrainingPicture(NamedTuple):
    """A frame in memory, as the network sees it: (H, W, 3) uint8 RGB and (H, W) uint8 class ids, 255 = unlabelled."""

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    earlier: tuple[FrameSource, ...] = ()


class Pictures(Sequence[TrainingPicture]):
    """Frames as pictures of one size, each read when it is asked for.

    Reading one raises DataError if a file is damaged, or its labels do not fit it.
    """

    def __init__(self, frames: Sequence[TrainingFrame], size: tuple[int, int]) -> None:
        """`size` is (width, height): the network's input, since the node resizes what it sees to that too."""
        self.frames, self.size = frames, size

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> TrainingPicture:  # type: ignore[override]  # nobody takes slices
        frame = self.frames[index]
        image, (labels, _) = read_training_frame(frame)
        return TrainingPicture(
            frame.name, resized(image, self.size), resized_labels(labels, self.size), frame.earlier[:LONGEST_DISTANCE]
        )


def read_training_frame(frame: TrainingFrame, problems: Problems | None = None) -> tuple[NDArray[np.uint8], ReadLabels]:
    """Image and labels as they lie on disk, all unlabelled where there are none; raises DataError.

    What is left out of the two or assumed of them is noted in `problems`.
    """
    image = read_frame(frame.image, problems)
    if frame.labels is None:
        return image, ReadLabels(np.full(image.shape[:2], UNLABELLED, np.uint8), frozenset())
    read = read_label_file(frame.labels.path, frame.labels.classes, problems)
    require_size(frame.labels.path, read.labels, image)
    return image, read


def resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """As the node resizes a camera's frame (fast.pictures)."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def resized_labels(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """By the nearest neighbour, so that ids are never blended."""
    if (labels.shape[1], labels.shape[0]) == size:
        return labels
    return np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)

"""Labels carried from one frame to the next along the optical flow, to see whether they flicker."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix

WIDEST: Final = 480
"""Pixels. The flow of a larger frame would cost more than all its labels, and flicker shows at this size."""

FLOWS_KEPT: Final = 8


class FlowFrame(Protocol):
    """What is needed of a frame."""

    @property
    def index(self) -> int:
        """Its number in the camera's stream."""

    @property
    def grey(self) -> NDArray[np.uint8]:
        """As ``grey_for_flow`` makes it."""


def grey_for_flow(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB to grey of at most WIDEST pixels a row."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    if width > WIDEST:
        grey = cv2.resize(grey, (WIDEST, max(1, round(height * WIDEST / width))), interpolation=cv2.INTER_AREA)
    return grey.astype(np.uint8, copy=False)


class FlowField:
    """The optical flow between two frames of one camera: DIS (Kroeger et al., ECCV 2016), its fast preset.

    The systems that are compared on the same frames mostly ask for the same pairs, so that the last few flows are kept.
    """

    def __init__(self) -> None:
        self._estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._kept: OrderedDict[tuple[int, int], NDArray[np.float32]] = OrderedDict()

    def carried(self, labels: NDArray[np.uint8], previous: FlowFrame, current: FlowFrame) -> NDArray[np.uint8]:
        """The previous frame's labels where their pixels are in the current one, at the size of its ``grey``.

        255 where the flow comes from outside of the previous frame. What was hidden there keeps the label of what hid
        it: such pixels count against every system alike.
        """
        flow = self._backward(previous, current)
        height, width = flow.shape[:2]
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        return cv2.remap(
            at_size(labels, (width, height)),
            columns + flow[..., 0],
            rows + flow[..., 1],
            cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=UNLABELLED,
        ).astype(np.uint8, copy=False)

    def _backward(self, previous: FlowFrame, current: FlowFrame) -> NDArray[np.float32]:
        """Where each pixel of the current frame was in the previous one: (h, w, 2), x and y, in pixels."""
        pair = previous.index, current.index
        if pair not in self._kept:
            # OpenCV's stubs do not know that the third argument, an output, may be None.
            flow = self._estimator.calc(current.grey, previous.grey, None)  # type: ignore[call-overload]
            self._kept[pair] = flow
            if len(self._kept) > FLOWS_KEPT:
                self._kept.popitem(last=False)
        return self._kept[pair]


class TemporalConsistency:
    """How little labels flicker: each frame's against the previous frame's, carried along the optical flow."""

    def __init__(self, class_count: int, flow: FlowField) -> None:
        """``flow``: of this camera, shared by all whose labels are compared."""
        self._flow = flow
        self._matrix = ConfusionMatrix(class_count)
        self._previous: tuple[FlowFrame, NDArray[np.uint8]] | None = None

    def add(self, frame: FlowFrame, labels: NDArray[np.uint8]) -> None:
        """The next frame and its labels, (H, W) class ids."""
        if self._previous is not None:
            previous, previous_labels = self._previous
            carried = self._flow.carried(previous_labels, previous, frame)
            self._matrix.add(at_size(labels, (carried.shape[1], carried.shape[0])), carried)
        self._previous = frame, labels

    def mean_iou(self) -> float:
        """mIoU of the labels, the carried ones being the truth; NaN before the second frame."""
        return self._matrix.mean_iou()


def at_size(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Label ids at another (width, height); none is blended."""
    return cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8, copy=False)

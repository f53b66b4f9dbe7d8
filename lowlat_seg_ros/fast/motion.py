"""What moved where between a key frame and the current frame, and where that is to be believed."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.fast.preprocessing import Size
from lowlat_seg_ros.kernels.carried_logits import carried_logits
from lowlat_seg_ros.models.config import ModelConfig

PICTURE_SCALE = 0.5  # of the network's input
SMALLEST_PICTURE = 16  # pixels a side, below which DIS has no two scales
FINEST_SCALE = 1  # DIS stops at half of that picture's size and enlarges the flow
DOUBTED_DIFFERENCE = 20.0  # of 255, in the colour that differs most: at so much the doubt is 1 - 1/e
DOUBT_WINDOW = 5  # pixels over which differences are averaged
NO_MAP = np.empty(0, np.float32)  # for OpenCV's remap, which takes the places in one map or in two


class Motion(NamedTuple):
    """From each place of the current picture to where it was in the key frame's."""

    flow: NDArray[np.float32]  # (h, w, 2), x and y in pixels of the picture
    doubt: NDArray[np.float32]  # (h, w): 0 where the key frame shows there what the current one shows here, towards 1


class MotionEstimator:
    """Dense optical flow between two pictures of one camera.

    DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016) from OpenCV, on the CPU whatever the
    network runs on. Not thread-safe.
    """

    def __init__(self, input_size: Size) -> None:
        """``input_size``: (width, height) in pixels of the network's input."""
        self._size = tuple(max(SMALLEST_PICTURE, round(PICTURE_SCALE * pixels)) for pixels in input_size)
        # The preset without its variational refinement, which takes half of its time and gains nothing here.
        self._estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._estimator.setFinestScale(FINEST_SCALE)
        self._estimator.setVariationalRefinementIterations(0)
        columns, rows = np.meshgrid(*(np.arange(pixels, dtype=np.float32) for pixels in self._size))
        self._places = np.stack([columns, rows], axis=-1)
        difference = np.arange(256, dtype=np.float32)
        self._doubt_of_difference = 1 - np.exp(-((difference / DOUBTED_DIFFERENCE) ** 2))

    def picture(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What motion is looked for in: (H, W, 3) uint8 RGB to (h, w, 3), half of the network's input size."""
        return np.asarray(cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA), np.uint8)

    def between(self, key: NDArray[np.uint8], current: NDArray[np.uint8], start: Motion | None = None) -> Motion:
        """The motion between two such pictures.

        Args:
            start: where to begin the search, the motion from the same key frame to the frame before. What has moved
                far is found by many small steps where one large one would miss it.
        """
        key_grey, grey = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (key, current))
        # Copied, since OpenCV writes the result over it. Without one OpenCV would begin with that of an earlier call.
        first_flow = np.zeros_like(self._places) if start is None else start.flow.copy()
        flow = np.asarray(self._estimator.calc(grey, key_grey, first_flow), np.float32)
        return Motion(flow, self._doubt(key, current, self._places + flow))

    def _doubt(
        self, key: NDArray[np.uint8], current: NDArray[np.uint8], sources: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """By the colours: labels change where grey levels hardly do."""
        carried = cv2.remap(key, sources, NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        red, green, blue = cv2.split(cv2.absdiff(carried, current))
        difference = cv2.blur(cv2.max(cv2.max(red, green), blue), (DOUBT_WINDOW, DOUBT_WINDOW))
        return np.asarray(cv2.LUT(difference, self._doubt_of_difference), np.float32)


def motion_estimator(config: ModelConfig, input_size: Size | None = None) -> MotionEstimator | None:
    """What the model's description asks for: None where no logits are carried.

    Args:
        input_size: (width, height) of the network's input; the model's own unless given.
    """
    return MotionEstimator(input_size or config.input_size) if config.carrying == "optical_flow" else None


def carry(key_logits: Tensor, logits: Tensor, motion: Motion, doubt: Tensor | None = None) -> Tensor:
    """A key frame's logits carried along the motion, mixed with the current frame's own where that is doubted.

    Args:
        key_logits, logits: (1, classes, h, w) on any device, on whatever grid they lie.
        doubt: (1, 1, h', w'), 0 to 1, of the propagation: where it does not believe the key frame, nor do we.
    """
    height, width = logits.shape[-2:]
    flow, doubts = (torch.from_numpy(array).to(logits.device) for array in motion_on_grid(motion, (width, height)))
    return carried_logits(key_logits, logits, flow, doubts, doubt)


def motion_on_grid(motion: Motion, grid: Size) -> Motion:
    """The motion for a grid of (width, height) places over the same picture, the flow in places of it."""
    height, width = motion.doubt.shape
    if grid == (width, height):
        return motion
    flow, doubt = (np.asarray(cv2.resize(array, grid, interpolation=cv2.INTER_AREA), np.float32) for array in motion)
    scale = np.asarray([grid[0] / width, grid[1] / height], np.float32)
    return Motion(scale * flow, doubt)

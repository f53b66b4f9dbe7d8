"""The pinhole camera that drives down the street.

World: x to the right of the road's centre line, y up from the ground, z along the road; metres. The camera looks along
z, turned by a small yaw about the vertical; verticals stay vertical, so the horizon is one image row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

NEAR: Final = 0.6
"""Metres: nothing nearer than this is drawn; the street leaves the picture long before."""

FOCAL_LENGTH_PER_WIDTH: Final = 1.0  # a horizontal field of view of 53 degrees, about CamVid's
HORIZON_PER_HEIGHT: Final = 0.52  # the row of CamVid's horizon, about


@dataclass(frozen=True)
class PinholeCamera:
    """Where the camera is at one moment, and its picture's size (width, height) in pixels."""

    size: tuple[int, int]
    x: float
    z: float
    yaw: float = 0.0
    """Radians to the right."""
    bounce: float = 0.0
    """How far the suspension has moved the horizon down, as a share of the picture's height."""
    height: float = 1.4
    """Metres of the lens above the ground."""

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return FOCAL_LENGTH_PER_WIDTH * self.size[0]

    @property
    def centre(self) -> tuple[float, float]:
        """The pixel (column, row) of the viewing direction; the row is the horizon's."""
        return (self.size[0] - 1) / 2, (HORIZON_PER_HEIGHT + self.bounce) * self.size[1]

    def depth(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Metres in front of the camera of world points (..., 3)."""
        depth: NDArray[np.float64] = (points[..., 0] - self.x) * math.sin(self.yaw)
        return depth + (points[..., 2] - self.z) * math.cos(self.yaw)

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pixels (..., 2), column and row, of world points (..., 3) in front of the camera."""
        homogeneous = points @ self.to_pixels[:, :3].T + self.to_pixels[:, 3]
        return homogeneous[..., :2] / homogeneous[..., 2:]

    @cached_property
    def to_pixels(self) -> NDArray[np.float64]:
        """The projection matrix (3, 4) from world coordinates (x, y, z, 1) to homogeneous pixels."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        (column, row), focal = self.centre, self.focal
        rotation = np.array(
            [
                [focal * cos + column * sin, 0, column * cos - focal * sin],
                [row * sin, -focal, row * cos],
                [sin, 0, cos],
            ]
        )
        translation = -rotation @ np.array([self.x, self.height, self.z])
        return np.hstack([rotation, translation[:, None]])

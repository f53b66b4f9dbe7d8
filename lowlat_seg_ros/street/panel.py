"""Panels: flat textured rectangles in space. Facades, roofs, fences, trees, the sky."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.street.camera import NEAR, PinholeCamera
from lowlat_seg_ros.street.surface import Canvas
from lowlat_seg_ros.street.texture import Texture

OPAQUE: Final = 110
"""The opacity from which a pixel is painted: a little below half, so that neighbouring panels leave no crack."""

Vector = tuple[float, float, float]
Homography = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """A texture in space: where its left top corner is, the unit vectors to its right and downwards, and its class."""

    corner: Vector
    along: Vector
    down: Vector
    texture: Texture
    class_id: int

    @cached_property
    def _to_world(self) -> NDArray[np.float64]:
        """The matrix (4, 3) from (a, d, 1), metres along and down from the corner, to the world's (x, y, z, 1)."""
        return np.array([(*self.along, 0.0), (*self.down, 0.0), (*self.corner, 1.0)]).T

    def paint(self, canvas: Canvas, camera: PinholeCamera) -> None:
        """Paint the part of the rectangle in front of the camera where its texture is opaque."""
        to_pixels = camera.to_pixels @ self._to_world
        stretch = _stretch_in_front(to_pixels, self.texture.size[0])
        if stretch is None:
            return
        left, top, right, bottom = _window(to_pixels, stretch, self.texture.size[1], canvas)
        if left >= right or top >= bottom:
            return
        texels = self.texture.reduced_for(_pixels_per_metre(to_pixels, stretch, camera))
        per_metre = texels.shape[1] / self.texture.size[0], texels.shape[0] / self.texture.size[1]
        first, last = math.floor(stretch[0] * per_metre[0]), math.ceil(stretch[1] * per_metre[0])
        # OpenCV's texel i has its centre at i, the texture's at i + 0.5.
        to_plane = np.array(
            [[1 / per_metre[0], 0, (first + 0.5) / per_metre[0]], [0, 1 / per_metre[1], 0.5 / per_metre[1]], [0, 0, 1]]
        )
        to_window = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
        homography = to_window @ to_pixels @ to_plane
        seen = cv2.warpPerspective(texels[:, first:last], homography, (right - left, bottom - top))
        opaque = cv2.threshold(cv2.extractChannel(seen, 3), OPAQUE, 255, cv2.THRESH_BINARY)[1]
        seen[..., 3] = self.class_id
        cv2.copyTo(seen, opaque, canvas[top:bottom, left:right])


def _stretch_in_front(to_pixels: Homography, width: float) -> tuple[float, float] | None:
    """Return from where to where along its width, in metres, a panel is in front of the camera."""
    slope, first = float(to_pixels[2, 0]), float(to_pixels[2, 2])
    last = first + slope * width
    if max(first, last) <= NEAR:
        return None
    if min(first, last) >= NEAR:
        return 0.0, width
    crossing = (NEAR - first) / slope
    return (crossing, width) if first < last else (0.0, crossing)


def _window(
    to_pixels: Homography, stretch: tuple[float, float], height: float, canvas: Canvas
) -> tuple[int, int, int, int]:
    """Return the rectangle of the canvas, left, top, right, bottom, that a panel can reach."""
    first, last = stretch
    corners = to_pixels @ np.array([[first, last, first, last], [0, 0, height, height], [1, 1, 1, 1]])
    columns, rows = corners[0] / corners[2], corners[1] / corners[2]
    return (
        max(0, math.floor(columns.min())),
        max(0, math.floor(rows.min())),
        min(canvas.shape[1], math.ceil(columns.max()) + 1),
        min(canvas.shape[0], math.ceil(rows.max()) + 1),
    )


def _pixels_per_metre(
    to_pixels: Homography, stretch: tuple[float, float], camera: PinholeCamera
) -> tuple[float, float]:
    """Return how large a metre of a panel appears, sideways and upright, amid the part that is inside the picture."""
    (a, _, b), _, (c, _, d) = to_pixels.tolist()  # the column of a point `s` along the panel is (a s + b) / (c s + d)
    width = camera.size[0]
    at_edges = [(edge * d - b) / (a - edge * c) for edge in (0, width) if abs(a - edge * c) > 1e-9]
    first, last = (min(max(s, stretch[0]), stretch[1]) for s in (min(at_edges), max(at_edges)))
    if last - first < 1e-3:
        first, last = stretch
    depths = c * first + d, c * last + d
    sideways = abs(a * d - b * c) / (depths[0] * depths[1])  # (column(last) - column(first)) / (last - first)
    return sideways, camera.focal / math.sqrt(depths[0] * depths[1])

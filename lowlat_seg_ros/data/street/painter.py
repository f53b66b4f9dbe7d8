"""Painting surfaces on a canvas that holds a pixel's colour and its class side by side.

The canvas is (H, W, 4) uint8: red, green, blue, class id. Every stroke writes all four at once, so that the labels are
what the picture shows by construction. Edges are hard: a pixel belongs to one surface, never to a blend of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.street.camera import NEAR, Camera
from lowlat_seg_ros.data.street.texture import Colour, Texture

Canvas = NDArray[np.uint8]
Points = NDArray[np.float64]

SUBPIXEL_BITS: Final = 4
HALF_OPAQUE: Final = 127
FURTHEST_PIXEL: Final = 20_000  # OpenCV's polygons overflow well beyond this


class Surface(Protocol):
    """Something that can be painted over what is behind it."""

    def paint(self, canvas: Canvas, camera: Camera) -> None:
        """Paint what `camera` sees of this surface."""


@dataclass(frozen=True)
class Panel:
    """A textured upright rectangle: its left top corner, the unit vector towards its right, its texture and class."""

    corner: tuple[float, float, float]
    along: tuple[float, float, float]
    down: tuple[float, float, float]
    texture: Texture
    class_id: int

    def point(self, along: NDArray[np.floating[Any]], down: NDArray[np.float64]) -> Points:
        """Return the world points (..., 3) so many metres along and down from the corner."""
        return np.array(self.corner) + along[..., None] * np.array(self.along) + down[..., None] * np.array(self.down)

    def paint(self, canvas: Canvas, camera: Camera) -> None:
        """Paint the part of the rectangle in front of the camera where its texture is opaque."""
        stretch = self._stretch_in_front_of(camera)
        if stretch is None:
            return
        ends = np.array([stretch[0], stretch[1], stretch[0], stretch[1]])
        corners = camera.project(self.point(ends, np.array([0.0, 0.0, self.texture.size[1], self.texture.size[1]])))
        left, top = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
        right, bottom = np.minimum(np.ceil(corners.max(axis=0)) + 1, canvas.shape[1::-1]).astype(int)
        if left >= right or top >= bottom:
            return
        texels = self.texture.reduced_for(self._pixels_per_metre(camera, stretch))
        texels_per_metre = texels.shape[1] / self.texture.size[0], texels.shape[0] / self.texture.size[1]
        first, last = math.floor(stretch[0] * texels_per_metre[0]), math.ceil(stretch[1] * texels_per_metre[0])
        to_pixels = camera.plane_to_pixels(np.array(self.corner), np.array(self.along), np.array(self.down))
        # OpenCV's texel i has its centre at i, the texture's at i + 0.5.
        to_plane = np.array(
            [
                [1 / texels_per_metre[0], 0, (first + 0.5) / texels_per_metre[0]],
                [0, 1 / texels_per_metre[1], 0.5 / texels_per_metre[1]],
                [0, 0, 1],
            ]
        )
        to_window = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], float)
        seen = cv2.warpPerspective(
            texels[:, first:last], to_window @ to_pixels @ to_plane, (int(right - left), int(bottom - top))
        )
        opaque = cv2.threshold(cv2.extractChannel(seen, 3), HALF_OPAQUE, 255, cv2.THRESH_BINARY)[1]
        cv2.insertChannel(np.full(opaque.shape, self.class_id, np.uint8), seen, 3)
        cv2.copyTo(seen, opaque, canvas[top:bottom, left:right])

    def _stretch_in_front_of(self, camera: Camera) -> tuple[float, float] | None:
        """Return from where to where along its width, in metres, the rectangle is in front of the camera."""
        width = self.texture.size[0]
        first, last = camera.depth(self.point(np.array([0.0, width]), np.zeros(2)))
        if max(first, last) <= NEAR:
            return None
        if min(first, last) >= NEAR:
            return 0.0, width
        crossing = width * (NEAR - first) / (last - first)
        return (crossing, width) if first < last else (0.0, crossing)

    def _pixels_per_metre(self, camera: Camera, stretch: tuple[float, float]) -> tuple[float, float]:
        """Return how large a metre appears, sideways and upright, in the middle of the part inside the picture."""
        along = np.linspace(*stretch, 9)
        points = self.point(along, np.zeros(9))
        columns = camera.project(points)[:, 0]
        inside = (columns > 0) & (columns < camera.size[0])
        if inside.sum() < 2:
            inside[:] = True
        sideways = abs(columns[inside][-1] - columns[inside][0]) / (along[inside][-1] - along[inside][0])
        return float(sideways), camera.focal / float(camera.depth(points[inside]).mean())


@dataclass(frozen=True)
class Face:
    """A flat convex polygon of a Body: which of its points, in which colour and class; `outward` faces hide their back.

    The points of an outward face run clockwise for someone who looks at it from outside.
    """

    points: tuple[int, ...]
    colour: Colour
    class_id: int
    outward: bool = False


@dataclass(frozen=True)
class Body:
    """Flat faces between common points (n, 3), in an order in which later ones cover earlier ones."""

    points: Points
    faces: Sequence[Face]

    def paint(self, canvas: Canvas, camera: Camera) -> None:
        """Paint every face that is in front of the camera and turned towards it."""
        if camera.depth(self.points).min() < NEAR:
            return
        pixels = camera.project(self.points)
        if not _overlaps(pixels, canvas):
            return
        corners = np.round(np.clip(pixels, -FURTHEST_PIXEL, FURTHEST_PIXEL) * (1 << SUBPIXEL_BITS)).astype(np.int32)
        for face in self.faces:
            polygon = corners[list(face.points)]
            if not face.outward or _runs_clockwise(polygon):
                cv2.fillConvexPoly(canvas, polygon, (*face.colour, face.class_id), cv2.LINE_8, SUBPIXEL_BITS)


def _overlaps(pixels: Points, canvas: Canvas) -> bool:
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    return bool((high >= 0).all() and low[0] < canvas.shape[1] and low[1] < canvas.shape[0])


def _runs_clockwise(polygon: NDArray[np.int32]) -> bool:
    columns, rows = polygon[:, 0].astype(np.int64), polygon[:, 1].astype(np.int64)
    doubled_area = columns @ np.roll(rows, -1) - rows @ np.roll(columns, -1)
    return bool(doubled_area > 0)  # rows grow downwards, so a positive area is clockwise to the eye

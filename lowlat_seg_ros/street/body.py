"""Bodies: flat faces in plain colours between points in space. Cars, people, posts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.street.camera import NEAR, PinholeCamera
from lowlat_seg_ros.street.surface import Canvas
from lowlat_seg_ros.street.texture import Colour

SUBPIXEL_BITS: Final = 4
FURTHEST_PIXEL: Final = 20_000  # OpenCV's polygons overflow well beyond this


@dataclass(frozen=True)
class Face:
    """A flat convex polygon of a Body: its points from `first` to before `end`, its colour and class.

    An `outward` face is seen from outside only; its points run clockwise for someone there.
    """

    first: int
    end: int
    colour: Colour
    class_id: int
    outward: bool = False


@dataclass(frozen=True)
class Body:
    """Faces and their points (n, 3), in an order in which later ones cover earlier ones."""

    points: NDArray[np.float64]
    faces: Sequence[Face]

    def paint(self, canvas: Canvas, camera: PinholeCamera) -> None:
        """Paint every face that is in front of the camera and turned towards it."""
        if camera.depth(self.points).min() < NEAR:
            return
        pixels = camera.project(self.points)
        if not _overlaps(pixels, canvas):
            return
        corners = np.round(np.clip(pixels, -FURTHEST_PIXEL, FURTHEST_PIXEL) * (1 << SUBPIXEL_BITS)).astype(np.int32)
        for face in self.faces:
            polygon = corners[face.first : face.end]
            if not face.outward or _runs_clockwise(polygon):
                cv2.fillConvexPoly(canvas, polygon, (*face.colour, face.class_id), cv2.LINE_8, SUBPIXEL_BITS)


def _overlaps(pixels: NDArray[np.float64], canvas: Canvas) -> bool:
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    return bool(high[0] >= 0 and high[1] >= 0 and low[0] < canvas.shape[1] and low[1] < canvas.shape[0])


def _runs_clockwise(polygon: NDArray[np.int32]) -> bool:
    return cv2.contourArea(polygon, oriented=True) > 0

"""Flat figures turned towards the camera: outlines in metres (right, up) from the figure's foot."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from lowlat_seg_ros.street.body import Body, Face
from lowlat_seg_ros.street.texture import Colour

Position = tuple[float, float]

CIRCLE: Final = tuple((math.cos(angle), math.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 14, endpoint=False))


class Cutout:
    """Convex outlines, later ones over earlier ones; what is added next is of class `class_id`."""

    def __init__(self, class_id: int) -> None:
        self.class_id = class_id
        self._points: list[Position] = []
        self._faces: list[Face] = []

    def at(self, x: float, z: float, scale: float = 1.0) -> Body:
        """Return the figure standing at (x, z), enlarged by `scale`."""
        flat = scale * np.array(self._points)
        points = np.stack([x + flat[:, 0], flat[:, 1], np.full(len(flat), z)], axis=1)
        return Body(points, tuple(self._faces))

    def outline(self, points: list[Position], colour: Colour) -> None:
        """Add a convex polygon."""
        first = len(self._points)
        self._points += points
        self._faces.append(Face(first, len(self._points), colour, self.class_id))

    def rectangle(self, left: float, low: float, right: float, high: float, colour: Colour) -> None:
        """Add an upright rectangle."""
        self.outline([(left, low), (left, high), (right, high), (right, low)], colour)

    def oval(self, centre: Position, radii: Position, colour: Colour) -> None:
        """Add an ellipse."""
        self.outline([(centre[0] + radii[0] * x, centre[1] + radii[1] * y) for x, y in CIRCLE], colour)

    def limb(self, start: Position, end: Position, widths: tuple[float, float], colour: Colour) -> None:
        """Add a strip between two points that tapers from the first width to the second."""
        length = math.hypot(end[0] - start[0], end[1] - start[1])
        right, up = (end[1] - start[1]) / length / 2, -(end[0] - start[0]) / length / 2
        corners = [
            (point[0] + side * width * right, point[1] + side * width * up)
            for point, width, side in (
                (start, widths[0], -1),
                (start, widths[0], 1),
                (end, widths[1], 1),
                (end, widths[1], -1),
            )
        ]
        self.outline(corners, colour)

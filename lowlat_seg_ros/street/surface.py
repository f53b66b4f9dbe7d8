"""What can be painted, and what it is painted on."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.street.camera import PinholeCamera

Canvas: TypeAlias = NDArray[np.uint8]
"""(H, W, 4) uint8: a pixel's red, green and blue, and its class id.

Every stroke writes all four at once, so that the labels are what the picture shows by construction. Edges are hard: a
pixel belongs to one surface, never to a blend of two.
"""


class Surface(Protocol):
    """Something that can be painted over what is behind it."""

    def paint(self, canvas: Canvas, camera: PinholeCamera) -> None:
        """Paint what `camera` sees of this surface."""

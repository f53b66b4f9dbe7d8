"""What is too far away to come nearer: the sky, and the trees and roofs at the end of the street."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from lowlat_seg_ros.data.classes import BUILDING, SKY, TREE
from lowlat_seg_ros.street.camera import PinholeCamera
from lowlat_seg_ros.street.panel import Panel
from lowlat_seg_ros.street.surface import Canvas
from lowlat_seg_ros.street.texture import Colour, Texture, fill, layered_noise, shaded

SKY_DISTANCE: Final = 1000.0
SKY_SIZE: Final = (4000.0, 1500.0)
HIGH_SKY: Final[Colour] = (206, 238, 252)
LOW_SKY: Final[Colour] = (246, 254, 254)
DISTANT_WALLS: Final[Colour] = (120, 120, 120)
DISTANT_TWIGS: Final[Colour] = (104, 104, 98)


class Backdrop:
    """Sky and skyline, carried along at a fixed distance in front of the camera."""

    def __init__(self, skyline_distance: float, random: np.random.Generator) -> None:
        self._sky = _sky(random)
        self._roofs = _roofs(random)
        self._woods = _woods(random)
        self._skyline_distance = skyline_distance

    def paint(self, canvas: Canvas, camera: PinholeCamera) -> None:
        """Paint the sky everywhere, then what stands before it."""
        canvas[:] = (*HIGH_SKY, SKY)
        for panel in self.panels(camera):
            panel.paint(canvas, camera)

    def panels(self, camera: PinholeCamera) -> Iterator[Panel]:
        """Yield sky and skyline, the furthest first, where they are for this camera."""
        for texture, distance, class_id in (
            (self._sky, SKY_DISTANCE, SKY),
            (self._woods, self._skyline_distance + 20, TREE),
            (self._roofs, self._skyline_distance, BUILDING),
        ):
            width, height = texture.size
            corner = (camera.x - width / 2, height, camera.z + distance)
            yield Panel(corner, (1.0, 0.0, 0.0), (0.0, -1.0, 0.0), texture, class_id)


def _sky(random: np.random.Generator) -> Texture:
    """Draw a bright winter sky, bluer towards the top, with thin bands of cloud."""
    shape = 192, 512
    share = np.linspace(1, 0, shape[0], dtype=np.float32)[:, None, None] ** 0.7
    clouds = np.clip(0.5 + layered_noise((shape[0], shape[1]), 6, 4, random), 0, 1)[..., None] * 0.8
    blue = share * (1 - clouds)
    pixels = np.full((*shape, 4), 255, np.uint8)
    pixels[..., :3] = np.round(np.array(LOW_SKY) * (1 - blue) + np.array(HIGH_SKY) * blue)
    return Texture(pixels, SKY_SIZE)


def _roofs(random: np.random.Generator) -> Texture:
    """Draw a row of distant houses of different heights."""
    size, scale = (60.0, 12.0), 8
    shape = round(size[1] * scale), round(size[0] * scale)
    pixels = shaded(DISTANT_WALLS, 1 + 0.15 * layered_noise(shape, 20, 3, random))
    pixels[..., 3] = 0
    left = 0
    while left < shape[1]:
        right, top = left + int(random.integers(30, 70)), int(random.integers(20, 60))
        pixels[top:, left:right, 3] = 255
        pixels[top : top + 14, left:right, :3] = pixels[top : top + 14, left:right, :3] * 0.75
        for row in range(top + 20, shape[0] - 10, 22):
            for column in range(left + 5, right - 6, 12):
                fill(pixels[:, :right], column, row, column + 5, row + 9, (72, 76, 80))
        left = right
    return Texture(pixels, size)


def _woods(random: np.random.Generator) -> Texture:
    """Draw a line of distant trees."""
    size, scale = (120.0, 14.0), 8
    shape = round(size[1] * scale), round(size[0] * scale)
    pixels = shaded(DISTANT_TWIGS, 1 + 0.25 * layered_noise(shape, 60, 4, random))
    top = 40 + 24 * layered_noise((1, shape[1]), 16, 4, random)[0]
    pixels[np.arange(shape[0])[:, None] < top, 3] = 0
    return Texture(pixels, size)

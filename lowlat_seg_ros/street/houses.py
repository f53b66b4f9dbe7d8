"""Houses as textures, and the panels one is built of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from lowlat_seg_ros.data.classes import BUILDING
from lowlat_seg_ros.street import facades
from lowlat_seg_ros.street.camera import PinholeCamera
from lowlat_seg_ros.street.cross_section import CAMERA_LANE, Side
from lowlat_seg_ros.street.panel import Panel
from lowlat_seg_ros.street.texture import Texture

DEPTH: Final = 8.0
RIDGE_RISE: Final = 2.6
"""Metres from front to back, and from eaves to ridge."""

STOCK: Final = 9
"""Different houses on one side of a street; they repeat in random order."""

DOWN: Final = (0.0, -1.0, 0.0)
RIGHTWARDS: Final = (1.0, 0.0, 0.0)


@dataclass(frozen=True)
class House:
    """The textures of one house."""

    front: Texture
    gable: Texture
    roof: Texture
    is_shop: bool

    @property
    def eaves(self) -> float:
        """Height of the front in metres."""
        return self.front.size[1]


def stock_of_houses(light: float, random: np.random.Generator) -> list[House]:
    """Draw the houses that one side of a street is put together from."""
    return [_house(light, number, random) for number in range(STOCK)]


def upright_panel(side: Side, z: float, texture: Texture, class_id: int) -> Panel:
    """Return a panel in a side's wall plane from z onwards, to be read from left to right from the street."""
    width, height = texture.size
    start = z if side.outwards < 0 else z + width
    return Panel((side.wall, height, start), (0.0, 0.0, -float(side.outwards)), DOWN, texture, class_id)


def facing_panel(x: float, z: float, texture: Texture, class_id: int) -> Panel:
    """Return a panel across the street's direction whose foot's middle is at (x, z)."""
    width, height = texture.size
    return Panel((x - width / 2, height, z), RIGHTWARDS, DOWN, texture, class_id)


def panels_behind_front(house: House, side: Side, z: float, height_before: float) -> Iterator[Panel]:
    """Yield roof and gable of a house that begins at z, if the street can see them past what is `height_before` it."""
    if _roof_is_seen(house, side):
        slope = house.roof.size[1]
        ridge = side.wall + side.outwards * DEPTH / 2
        start = z if side.outwards < 0 else z + house.front.size[0]
        down = (-side.outwards * DEPTH / 2 / slope, -RIDGE_RISE / slope, 0.0)
        corner = (ridge, house.eaves + RIDGE_RISE, start)
        yield Panel(corner, (0.0, 0.0, -float(side.outwards)), down, house.roof, BUILDING)
    if house.eaves > height_before:
        yield facing_panel(side.wall + side.outwards * DEPTH / 2, z, house.gable, BUILDING)


def _roof_is_seen(house: House, side: Side) -> bool:
    """Return whether the ridge rises more steeply, seen from the middle of the camera's lane, than the eaves."""
    distance = abs(side.wall - CAMERA_LANE.centre)
    eaves_above_eye = house.eaves - PinholeCamera.height
    return (eaves_above_eye + RIDGE_RISE) / (distance + DEPTH / 2) > eaves_above_eye / distance


def _house(light: float, number: int, random: np.random.Generator) -> House:
    width, storeys = float(random.uniform(6.0, 10.0)), int(random.integers(2, 4))
    draw = (facades.shop, facades.terrace, facades.shop, facades.office)[number % 4]
    front = draw(width, storeys, light * random.uniform(0.85, 1.15), random)
    # Gables that the camera sees are turned away from the sun.
    gable = facades.gable(DEPTH, front.size[1], RIDGE_RISE, 0.7 * light, random)
    roof = facades.roof(width, math.hypot(DEPTH / 2, RIDGE_RISE), 0.9 * light, random)
    return House(front, gable, roof, is_shop=draw is facades.shop)

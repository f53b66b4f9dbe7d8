"""What stands along the street: houses, gardens, parks, furniture and parked cars, laid out once from a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np

from lowlat_seg_ros.data.classes import BUILDING, FENCE, TREE
from lowlat_seg_ros.street import facades, furniture, plants
from lowlat_seg_ros.street.cross_section import (
    LEFT_BRACKETS,
    LEFT_KERB,
    LEFT_SIDE,
    PARKED_CARS,
    RIGHT_KERB,
    RIGHT_SIDE,
    Lane,
    Side,
)
from lowlat_seg_ros.street.cutout import Cutout
from lowlat_seg_ros.street.houses import facing_panel, panels_behind_front, stock_of_houses, upright_panel
from lowlat_seg_ros.street.surface import Surface
from lowlat_seg_ros.street.texture import Texture
from lowlat_seg_ros.street.vehicles import random_vehicle

START: Final = -6.0
"""Metres: the street begins a little behind the camera's first position."""

FENCE_HEIGHT: Final = 2.0
SIGN_BOARDS: Final = (furniture.RED, furniture.GREEN, furniture.BLUE)
KERB_PIECES: Final[tuple[Callable[[], Cutout], ...]] = (
    furniture.speed_limit,
    furniture.warning_sign,
    lambda: furniture.direction_sign(furniture.GREEN),
    lambda: furniture.direction_sign(furniture.BLUE),
    furniture.traffic_light,
    furniture.bollard,
)

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Standing:
    """Something that stands still: how far along the street it begins, and what to paint."""

    z: float
    surface: Surface


@dataclass
class Layout:
    """Everything that stands still, sorted by what may hide what."""

    behind_walls: list[Standing] = field(default_factory=list)
    """Gables, roofs, trees, far houses: they hide each other from near to far."""
    walls: list[Standing] = field(default_factory=list)
    """Fronts and fences in the two planes along the pavements: they hide the above and never each other."""
    in_lanes: list[tuple[Lane, Standing]] = field(default_factory=list)
    """Furniture and parked cars between the walls."""


def lay_out(length: float, random: np.random.Generator) -> Layout:
    """Fill the street from a little behind the start to `length` metres ahead of it."""
    layout = Layout()
    # Each part has its own random numbers, so that a longer street begins like a shorter one.
    on_left, on_right, left_kerb, right_kerb, parking = random.spawn(5)
    left = _SideOfStreet(layout, LEFT_SIDE, on_left)
    while left.z < length:
        left.build_houses(int(on_left.integers(2, 4)))
        left.plant_garden(fences=int(on_left.integers(4, 7)), trees=4)
    right = _SideOfStreet(layout, RIGHT_SIDE, on_right)
    while right.z < length:
        right.plant_garden(fences=int(on_right.integers(12, 17)), trees=12, houses_further_off=True)
        right.build_houses(int(on_right.integers(3, 6)))
    _furnish_kerb(layout, LEFT_KERB, -1, length, left_kerb)
    _furnish_kerb(layout, RIGHT_KERB, 1, length, right_kerb)
    _park_cars(layout, length, parking)
    return layout


class _SideOfStreet:
    """One side of the street as it is being built: plot after plot, each beginning at `z` where the last one ended."""

    def __init__(self, layout: Layout, side: Side, random: np.random.Generator) -> None:
        self.z = START
        self._layout = layout
        self._side = side
        self._random = random
        self._height_before = 0.0
        self._houses = stock_of_houses(side.light, random)
        self._trees = plants.stock_of_trees(random)
        self._fences = [
            draw(4.0, FENCE_HEIGHT, 0.85, random) for draw in (facades.fence, facades.fence, facades.boards)
        ]
        self._hedge = plants.hedge(4.0, 1.8, 0.9, random)

    def build_houses(self, count: int) -> None:
        """Build a row of houses, shops with a sign that hangs over the pavement."""
        for _ in range(count):
            house = _any(self._houses, self._random)
            for panel in panels_behind_front(house, self._side, self.z, self._height_before):
                self._layout.behind_walls.append(Standing(self.z, panel))
            if house.is_shop and self._side is LEFT_SIDE and self._random.random() < 0.6:
                z = self.z + float(self._random.uniform(0.5, 1.5))
                _stand(self._layout, LEFT_BRACKETS, furniture.hanging_sign(_any(SIGN_BOARDS, self._random)), z)
            self._put_in_wall(house.front, BUILDING)
            self._height_before = house.eaves

    def plant_garden(self, fences: int, trees: int, houses_further_off: bool = False) -> None:
        """Put up fences, here and there a hedge, before trees, and on request before houses further off."""
        start = self.z
        for _ in range(fences):
            if self._random.random() < 0.1:
                self._put_in_wall(self._hedge, TREE)
            else:
                self._put_in_wall(_any(self._fences, self._random), FENCE)
        for z in np.linspace(start + 1.5, self.z - 1.5, trees):
            x = self._side.wall + self._side.outwards * self._random.uniform(3.0, 6.0)
            panel = facing_panel(x, float(z), _any(self._trees, self._random), TREE)
            self._layout.behind_walls.append(Standing(float(z), panel))
        if houses_further_off:
            self._build_further_off(start, self.z)
        self._height_before = 0.0

    def _build_further_off(self, start: float, end: float) -> None:
        further_off = Side(self._side.wall + 14.0 * self._side.outwards, self._side.outwards, self._side.light)
        while (front := _any(self._houses, self._random).front) and start + front.size[0] < end:
            panel = upright_panel(further_off, start, front, BUILDING)
            start += front.size[0]
            # At its far end: every tree that hides a part of it is nearer to the camera than that.
            self._layout.behind_walls.append(Standing(start, panel))

    def _put_in_wall(self, texture: Texture, class_id: int) -> None:
        self._layout.walls.append(Standing(self.z, upright_panel(self._side, self.z, texture, class_id)))
        self.z += texture.size[0]


def _furnish_kerb(layout: Layout, lane: Lane, side: int, length: float, random: np.random.Generator) -> None:
    """Place a lamp every 26 m and something else every 8 to 16 m."""
    for z in np.arange(12.0 if side < 0 else 22.0, length, 26.0):
        _stand(layout, lane, furniture.lamp_post(side), float(z))
    z_next = float(random.uniform(6.0, 12.0))
    while z_next < length:
        _stand(layout, lane, _any(KERB_PIECES, random)(), z_next)
        z_next += float(random.uniform(8.0, 16.0))


def _park_cars(layout: Layout, length: float, random: np.random.Generator) -> None:
    """Fill runs of parking bays."""
    z = 14.0
    while z < length:
        for _ in range(int(random.integers(2, 6))):
            car = random_vehicle(random).at(PARKED_CARS.centre, z, oncoming=bool(random.random() < 0.8))
            layout.in_lanes.append((PARKED_CARS, Standing(z, car)))
            z += float(random.uniform(5.2, 6.0))
        z += float(random.uniform(12.0, 40.0))


def _stand(layout: Layout, lane: Lane, piece: Cutout, z: float) -> None:
    layout.in_lanes.append((lane, Standing(z, piece.at(lane.centre, z))))


def _any(choices: Sequence[Choice], random: np.random.Generator) -> Choice:
    return choices[int(random.integers(len(choices)))]

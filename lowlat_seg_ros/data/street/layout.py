"""What stands along the street: houses, gardens, parks, furniture and parked cars, laid out once from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np

from lowlat_seg_ros.data.classes import BUILDING, FENCE, TREE
from lowlat_seg_ros.data.street import facades, furniture, plants
from lowlat_seg_ros.data.street.cross_section import (
    LEFT_BRACKETS,
    LEFT_KERB,
    LEFT_WALL,
    PARKED_CARS,
    RIGHT_KERB,
    RIGHT_WALL,
    Lane,
)
from lowlat_seg_ros.data.street.cutout import Cutout
from lowlat_seg_ros.data.street.painter import Panel, Surface
from lowlat_seg_ros.data.street.texture import Texture
from lowlat_seg_ros.data.street.vehicles import random_vehicle

Choice = TypeVar("Choice")

HOUSE_DEPTH: Final = 8.0
RIDGE_RISE: Final = 2.6
FENCE_HEIGHT: Final = 1.9
DOWN: Final = (0.0, -1.0, 0.0)
RIGHTWARDS: Final = (1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Standing:
    """Something that stands still: how far along the street it begins, and what to paint."""

    z: float
    surface: Surface


@dataclass
class Layout:
    """Everything that stands still, sorted by what may hide what."""

    behind_walls: list[Standing] = field(default_factory=list)
    """Gables, roofs, trees, far houses: painted first, from far to near."""
    walls: list[Standing] = field(default_factory=list)
    """Facades and fences in the two planes along the pavements: they hide the above and never each other."""
    in_lanes: list[tuple[Lane, Standing]] = field(default_factory=list)
    """Furniture and parked cars between the walls."""


@dataclass(frozen=True)
class Side:
    """One side of the street: its wall plane, which way is outwards, how much light falls on its facades."""

    wall: float
    outwards: int
    light: float


LEFT_SIDE: Final = Side(LEFT_WALL, -1, 0.62)
RIGHT_SIDE: Final = Side(RIGHT_WALL, 1, 1.1)


@dataclass(frozen=True)
class House:
    """The textures of one house."""

    front: Texture
    gable: Texture
    roof: Texture
    is_shop: bool


def lay_out(length: float, random: np.random.Generator) -> Layout:
    """Fill the street from a little behind the start to `length` metres ahead of it."""
    layout = Layout()
    _fill_left(layout, length, random)
    _fill_right(layout, length, random)
    _place_furniture(layout, LEFT_KERB, -1, length, random)
    _place_furniture(layout, RIGHT_KERB, 1, length, random)
    _park_cars(layout, length, random)
    return layout


def _fill_left(layout: Layout, length: float, random: np.random.Generator) -> None:
    houses, trees = _houses(LEFT_SIDE, random), _trees(random)
    fences = [facades.boards(4.0, FENCE_HEIGHT, 0.8, random), facades.fence(4.0, FENCE_HEIGHT, 0.8, random)]
    z, since_garden = -6.0, 0
    while z < length:
        if since_garden >= 3 and random.random() < 0.45:
            for _ in range(2):
                z = _place_fence(layout, LEFT_SIDE, z, _any(fences, random))
            _place_tree(layout, LEFT_WALL - random.uniform(2.5, 4.0), z - 3.0, _any(trees, random))
            since_garden = 0
        else:
            z = _place_house(layout, LEFT_SIDE, z, _any(houses, random), random)
            since_garden += 1


def _fill_right(layout: Layout, length: float, random: np.random.Generator) -> None:
    houses, far_houses, trees = _houses(RIGHT_SIDE, random), _houses(RIGHT_SIDE, random), _trees(random)
    fences = [facades.fence(6.0, FENCE_HEIGHT, 0.9, random) for _ in range(3)]
    hedges = [plants.hedge(6.0, 1.7, 0.9, random) for _ in range(2)]
    z = -6.0
    while z < length:
        z = _place_park(layout, z, int(random.integers(4, 7)), fences, hedges, trees, far_houses, random)
        for _ in range(int(random.integers(3, 6))):
            z = _place_house(layout, RIGHT_SIDE, z, _any(houses, random), random)


def _place_park(
    layout: Layout,
    z: float,
    panels: int,
    fences: Sequence[Texture],
    hedges: Sequence[Texture],
    trees: Sequence[Texture],
    far_houses: Sequence[House],
    random: np.random.Generator,
) -> float:
    """Place railings, and now and then a hedge, before a row of trees and houses further off; return where they end."""
    end = z
    for _ in range(panels):
        if random.random() < 0.2:
            end = _place_in_wall(layout, RIGHT_SIDE, end, _any(hedges, random), TREE)
        else:
            end = _place_fence(layout, RIGHT_SIDE, end, _any(fences, random))
        _place_tree(layout, RIGHT_WALL + random.uniform(2.8, 4.5), end - random.uniform(0.5, 5.5), _any(trees, random))
    far, far_z = Side(RIGHT_WALL + 13.0, 1, RIGHT_SIDE.light), z
    while far_z < end - 6.0:
        front = _any(far_houses, random).front
        layout.behind_walls.append(Standing(far_z, _front_panel(far, far_z, front, BUILDING)))
        far_z += front.size[0]
    return end


def _place_house(layout: Layout, side: Side, z: float, house: House, random: np.random.Generator) -> float:
    """Place a front, the gable turned to the camera and the roof; return where the house ends."""
    width, eaves = house.front.size
    _place_in_wall(layout, side, z, house.front, BUILDING)
    inner = side.wall if side.outwards > 0 else side.wall - HOUSE_DEPTH
    gable = Panel((inner, eaves + RIDGE_RISE, z), RIGHTWARDS, DOWN, house.gable, BUILDING)
    ridge = side.wall + side.outwards * HOUSE_DEPTH / 2
    slope = house.roof.size[1]
    down = (-side.outwards * HOUSE_DEPTH / 2 / slope, -RIDGE_RISE / slope, 0.0)
    near_corner = (ridge, eaves + RIDGE_RISE, z if side.outwards < 0 else z + width)
    roof = Panel(near_corner, (0.0, 0.0, -float(side.outwards)), down, house.roof, BUILDING)
    layout.behind_walls += [Standing(z + 0.02, roof), Standing(z + 0.01, gable)]
    if house.is_shop and random.random() < 0.6 and side.outwards < 0:
        board = (furniture.RED, furniture.GREEN, furniture.BLUE)[int(random.integers(3))]
        sign_z = z + random.uniform(0.5, 1.5)
        sign = furniture.hanging_sign(board).at(LEFT_BRACKETS.centre, sign_z)
        layout.in_lanes.append((LEFT_BRACKETS, Standing(sign_z, sign)))
    return z + width


def _place_fence(layout: Layout, side: Side, z: float, texture: Texture) -> float:
    return _place_in_wall(layout, side, z, texture, FENCE)


def _place_in_wall(layout: Layout, side: Side, z: float, texture: Texture, class_id: int) -> float:
    layout.walls.append(Standing(z, _front_panel(side, z, texture, class_id)))
    return z + texture.size[0]


def _front_panel(side: Side, z: float, texture: Texture, class_id: int) -> Panel:
    """Return an upright panel from z onwards, drawn so that it reads from left to right from the street."""
    width, height = texture.size
    start = z if side.outwards < 0 else z + width
    return Panel((side.wall, height, start), (0.0, 0.0, -float(side.outwards)), DOWN, texture, class_id)


def _place_tree(layout: Layout, x: float, z: float, texture: Texture) -> None:
    width, height = texture.size
    layout.behind_walls.append(Standing(z, Panel((x - width / 2, height, z), RIGHTWARDS, DOWN, texture, TREE)))


def _place_furniture(layout: Layout, lane: Lane, side: int, length: float, random: np.random.Generator) -> None:
    """Place a lamp every 26 m and something else about every 7 m."""
    for z in np.arange(9.0 if side < 0 else 20.0, length, 26.0):
        _stand(layout, lane, furniture.lamp_post(side), float(z))
    pieces: tuple[Callable[[], Cutout], ...] = (
        furniture.speed_limit,
        furniture.warning_sign,
        lambda: furniture.direction_sign(furniture.GREEN),
        lambda: furniture.direction_sign(furniture.BLUE),
        furniture.traffic_light,
        furniture.bollard,
    )
    z_next = float(random.uniform(6.0, 12.0))
    while z_next < length:
        piece = pieces[int(random.integers(len(pieces)))]()
        _stand(layout, lane, piece, z_next)
        z_next += random.uniform(5.0, 10.0)


def _stand(layout: Layout, lane: Lane, piece: Cutout, z: float) -> None:
    layout.in_lanes.append((lane, Standing(z, piece.at(lane.centre, z))))


def _park_cars(layout: Layout, length: float, random: np.random.Generator) -> None:
    """Fill runs of parking bays."""
    z = 14.0
    while z < length:
        for _ in range(int(random.integers(2, 6))):
            oncoming = bool(random.random() < 0.8)
            car = random_vehicle(random).at(PARKED_CARS.centre + random.uniform(-0.05, 0.05), z, oncoming)
            layout.in_lanes.append((PARKED_CARS, Standing(z, car)))
            z += random.uniform(5.2, 6.0)
        z += random.uniform(6.0, 30.0)


def _houses(side: Side, random: np.random.Generator) -> list[House]:
    """Draw the stock of houses a side is put together from."""
    return [_house(side, number, random) for number in range(9)]


def _house(side: Side, number: int, random: np.random.Generator) -> House:
    width, storeys = float(random.uniform(6.0, 10.0)), int(random.integers(2, 4))
    draw = (facades.shop, facades.terrace, facades.shop, facades.office)[number % 4]
    front = draw(width, storeys, side.light * random.uniform(0.85, 1.15), random)
    # Gables face away from the low sun behind the right-hand houses.
    gable = facades.gable(HOUSE_DEPTH, front.size[1], RIDGE_RISE, 0.7 * side.light, random)
    roof = facades.roof(width, math.hypot(HOUSE_DEPTH / 2, RIDGE_RISE), 0.9 * side.light, random)
    return House(front, gable, roof, is_shop=draw is facades.shop)


def _trees(random: np.random.Generator) -> list[Texture]:
    bare = [plants.bare_tree(random.uniform(5.0, 6.5), random.uniform(7.5, 10.0), random) for _ in range(4)]
    return [*bare, plants.evergreen(3.5, random.uniform(6.0, 8.0), random)]


def _any(choices: Sequence[Choice], random: np.random.Generator) -> Choice:
    return choices[int(random.integers(len(choices)))]

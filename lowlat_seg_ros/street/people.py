"""Pedestrians and bicyclists: flat figures turned towards the camera, whose legs move."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from lowlat_seg_ros.data.classes import BICYCLIST, PEDESTRIAN
from lowlat_seg_ros.street.body import Body
from lowlat_seg_ros.street.cutout import Cutout
from lowlat_seg_ros.street.texture import Colour, dimmed

COATS: Final[tuple[Colour, ...]] = (
    (26, 26, 30),
    (34, 36, 48),
    (52, 44, 38),
    (104, 24, 30),
    (44, 52, 64),
    (78, 74, 68),
    (30, 46, 40),
)
TROUSERS: Final[tuple[Colour, ...]] = ((30, 34, 46), (24, 24, 26), (62, 58, 50), (44, 50, 66))
SKIN: Final[Colour] = (158, 122, 100)
HAIR: Final[Colour] = (38, 32, 28)
SHOES: Final[Colour] = (16, 16, 18)
HELMET: Final[Colour] = (40, 42, 48)
REFLECTOR: Final[Colour] = (196, 206, 40)
TYRE: Final[Colour] = (14, 14, 16)
SPOKES: Final[Colour] = (96, 98, 100)

STEP_LENGTH: Final = 1.5  # metres a walker covers in one cycle of both legs
HEIGHT_DRAWN: Final = 1.76  # metres; the figures below are somebody of this height
PEDAL_TURN: Final = 5.0  # metres a bicycle rolls in one turn of the pedals


@dataclass(frozen=True)
class Person:
    """How tall somebody is and what they wear; `towards_camera` tells face from back of the head."""

    height: float
    coat: Colour
    trousers: Colour
    towards_camera: bool


def random_person(random: np.random.Generator, towards_camera: bool) -> Person:
    """Return somebody in winter clothes."""
    return Person(
        height=float(random.uniform(1.58, 1.88)),
        coat=COATS[int(random.integers(len(COATS)))],
        trousers=TROUSERS[int(random.integers(len(TROUSERS)))],
        towards_camera=towards_camera,
    )


def pedestrian(person: Person, x: float, z: float, walked: float) -> Body:
    """Return somebody on foot at (x, z) who has walked so many metres (which sets how the legs stand)."""
    figure = Cutout(PEDESTRIAN)
    swing = math.sin(2 * math.pi * walked / STEP_LENGTH)
    for side in (-1, 1):
        lift = 0.1 * max(0.0, side * swing)
        figure.limb((side * 0.09, 0.88), (side * (0.1 + 0.02 * swing), 0.06 + lift), (0.17, 0.11), person.trousers)
        figure.limb((side * 0.1, 0.1 + lift), (side * 0.12, lift), (0.13, 0.14), SHOES)
    for side in (-1, 1):
        hand = (side * (0.29 + 0.03 * swing * side), 0.8 + 0.05 * side * swing)
        figure.limb((side * 0.22, 1.38), hand, (0.13, 0.09), dimmed(person.coat, 0.8))
        figure.limb((hand[0], hand[1]), (hand[0], hand[1] - 0.09), (0.08, 0.06), SKIN)
    _torso_and_head(figure, person, waist=0.78, shoulders=1.45, hat=HAIR)
    return figure.at(x, z, person.height / HEIGHT_DRAWN)


def bicyclist(person: Person, x: float, z: float, ridden: float) -> Body:
    """Return somebody on a bicycle at (x, z), seen from the front or from behind, who has ridden so many metres."""
    figure = Cutout(BICYCLIST)
    figure.oval((0.0, 0.34), (0.05, 0.34), TYRE)
    figure.oval((0.0, 0.34), (0.02, 0.26), SPOKES)
    figure.limb((0.0, 0.62), (0.0, 0.95), (0.07, 0.09), SPOKES)
    figure.limb((-0.12, 0.93), (0.12, 0.93), (0.07, 0.07), TYRE)
    for side in (-1, 1):
        foot = 0.3 + 0.17 * side * math.sin(2 * math.pi * ridden / PEDAL_TURN)
        knee = (side * 0.16, (foot + 0.95) / 2 + 0.06)
        figure.limb((side * 0.1, 0.98), knee, (0.18, 0.14), person.trousers)
        figure.limb(knee, (side * 0.12, foot), (0.14, 0.1), dimmed(person.trousers, 0.85))
        figure.limb((side * 0.12, foot + 0.03), (side * 0.13, foot - 0.05), (0.11, 0.11), SHOES)
        figure.limb((side * 0.12, foot + 0.1), (side * 0.12, foot + 0.04), (0.11, 0.11), REFLECTOR)
        figure.limb((side * 0.2, 1.42), (side * 0.27, 1.05), (0.12, 0.08), dimmed(person.coat, 0.8))
    figure.limb((-0.29, 1.04), (0.29, 1.04), (0.04, 0.04), TYRE)
    if not person.towards_camera:
        figure.oval((0.0, 0.62), (0.035, 0.035), (170, 24, 20))
    _torso_and_head(figure, person, waist=0.9, shoulders=1.5, hat=HELMET)
    return figure.at(x, z, person.height / HEIGHT_DRAWN)


def _torso_and_head(figure: Cutout, person: Person, waist: float, shoulders: float, hat: Colour) -> None:
    left = [(-0.2, waist), (-0.22, shoulders - 0.2), (-0.19, shoulders - 0.04), (-0.07, shoulders + 0.02), (0.0, waist)]
    coat = [(-0.2, waist), (-0.22, shoulders - 0.2), (-0.19, shoulders - 0.04), (-0.07, shoulders + 0.02)]
    figure.outline(coat + [(-x, y) for x, y in reversed(coat)], person.coat)
    figure.outline(left, dimmed(person.coat, 1.3))
    figure.limb((0.0, shoulders), (0.0, shoulders + 0.12), (0.12, 0.11), dimmed(SKIN, 0.8))
    head = (0.0, shoulders + 0.19)
    figure.oval(head, (0.095, 0.13), SKIN if person.towards_camera else hat)
    figure.outline(
        [(-0.1, head[1] + 0.02), (-0.08, head[1] + 0.12), (0.08, head[1] + 0.12), (0.1, head[1] + 0.02)], hat
    )

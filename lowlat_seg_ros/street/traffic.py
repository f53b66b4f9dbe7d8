"""Who moves on the street. Everybody keeps a steady speed, so that where they are at any moment needs no history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from lowlat_seg_ros.street.body import Body
from lowlat_seg_ros.street.cross_section import (
    CAMERA_LANE,
    LEFT_CYCLISTS,
    LEFT_WALKERS,
    ONCOMING_CARS,
    RIGHT_CYCLISTS,
    RIGHT_WALKERS,
    Lane,
)
from lowlat_seg_ros.street.people import bicyclist, pedestrian, random_person
from lowlat_seg_ros.street.vehicles import random_vehicle

CAMERA_SPEED: Final = 4.8
"""Metres a second of the camera, and of the car it follows: CamVid's clip moves about as much from frame to frame."""

FASTEST_WALK: Final = 1.5

Build = Callable[[float, float], Body]
"""(z, metres travelled since the start) -> what to paint there."""


@dataclass(frozen=True)
class Traveller:
    """Somebody under way: in which lane, from where, in metres a second along the street, and how to draw them."""

    lane: Lane
    start: float
    speed: float
    build: Build

    def z(self, time: float) -> float:
        """Return how far along the street they are, `time` seconds after the start."""
        return self.start + self.speed * time

    def body(self, time: float) -> Body:
        """Return what to paint at that moment."""
        return self.build(self.z(time), abs(self.speed) * time)


def traffic(length: float, duration: float, random: np.random.Generator) -> list[Traveller]:
    """Return everybody who is on `length` metres of street at some moment of `duration` seconds."""
    # Each group has its own random numbers, so that a longer drive meets the same people first.
    ahead, oncoming, left_cyclists, right_cyclists, left_walkers, right_walkers = random.spawn(6)
    return [
        _car(CAMERA_LANE, 19.0, CAMERA_SPEED, ahead),
        *(_car(ONCOMING_CARS, z, -7.0, oncoming) for z in _starts((16, 40), length + 7.0 * duration, oncoming)),
        *(_cyclist(LEFT_CYCLISTS, z, 3.6, left_cyclists) for z in _starts((11, 20), length, left_cyclists)),
        *(
            _cyclist(RIGHT_CYCLISTS, z, -4.5, right_cyclists)
            for z in _starts((20, 45), length + 4.5 * duration, right_cyclists)
        ),
        *(
            _walker(lane, z, walkers)
            for lane, walkers in ((LEFT_WALKERS, left_walkers), (RIGHT_WALKERS, right_walkers))
            for z in _starts((5, 20), length + FASTEST_WALK * duration, walkers)
        ),
    ]


def _starts(gaps: tuple[float, float], end: float, random: np.random.Generator) -> Iterator[float]:
    """Yield starting points, so many metres apart, up to `end`.

    Nobody starts behind the camera: it is faster than everybody who goes its way, so they would never be seen.
    """
    z = 4.0
    while (z := z + float(random.uniform(*gaps))) < end:
        yield z


def _car(lane: Lane, start: float, speed: float, random: np.random.Generator) -> Traveller:
    car = random_vehicle(random)
    return Traveller(lane, start, speed, lambda z, _: car.at(lane.centre, z, oncoming=speed < 0))


def _cyclist(lane: Lane, start: float, speed: float, random: np.random.Generator) -> Traveller:
    person, phase = random_person(random, towards_camera=speed < 0), float(random.uniform(0, 5))
    return Traveller(lane, start, speed, lambda z, ridden: bicyclist(person, lane.centre, z, phase + ridden))


def _walker(lane: Lane, start: float, random: np.random.Generator) -> Traveller:
    towards_camera = bool(random.random() < 0.5)
    person, phase = random_person(random, towards_camera), float(random.uniform(0, 1.5))
    x = float(random.uniform(lane.left + 0.35, lane.right - 0.35))
    speed = float(random.uniform(0.9, FASTEST_WALK)) * (-1 if towards_camera else 1)
    return Traveller(lane, start, speed, lambda z, walked: pedestrian(person, x, z, phase + walked))

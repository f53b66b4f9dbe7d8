"""Who moves on the street. Everybody keeps a steady speed, so that where they are at any moment needs no history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from lowlat_seg_ros.data.street.cross_section import (
    CAMERA_LANE,
    LEFT_CYCLISTS,
    LEFT_WALKERS,
    ONCOMING_CARS,
    RIGHT_CYCLISTS,
    RIGHT_WALKERS,
    Lane,
)
from lowlat_seg_ros.data.street.painter import Body
from lowlat_seg_ros.data.street.people import bicyclist, pedestrian, random_person
from lowlat_seg_ros.data.street.vehicles import random_vehicle

CAMERA_SPEED: Final = 4.8
"""Metres a second of the camera, and of the car it follows: CamVid's clip moves about as much from frame to frame."""

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
    travellers = [_car(CAMERA_LANE, 19.0, CAMERA_SPEED, random)]
    for start in _starts(-7.0, (16.0, 40.0), length, duration, random):
        travellers.append(_car(ONCOMING_CARS, start, -7.0, random))
    for start in _starts(3.6, (11.0, 20.0), length, duration, random):
        travellers.append(_cyclist(LEFT_CYCLISTS, start, 3.6, random))
    for start in _starts(-4.5, (20.0, 45.0), length, duration, random):
        travellers.append(_cyclist(RIGHT_CYCLISTS, start, -4.5, random))
    for lane in (LEFT_WALKERS, RIGHT_WALKERS):
        for start in _starts(0.0, (3.0, 12.0), length + 1.5 * duration, duration, random):
            travellers.append(_walker(lane, start, random))
    return travellers


def _starts(
    speed: float, gaps: tuple[float, float], length: float, duration: float, random: np.random.Generator
) -> Iterator[float]:
    """Yield starting points, some metres apart, that keep the street populated for the whole duration."""
    z = 8.0 - max(speed, 0.0) * duration
    while (z := z + float(random.uniform(*gaps))) < length + max(-speed, 0.0) * duration:
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
    speed = float(random.uniform(0.9, 1.5)) * (-1 if towards_camera else 1)
    return Traveller(lane, start, speed, lambda z, walked: pedestrian(person, x, z, phase + walked))

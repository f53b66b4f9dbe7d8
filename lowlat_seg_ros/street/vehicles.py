"""Cars and vans as shaded polygons, seen from whichever side the camera is on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.classes import CAR, ROAD
from lowlat_seg_ros.street.body import Body, Face
from lowlat_seg_ros.street.texture import Colour, dimmed

PAINTS: Final[tuple[Colour, ...]] = (
    (124, 128, 134),
    (28, 30, 34),
    (116, 22, 26),
    (26, 40, 92),
    (176, 178, 180),
    (44, 62, 56),
    (70, 74, 82),
)
GLASS: Final[Colour] = (30, 35, 40)
SKY_IN_GLASS: Final[Colour] = (96, 110, 118)
TYRE: Final[Colour] = (15, 15, 17)
HUB: Final[Colour] = (112, 114, 118)
SHADOW: Final[Colour] = (22, 23, 26)
BUMPER: Final[Colour] = (34, 35, 38)

Outline = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Shape:
    """A car's form: two outlines as seen from its left, in (forward, up) metres from the front's top to the rear's."""

    body: Outline
    """From the front bumper's foot over the bonnet to the rear bumper's foot."""
    cabin: Outline
    """Windscreen foot, windscreen top, rear window top, rear window foot."""
    half_width: float
    half_roof: float
    wheels: tuple[float, float]
    """Where the axles are, forward of the middle."""
    side_windows: tuple[tuple[float, float], ...] = ((0.08, 0.48), (0.53, 0.93))
    """From where to where along the cabin there is glass, as shares from its front."""


HATCHBACK: Final = Shape(
    body=((1.9, 0.24), (1.98, 0.5), (1.9, 0.7), (1.0, 0.92), (-1.75, 0.97), (-1.93, 0.62), (-1.86, 0.24)),
    cabin=((1.05, 0.92), (0.3, 1.43), (-1.3, 1.46), (-1.78, 0.96)),
    half_width=0.84,
    half_roof=0.6,
    wheels=(1.2, -1.2),
)
SALOON: Final = Shape(
    body=((2.15, 0.24), (2.22, 0.5), (2.1, 0.7), (1.05, 0.9), (-1.4, 0.96), (-2.1, 0.95), (-2.22, 0.6), (-2.15, 0.24)),
    cabin=((1.1, 0.9), (0.25, 1.38), (-0.95, 1.39), (-1.6, 0.95)),
    half_width=0.88,
    half_roof=0.6,
    wheels=(1.35, -1.3),
)
VAN: Final = Shape(
    body=((2.35, 0.28), (2.42, 0.6), (2.3, 1.0), (1.85, 1.15), (-2.4, 1.15), (-2.45, 0.6), (-2.4, 0.28)),
    cabin=((1.9, 1.13), (1.15, 1.98), (-2.25, 2.05), (-2.42, 1.13)),
    half_width=0.92,
    half_roof=0.84,
    wheels=(1.5, -1.4),
    side_windows=((0.08, 0.34),),
)


@dataclass(frozen=True)
class Vehicle:
    """A shape in a paint: build it once, place it wherever it is at a moment."""

    points: NDArray[np.float64]
    faces: tuple[Face, ...]

    def at(self, x: float, z: float, oncoming: bool) -> Body:
        """Return the vehicle with its middle at (x, z), seen from the front if it is oncoming, else from behind."""
        turn = -1.0 if oncoming else 1.0
        return Body(self.points * (turn, 1.0, turn) + (x, 0.0, z), self.faces)


def vehicle(shape: Shape, paint: Colour) -> Vehicle:
    """Build a vehicle facing along z: its shadow, tyres, body, cabin, glass, lights and plates, in painting order."""
    form = _Form()
    _shadow_and_tyres(form, shape)
    _shell(form, shape.body, shape.half_width, shape.half_width, paint, closed=True)
    _front_and_rear(form, shape)
    for side in (-1, 1):
        _wheels(form, shape, side)
    _shell(form, shape.cabin, shape.half_width * 0.95, shape.half_roof, paint, closed=False)
    _windscreens(form, shape)
    for side in (-1, 1):
        _side_windows(form, shape, side)
    return Vehicle(np.array(form.points), tuple(form.faces))


class _Form:
    """Points and faces as they are added."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float, float]] = []
        self.faces: list[Face] = []

    def add(self, points: list[tuple[float, float, float]], colour: Colour, class_id: int = CAR) -> None:
        """Add a face whose points run clockwise for someone outside."""
        first = len(self.points)
        self.points += points
        self.faces.append(Face(first, len(self.points), colour, class_id, outward=True))


def _shadow_and_tyres(form: _Form, shape: Shape) -> None:
    front, rear, half = shape.body[1][0] + 0.1, shape.body[-2][0] - 0.1, shape.half_width + 0.08
    form.add([(-half, 0, front), (half, 0, front), (half, 0, rear), (-half, 0, rear)], SHADOW, ROAD)
    for left in (-shape.half_width + 0.02, shape.half_width - 0.22):
        for end, facing in ((front - 0.35, 1), (rear + 0.35, -1)):
            form.add(_upright(left, left + 0.2, 0.0, 0.34, end, facing), TYRE)


def _upright(
    left: float, right: float, low: float, high: float, z: float, facing: int
) -> list[tuple[float, float, float]]:
    """Return a rectangle across the car that faces forward (1) or back (-1)."""
    from_behind = [(left, high, z), (right, high, z), (right, low, z), (left, low, z)]
    return from_behind if facing < 0 else from_behind[::-1]


def _half_width_at(height: float, outline: Outline, half_low: float, half_high: float) -> float:
    lows, highs = min(up for _, up in outline), max(up for _, up in outline)
    return half_low + (half_high - half_low) * (height - lows) / (highs - lows)


def _shell(form: _Form, outline: Outline, half_low: float, half_high: float, paint: Colour, closed: bool) -> None:
    """Add both sides of an outline and the strips between them, lit from above."""
    halves = [_half_width_at(up, outline, half_low, half_high) for _, up in outline]
    left = [(-half, up, forward) for half, (forward, up) in zip(halves, outline, strict=True)]
    right = [(half, up, forward) for half, (forward, up) in zip(halves, outline, strict=True)]
    for index in range(len(outline) - 1):
        ahead, behind = index, index + 1
        rise = abs(outline[behind][1] - outline[ahead][1])
        run = abs(outline[behind][0] - outline[ahead][0])
        brightness = 0.62 + 0.75 * run / max(1e-6, rise + run)
        form.add([left[ahead], right[ahead], right[behind], left[behind]], dimmed(paint, brightness))
    form.add(left, dimmed(paint, 0.72))
    form.add(right[::-1], dimmed(paint, 0.85))
    if closed:  # the sills, where little light falls
        front, rear = outline[0], outline[-1]
        for side, half in ((-1, -halves[0] - 0.005), (1, halves[0] + 0.005)):
            sill = [(half, 0.36, front[0]), (half, 0.36, rear[0]), (half, rear[1], rear[0]), (half, front[1], front[0])]
            form.add(sill if side < 0 else sill[::-1], dimmed(paint, 0.4))


def _front_and_rear(form: _Form, shape: Shape) -> None:
    half, bonnet = shape.half_width, shape.body[2][1]
    front, rear = shape.body[1][0] + 0.01, shape.body[-2][0] - 0.01
    form.add(_upright(-half, half, 0.24, 0.42, front, 1), BUMPER)
    form.add(_upright(-0.5, 0.5, 0.47, min(bonnet - 0.06, 0.72), front, 1), (20, 21, 23))
    form.add(_upright(-0.26, 0.26, 0.36, 0.47, front + 0.01, 1), (176, 176, 170))
    form.add(_upright(-half, half, 0.24, 0.46, rear, -1), BUMPER)
    form.add(_upright(-0.26, 0.26, 0.62, 0.73, rear, -1), (168, 148, 60))
    for inner, outer in ((-half + 0.34, -half + 0.03), (half - 0.34, half - 0.03)):
        left, right = min(inner, outer), max(inner, outer)
        form.add(_upright(left, right, 0.5, min(bonnet - 0.02, 0.74), front, 1), (206, 208, 206))
        middle = (left + right) / 2
        form.add(_upright(middle - 0.1, middle + 0.12, 0.6, 0.88, rear, -1), (150, 20, 18))


def _wheels(form: _Form, shape: Shape, side: int) -> None:
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    for axle in shape.wheels:
        for radius, colour, out in ((0.37, (12, 12, 14), 0.012), (0.31, TYRE, 0.02), (0.19, HUB, 0.03)):
            x = side * (shape.half_width + out)
            ring = [(x, 0.31 + radius * float(np.sin(a)), axle + radius * float(np.cos(a))) for a in angles]
            form.add(ring if side < 0 else ring[::-1], colour)


def _windscreens(form: _Form, shape: Shape) -> None:
    low, high = shape.half_width * 0.95, shape.half_roof
    for (foot_z, foot_y), (top_z, top_y), facing in (
        (shape.cabin[0], shape.cabin[1], 1),
        (shape.cabin[3], shape.cabin[2], -1),
    ):
        pane = []
        for share, half in ((0.1, low), (0.9, high)):
            y, z = foot_y + share * (top_y - foot_y) + 0.004, foot_z + share * (top_z - foot_z) + 0.012 * facing
            pane.append(((-half * 0.88, y, z), (half * 0.88, y, z)))
        (left_low, right_low), (left_high, right_high) = pane
        from_behind = [left_high, right_high, right_low, left_low]
        form.add(from_behind if facing < 0 else from_behind[::-1], GLASS)
        glint = [left_high, right_high, _between(right_high, right_low, 0.35), _between(left_high, left_low, 0.35)]
        form.add(glint if facing < 0 else glint[::-1], SKY_IN_GLASS)


def _between(
    start: tuple[float, float, float], end: tuple[float, float, float], share: float
) -> tuple[float, float, float]:
    x, y, z = (a + share * (b - a) for a, b in zip(start, end, strict=True))
    return x, y, z


def _side_windows(form: _Form, shape: Shape, side: int) -> None:
    low, high = shape.half_width * 0.95, shape.half_roof
    (foot_front, foot_y), (top_front, top_y), (top_rear, _), (foot_rear, _) = shape.cabin

    def at(share_back: float, share_up: float) -> tuple[float, float, float]:
        front = foot_front + share_up * (top_front - foot_front)
        rear = foot_rear + share_up * (top_rear - foot_rear)
        x = low + share_up * (high - low) + 0.01
        return side * x, foot_y + share_up * (top_y - foot_y), front + share_back * (rear - front)

    for first, last in shape.side_windows:
        pane = [at(first, 0.9), at(last, 0.9), at(last, 0.12), at(first, 0.12)]
        form.add(pane if side < 0 else pane[::-1], GLASS)


def random_vehicle(random: np.random.Generator) -> Vehicle:
    """Return a car in one of the usual paints, now and then a white van."""
    if random.random() < 0.15:
        return vehicle(VAN, (186, 188, 188))
    shape = HATCHBACK if random.random() < 0.6 else SALOON
    return vehicle(shape, PAINTS[int(random.integers(len(PAINTS)))])

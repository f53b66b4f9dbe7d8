"""Where things are across the street, in metres right of the centre line. Traffic keeps left, as in Cambridge.

Nothing leaves its lane sideways and lanes do not overlap. Seen from a camera inside the camera's lane, whatever stands
in a lane further out is hidden by, and never hides, what stands in a lane further in; painting the lanes from the
outside to the inside, each from far to near, is therefore exact.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Lane(NamedTuple):
    """A strip along the street: its two edges and its centre, in metres right of the centre line."""

    left: float
    right: float

    @property
    def centre(self) -> float:
        """Halfway between the two edges."""
        return (self.left + self.right) / 2


ROAD: Final = Lane(-4.1, 5.7)
CENTRE_LINE: Final = 0.0
BAY_LINE: Final = 3.65
"""Between the oncoming lane and the parking bays."""

LEFT_WALL: Final = -6.9
RIGHT_WALL: Final = 8.5
"""The planes that facades and fences stand in; pavements reach from the road to them."""

LEFT_BRACKETS: Final = Lane(-6.9, -6.15)
LEFT_WALKERS: Final = Lane(-6.1, -4.95)
LEFT_KERB: Final = Lane(-4.9, -4.15)
LEFT_CYCLISTS: Final = Lane(-3.85, -3.05)
CAMERA_LANE: Final = Lane(-3.0, -0.9)
ONCOMING_CARS: Final = Lane(0.7, 2.7)
RIGHT_CYCLISTS: Final = Lane(2.75, 3.6)
PARKED_CARS: Final = Lane(3.7, 5.65)
RIGHT_KERB: Final = Lane(5.8, 6.75)
RIGHT_WALKERS: Final = Lane(6.8, 8.0)

LANES_FROM_OUTSIDE: Final = (
    LEFT_BRACKETS,
    RIGHT_WALKERS,
    RIGHT_KERB,
    PARKED_CARS,
    RIGHT_CYCLISTS,
    LEFT_WALKERS,
    LEFT_KERB,
    ONCOMING_CARS,
    LEFT_CYCLISTS,
    CAMERA_LANE,
)


class Side(NamedTuple):
    """One side of the street: its wall plane, which way is outwards (1 right, -1 left), the light on its fronts."""

    wall: float
    outwards: int
    light: float


LEFT_SIDE: Final = Side(LEFT_WALL, -1, 0.62)
RIGHT_SIDE: Final = Side(RIGHT_WALL, 1, 1.1)

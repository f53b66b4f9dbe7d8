"""Plots as pictures: points and lines over two axes, drawn with OpenCV like everything else that is drawn here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import cv2
import numpy as np

from lowlat_seg_ros.data.drawing import INK, PAPER, Colour, Picture, line_of_text

# Okabe and Ito's colours, which people who see fewer colours tell apart too.
COLOURS: Final[tuple[Colour, ...]] = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0))

WIDTH, HEIGHT = 960, 640
FINER: Final = 2  # everything is drawn so much larger and then made smaller, which smooths letters and lines
LEFT, RIGHT, TOP, BOTTOM = 110, 40, 96, 84  # margins of the plotted area in pixels
TEXT, TITLE = 11, 14  # heights of capital letters in pixels
GRID: Final[Colour] = (222, 222, 222)
TICKS: Final = 6  # about so many on an axis


@dataclass(frozen=True)
class Series:
    """Points of one kind, under one name and colour."""

    name: str
    points: Sequence[tuple[float, float]]
    is_line: bool = True  # joined in their order
    captions: Sequence[str] = ()  # beside each point; none, or one a point


@dataclass(frozen=True)
class Axis:
    """One axis: its title, and the ticks that its values fall between."""

    title: str
    ticks: tuple[float, ...]

    @staticmethod
    def over(title: str, values: Iterable[float]) -> Axis:
        """An axis that reaches over all values in round steps."""
        known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(known), max(known)
        step = round_step((high - low) or abs(high) or 1.0)
        first, last = math.floor(low / step), math.ceil(high / step)
        return Axis(title, tuple(step * number for number in range(first, max(last, first + 1) + 1)))

    def place(self, value: float) -> float:
        """Where a value is between the first tick (0) and the last (1)."""
        return (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])

    def words(self, tick: float) -> str:
        decimals = max(0, -math.floor(math.log10(self.ticks[1] - self.ticks[0]) + 1e-9))
        return f"{tick:.{decimals}f}"


class Box(NamedTuple):
    """A rectangle of the picture, in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    def overlaps(self, other: Box) -> bool:
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.bottom <= other.top or other.bottom <= self.top)

    def is_inside(self, other: Box) -> bool:
        fits_across = other.left <= self.left and self.right <= other.right
        return fits_across and other.top <= self.top and self.bottom <= other.bottom


def round_step(span: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides ``span`` into about TICKS parts."""
    power = 10.0 ** math.floor(math.log10(span / TICKS))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * TICKS >= span * 0.999)


def draw_plot(
    series: Sequence[Series],
    title: str,
    x_title: str,
    y_title: str,
    *,
    x_from_zero: bool = False,
    has_diagonal: bool = False,
) -> Picture:
    """(HEIGHT, WIDTH, 3) uint8 RGB. Points with a nan or infinite value are left out.

    Args:
        series: at most as many as there are COLOURS.
        title: above the plot.
        x_title: below it.
        y_title: on its left.
        x_from_zero: the horizontal axis begins at 0.
        has_diagonal: both axes are the same, and a line shows where the two values are equal.
    """
    points = [point for one in series for point in _known(one)]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if x_from_zero:
        xs.append(0.0)
    if has_diagonal:
        xs = ys = [*xs, *ys, 0.0]
    canvas = _Canvas(Axis.over(x_title, xs), Axis.over(y_title, ys))
    canvas.draw_axes(title)
    canvas.draw_legend(series)
    if has_diagonal:
        canvas.draw_diagonal()
    for number, one in enumerate(series):
        canvas.draw_series(one, COLOURS[number])
    for one in series:
        canvas.draw_captions(one)
    return cv2.resize(canvas.picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _known(series: Series) -> list[tuple[float, float]]:
    return [(x, y) for x, y in series.points if math.isfinite(x) and math.isfinite(y)]


class _Canvas:
    """The picture while it is drawn, FINER times as large."""

    def __init__(self, x_axis: Axis, y_axis: Axis) -> None:
        self.picture: Picture = np.full((HEIGHT * FINER, WIDTH * FINER, 3), PAPER, np.uint8)
        self._x_axis = x_axis
        self._y_axis = y_axis
        self._area = Box(LEFT * FINER, TOP * FINER, (WIDTH - RIGHT) * FINER, (HEIGHT - BOTTOM) * FINER)
        self._taken: list[Box] = []  # by points and captions

    def pixel(self, x: float, y: float) -> tuple[int, int]:
        left, top, right, bottom = self._area
        across, up = self._x_axis.place(x), self._y_axis.place(y)
        return round(left + across * (right - left)), round(bottom - up * (bottom - top))

    def draw_axes(self, title: str) -> None:
        left, top, right, bottom = self._area
        for tick in self._x_axis.ticks:
            column, _ = self.pixel(tick, self._y_axis.ticks[0])
            self._line((column, top), (column, bottom), GRID, 1)
            self._text(self._x_axis.words(tick), (column, bottom + 18 * FINER))
        for tick in self._y_axis.ticks:
            _, row = self.pixel(self._x_axis.ticks[0], tick)
            self._line((left, row), (right, row), GRID, 1)
            self._text(self._y_axis.words(tick), (left - 32 * FINER, row))
        self._line((left, bottom), (right, bottom), INK, 1)
        self._line((left, top), (left, bottom), INK, 1)
        self._text(title, (WIDTH * FINER // 2, 24 * FINER), TITLE)
        self._text(self._x_axis.title, ((left + right) // 2, bottom + 54 * FINER))
        upright = line_of_text(self._y_axis.title, TEXT * FINER, PAPER, bottom - top + 60 * FINER)
        self._paste(np.rot90(upright), (26 * FINER, (top + bottom) // 2))

    def draw_legend(self, series: Sequence[Series]) -> None:
        """A line of marks and names above the plot."""
        names = [line_of_text(one.name, TEXT * FINER, PAPER, self._area.right) for one in series]
        gap, column = 26 * FINER, self._area.left
        for number, name in enumerate(names):
            row = (TOP - 30) * FINER
            self._mark((column + 8 * FINER, row), COLOURS[number])
            middle = column + 14 * FINER + name.shape[1] // 2
            self._paste(name, (middle, row))
            column += 14 * FINER + name.shape[1] + gap

    def draw_diagonal(self) -> None:
        first, last = self._x_axis.ticks[0], self._x_axis.ticks[-1]
        self._line(self.pixel(first, first), self.pixel(last, last), INK, 1)

    def draw_series(self, series: Series, colour: Colour) -> None:
        places = [self.pixel(x, y) for x, y in _known(series)]
        if series.is_line:
            for start, end in pairwise(places):
                self._line(start, end, colour, 2)
        is_crowd = len(places) > 200
        for place in places:
            self._mark(place, colour, 2 if is_crowd else 5)

    def draw_captions(self, series: Series) -> None:
        """Each beside its point, on the first side where it covers nothing."""
        for (x, y), caption in zip(series.points, series.captions, strict=False):
            if not (caption and math.isfinite(x) and math.isfinite(y)):
                continue
            text = line_of_text(caption, TEXT * FINER, PAPER, self._area.right)
            box = self._free_place(self.pixel(x, y), text)
            self._taken.append(box)
            self.picture[box.top : box.bottom, box.left : box.right] = np.minimum(
                self.picture[box.top : box.bottom, box.left : box.right], text
            )

    def _free_place(self, place: tuple[int, int], text: Picture) -> Box:
        column, row = place
        height, width = text.shape[:2]
        away = 8 * FINER
        corners = [
            (column + away, row - height // 2),
            (column - away - width, row - height // 2),
            (column - width // 2, row - away - height),
            (column - width // 2, row + away),
            (column + away, row - away - height),
            (column + away, row + away),
        ]
        boxes = [Box(left, top, left + width, top + height) for left, top in corners]
        inside = [box for box in boxes if box.is_inside(self._area)]
        free = [box for box in inside if not any(box.overlaps(taken) for taken in self._taken)]
        return (free or inside or [self._pushed_inside(boxes[0])])[0]

    def _pushed_inside(self, box: Box) -> Box:
        left = max(0, min(box.left, self.picture.shape[1] - (box.right - box.left)))
        top = max(0, min(box.top, self.picture.shape[0] - (box.bottom - box.top)))
        return Box(left, top, left + box.right - box.left, top + box.bottom - box.top)

    def _mark(self, place: tuple[int, int], colour: Colour, radius: int = 5) -> None:
        column, row = place
        reach = radius * FINER
        cv2.circle(self.picture, place, reach, colour, cv2.FILLED, cv2.LINE_AA)
        self._taken.append(Box(column - reach, row - reach, column + reach, row + reach))

    def _line(self, start: tuple[int, int], end: tuple[int, int], colour: Colour, thickness: int) -> None:
        cv2.line(self.picture, start, end, colour, thickness * FINER, cv2.LINE_AA)

    def _text(self, text: str, middle: tuple[int, int], height: int = TEXT) -> None:
        self._paste(line_of_text(text, height * FINER, PAPER, self.picture.shape[1]), middle)

    def _paste(self, strip: Picture, middle: tuple[int, int]) -> None:
        """Put a picture around a place, cut off where it would leave the canvas."""
        height, width = strip.shape[:2]
        left, top = max(0, middle[0] - width // 2), max(0, middle[1] - height // 2)
        target = self.picture[top : top + height, left : left + width]
        target[:] = strip[: target.shape[0], : target.shape[1]]

"""Plots: axes that reach over all values in round steps, and points where they belong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from lowlat_seg_ros.data.plot import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Series, draw_plot

CORNERS = {(0.0, 0.0): (HEIGHT - BOTTOM, LEFT), (1.0, 1.0): (TOP, WIDTH - RIGHT), (0.0, 1.0): (TOP, LEFT)}


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 1.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        ([2, 10], [2, 4, 6, 8, 10]),
        ([0.513, 0.687], [0.5, 0.55, 0.6, 0.65, 0.7]),
        ([-3.0, 4.0], [-4, -2, 0, 2, 4]),
        ([math.nan], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_an_axis_reaches_over_its_values_in_round_steps(values: list[float], ticks: list[float]) -> None:
    assert Axis.over("", values).ticks == pytest.approx(ticks)


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, -0.3])
def test_an_axis_over_one_value_still_has_two_ticks(value: float) -> None:
    ticks = Axis.over("", [value]).ticks
    assert len(ticks) >= 2 and ticks[0] <= value + 1e-9 and value - 1e-9 <= ticks[-1]


def test_ticks_are_written_with_as_many_decimals_as_their_steps_have() -> None:
    assert [Axis("", (0.5, 0.55)).words(tick) for tick in (0.5, 0.55)] == ["0.50", "0.55"]
    assert Axis("", (0.0, 50.0)).words(50.0) == "50"


@pytest.mark.parametrize(("point", "place"), CORNERS.items())
def test_a_point_is_drawn_where_its_values_are(point: tuple[float, float], place: tuple[int, int]) -> None:
    others = [(0.0, 0.0), (1.0, 1.0)]
    picture = plot([Series("others", others, is_line=False), Series("point", [point], is_line=False)])
    assert tuple(picture[place]) == COLOURS[1]


def test_points_without_a_value_are_left_out() -> None:
    known = [(0.0, 0.0), (1.0, 1.0)]
    with_unknown = [known[0], (0.5, math.nan), known[1]]
    assert np.array_equal(plot([Series("a", known)]), plot([Series("a", with_unknown)]))


def test_captions_that_would_cover_each_other_go_to_other_sides() -> None:
    points = [(0.5, 0.5), (0.501, 0.5), (0.0, 0.0), (1.0, 1.0)]
    alone = plot([Series("a", points, is_line=False, captions=["first", "", "", ""])])
    both = plot([Series("a", points, is_line=False, captions=["first", "second", "", ""])])
    ink = [
        int((picture < 100).all(axis=2).sum()) for picture in (plot([Series("a", points, is_line=False)]), alone, both)
    ]
    assert ink[0] < ink[1] < ink[2]
    assert ((both < 100).all(axis=2) >= (alone < 100).all(axis=2)).all()  # "first" is still readable


def test_a_plot_of_nothing_is_an_empty_plot() -> None:
    assert plot([Series("nothing", [])]).shape == (HEIGHT, WIDTH, 3)


def plot(series: list[Series]) -> NDArray[np.uint8]:
    return draw_plot(series, "title", "x", "y")

"""Colours for class names."""

from __future__ import annotations

import colorsys
import itertools

from lowlat_seg_ros.data.classes import CAMVID_CLASSES, CAMVID_COLOURS
from lowlat_seg_ros.data.palettes import colours_for, distinct_colour


def test_camvids_classes_have_their_customary_colours() -> None:
    assert colours_for(CAMVID_CLASSES) == CAMVID_COLOURS


def test_names_are_known_however_they_are_spelt() -> None:
    """Cityscapes' colours: its palette knows all four, others two of them."""
    assert colours_for(["Traffic_Light", "trafficsign", "TERRAIN", "rider"]) == (
        *((250, 170, 30), (220, 220, 0)),
        *((152, 251, 152), (255, 0, 0)),
    )


def test_a_name_from_elsewhere_gets_a_colour_of_its_own() -> None:
    colours = colours_for(["road", "sidewalk", "terrain", "unheard of"])
    assert colours[0] == (128, 64, 128) and len(set(colours)) == 4


def test_unknown_names_have_distinct_bright_colours() -> None:
    colours = colours_for([f"class {number}" for number in range(255)])
    assert colours[7] == distinct_colour(7)
    assert len(set(colours)) > 250 and (0, 0, 0) not in colours
    for one, other in itertools.pairwise(colours):
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 60
    assert all(colorsys.rgb_to_hsv(*(part / 255 for part in colour))[1] > 0.5 for colour in colours)

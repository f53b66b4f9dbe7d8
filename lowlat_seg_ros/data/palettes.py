"""Colours for class names: the customary ones of well-known data sets, distinct ones for all others.

``palettes.json`` has those that CamVid, Cityscapes, ADE20K, Mapillary Vistas and COCO-Stuff are shown in; its source is
mmsegmentation's ``mmseg/datasets`` (Apache-2.0), but for CamVid's, whose own show pedestrians nearly black.
"""

from __future__ import annotations

import colorsys
import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

RGB = tuple[int, int, int]

GOLDEN_RATIO = (5**0.5 - 1) / 2  # of the circle of hues: each new hue falls into the largest gap that there is
SATURATIONS = (0.85, 0.55)
VALUES = (0.95, 0.65, 0.8)


def colours_for(names: Sequence[str]) -> tuple[RGB, ...]:
    """One colour a class, by the data set that knows most of the names, if that is half of them or more."""
    keys = [_key(name) for name in names]
    palette = max(_palettes().values(), key=lambda palette: sum(key in palette for key in keys))
    if 2 * sum(key in palette for key in keys) < len(keys):
        palette = {}
    return tuple(palette.get(key) or distinct_colour(number) for number, key in enumerate(keys))


def distinct_colour(number: int) -> RGB:
    """The colour of that number, unlike those of the numbers around it and never black or grey."""
    hue = number * GOLDEN_RATIO % 1
    colour = colorsys.hsv_to_rgb(hue, SATURATIONS[number % len(SATURATIONS)], VALUES[number % len(VALUES)])
    red, green, blue = (round(255 * part) for part in colour)
    return red, green, blue


@functools.cache
def _palettes() -> Mapping[str, Mapping[str, RGB]]:
    text = Path(__file__).with_name("palettes.json").read_text(encoding="utf-8")
    return {
        data_set: {_key(name): (red, green, blue) for name, (red, green, blue) in colours.items()}
        for data_set, colours in json.loads(text).items()
    }


def _key(name: str) -> str:
    """A name as it is compared: ``Traffic Light`` and ``traffic_light`` are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())

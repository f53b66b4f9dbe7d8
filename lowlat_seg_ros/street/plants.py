"""Trees and hedges."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from lowlat_seg_ros.street.texture import Colour, Pixels, Texture, dimmed, layered_noise, shaded

PIXELS_PER_METRE: Final = 32
TWIGS: Final[Colour] = (98, 92, 82)
BARK: Final[Colour] = (56, 50, 44)
SKY_BETWEEN_TWIGS: Final[Colour] = (198, 208, 212)
EVERGREEN: Final[Colour] = (50, 58, 40)
HEDGE: Final[Colour] = (64, 72, 46)


def stock_of_trees(random: np.random.Generator) -> list[Texture]:
    """Draw the trees that one side of a street is planted with."""
    bare = [bare_tree(float(random.uniform(6.0, 8.5)), float(random.uniform(8.0, 11.5)), random) for _ in range(4)]
    return [*bare, evergreen(3.5, float(random.uniform(6.0, 8.0)), random)]


def bare_tree(width: float, height: float, random: np.random.Generator) -> Texture:
    """Draw a tree in winter: a trunk that forks into ever thinner branches in a haze of twigs.

    What the twigs' outline encloses belongs to the tree, the sky that shows between them included, as in CamVid.
    """
    shape = round(height * PIXELS_PER_METRE), round(width * PIXELS_PER_METRE)
    haze = 1.0 + 0.25 * layered_noise(shape, 6, 3, random) + 0.22 * random.standard_normal(shape)
    pixels = shaded(TWIGS, haze)
    _scatter_gaps(pixels, random)
    _grow_twigs(pixels, random)
    _grow_branches(pixels, random)
    pixels[..., 3] = _crown_outline(shape, random)
    _set_trunk(pixels, top=0.5)
    return Texture(pixels, (width, height))


def evergreen(width: float, height: float, random: np.random.Generator) -> Texture:
    """Draw a dense dark tree with leaves down to its short trunk."""
    shape = round(height * PIXELS_PER_METRE), round(width * PIXELS_PER_METRE)
    lit_from_above = np.linspace(1.25, 0.6, shape[0], dtype=np.float32)[:, None]
    leaves = 1 + 0.45 * layered_noise(shape, 8, 5, random) + 0.2 * random.standard_normal(shape)
    pixels = shaded(EVERGREEN, lit_from_above * leaves)
    pixels[..., 3] = _crown_outline(shape, random, bottom=0.95)
    _set_trunk(pixels, top=0.85)
    return Texture(pixels, (width, height))


def hedge(width: float, height: float, light: float, random: np.random.Generator) -> Texture:
    """Draw a hedge with an uneven top."""
    shape = round(height * PIXELS_PER_METRE), round(width * PIXELS_PER_METRE)
    lit_from_above = np.linspace(1.3, 0.6, shape[0], dtype=np.float32)[:, None]
    leaves = 1 + 0.4 * layered_noise(shape, 12, 4, random) + 0.2 * random.standard_normal(shape)
    pixels = shaded(HEDGE, light * lit_from_above * leaves)
    top = 6 + 5 * layered_noise((1, shape[1]), 12, 3, random)[0]
    pixels[np.arange(shape[0])[:, None] < top, 3] = 0
    return Texture(pixels, (width, height))


def _crown_outline(shape: tuple[int, int], random: np.random.Generator, bottom: float = 0.75) -> Pixels:
    """Return the opacity of a round crown with a ragged edge, in the upper part of the picture."""
    rows, columns = np.indices(shape, np.float32)
    middle = 0.5 * bottom * shape[0]
    from_centre = np.hypot((columns / shape[1] - 0.5) / 0.48, (rows - middle) / (0.98 * middle))
    ragged = from_centre + 0.13 * layered_noise(shape, 5, 5, random) < 0.88
    return np.where(ragged, 255, 0).astype(np.uint8)


def _scatter_gaps(pixels: Pixels, random: np.random.Generator) -> None:
    """Let the sky show through in specks, more of them towards the crown's edge."""
    shape = pixels.shape[0], pixels.shape[1]
    rows, columns = np.indices(shape, np.float32)
    outwards = np.hypot(columns / shape[1] - 0.5, rows / shape[0] - 0.38)
    dense = 1.25 - 1.1 * outwards + 0.35 * layered_noise(shape, 10, 3, random)
    gaps = cv2.GaussianBlur(random.standard_normal(shape).astype(np.float32), (0, 0), 0.9) * 3.5 > dense
    pixels[gaps, :3] = SKY_BETWEEN_TWIGS


def _grow_twigs(pixels: Pixels, random: np.random.Generator) -> None:
    """Draw short fine lines that point away from the crown's centre."""
    rows, columns = pixels.shape[:2]
    for x, y in random.uniform((0, 0), (columns, 0.78 * rows), (900, 2)):
        direction = np.arctan2(y - 0.5 * rows, x - columns / 2) + random.normal(0, 0.5)
        length = random.uniform(8, 26)
        tip = round(x + length * np.cos(direction)), round(y + length * np.sin(direction))
        cv2.line(pixels, (round(x), round(y)), tip, (*dimmed(TWIGS, random.uniform(0.55, 1.0)), 255), 1)


def _grow_branches(pixels: Pixels, random: np.random.Generator) -> None:
    """Draw branches that fork in three, each fork shorter and thinner."""
    rows, columns = pixels.shape[:2]
    buds = [(columns / 2, 0.62 * rows, -np.pi / 2 + random.normal(0, 0.1), 0.16 * rows, 7)]
    while buds:
        x, y, direction, length, thickness = buds.pop()
        tip_x, tip_y = x + length * np.cos(direction), y + length * np.sin(direction)
        colour = BARK if thickness > 1 else dimmed(TWIGS, 0.7)
        cv2.line(pixels, (round(x), round(y)), (round(tip_x), round(tip_y)), (*colour, 255), max(1, thickness))
        if length > 0.035 * rows:
            for turn in random.normal((-0.5, 0.0, 0.5), 0.25):
                buds.append((tip_x, tip_y, direction + turn, length * random.uniform(0.6, 0.85), thickness - 2))


def _set_trunk(pixels: Pixels, top: float) -> None:
    """Draw the trunk from the share `top` of the height down to the ground, its right half in the shade."""
    rows, columns = pixels.shape[:2]
    half = round(0.14 * PIXELS_PER_METRE)
    pixels[round(top * rows) :, columns // 2 - half : columns // 2] = (*BARK, 255)
    pixels[round(top * rows) :, columns // 2 : columns // 2 + half] = (*dimmed(BARK, 0.7), 255)

"""Trees and hedges."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from lowlat_seg_ros.data.street.texture import Colour, Pixels, Texture, layered_noise, shaded

PIXELS_PER_METRE: Final = 32
TWIGS: Final[Colour] = (96, 90, 80)
BARK: Final[Colour] = (58, 52, 46)
SKY_BETWEEN_TWIGS: Final[Colour] = (196, 206, 208)
EVERGREEN: Final[Colour] = (50, 58, 40)


def bare_tree(width: float, height: float, random: np.random.Generator) -> Texture:
    """Draw a tree in winter: a trunk that forks into ever thinner branches in a haze of twigs.

    What the twigs' outline encloses belongs to the tree, the sky that shows between them included, as in CamVid.
    """
    shape = round(height * PIXELS_PER_METRE), round(width * PIXELS_PER_METRE)
    pixels = shaded(TWIGS, 0.95 + 0.35 * layered_noise(shape, 8, 4, random))
    gaps = layered_noise(shape, 10, 5, random) + 0.15 * random.standard_normal(shape) > 0.52
    pixels[gaps, :3] = SKY_BETWEEN_TWIGS
    _branches(pixels, random)
    pixels[..., 3] = _crown_outline(shape, random)
    trunk = round(0.14 * PIXELS_PER_METRE)
    centre, crown_bottom = shape[1] // 2, round(0.55 * shape[0])
    pixels[crown_bottom:, centre - trunk : centre + trunk] = (*BARK, 255)
    pixels[crown_bottom:, centre : centre + trunk, :3] = tuple(int(0.7 * channel) for channel in BARK)
    return Texture(pixels, (width, height))


def evergreen(width: float, height: float, random: np.random.Generator) -> Texture:
    """Draw a dense dark tree with leaves down to its short trunk."""
    shape = round(height * PIXELS_PER_METRE), round(width * PIXELS_PER_METRE)
    lit_from_above = np.linspace(1.25, 0.6, shape[0], dtype=np.float32)[:, None]
    pixels = shaded(EVERGREEN, lit_from_above * (1 + 0.6 * layered_noise(shape, 6, 5, random)))
    pixels[..., 3] = _crown_outline(shape, random, bottom=0.9)
    centre = shape[1] // 2
    pixels[round(0.8 * shape[0]) :, centre - 4 : centre + 4] = (*BARK, 255)
    return Texture(pixels, (width, height))


def hedge(width: float, height: float, light: float, random: np.random.Generator) -> Texture:
    """Draw a hedge with an uneven top."""
    shape = round(height * PIXELS_PER_METRE), round(width * PIXELS_PER_METRE)
    lit_from_above = np.linspace(1.3, 0.6, shape[0], dtype=np.float32)[:, None]
    pixels = shaded((64, 72, 46), light * lit_from_above * (1 + 0.6 * layered_noise(shape, 12, 5, random)))
    top = 6 + 5 * layered_noise((1, shape[1]), 12, 3, random)[0]
    pixels[np.arange(shape[0])[:, None] < top, 3] = 0
    return Texture(pixels, (width, height))


def _crown_outline(shape: tuple[int, int], random: np.random.Generator, bottom: float = 0.78) -> Pixels:
    """Return the opacity of a round crown with a ragged edge, in the upper part of the picture."""
    rows, columns = np.indices(shape, np.float32)
    centre_row, radius_row = 0.5 * bottom * shape[0], 0.48 * bottom * shape[0]
    from_centre = np.hypot((columns - shape[1] / 2) / (0.47 * shape[1]), (rows - centre_row) / radius_row)
    ragged = from_centre + 0.22 * layered_noise(shape, 5, 4, random) < 0.9
    return np.where(ragged, 255, 0).astype(np.uint8)


def _branches(pixels: Pixels, random: np.random.Generator) -> None:
    rows, columns = pixels.shape[:2]
    buds = [(columns / 2, 0.62 * rows, -np.pi / 2 + random.normal(0, 0.1), 0.16 * rows, 7)]
    while buds:
        x, y, direction, length, thickness = buds.pop()
        end_x, end_y = x + length * np.cos(direction), y + length * np.sin(direction)
        colour = BARK if thickness > 1 else tuple(int(0.8 * channel) for channel in TWIGS)
        cv2.line(pixels, (round(x), round(y)), (round(end_x), round(end_y)), (*colour, 255), max(1, thickness))
        if length > 0.03 * rows:
            for turn in random.normal((-0.5, 0.0, 0.5), 0.25):
                shorter = length * random.uniform(0.6, 0.85)
                buds.append((end_x, end_y, direction + turn, shorter, thickness - 2))

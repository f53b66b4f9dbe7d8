"""Pictures that surfaces of the street are covered with, in every resolution a camera may need."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Grey = NDArray[np.floating[Any]]
Colour = tuple[int, int, int]


class Texture:
    """An (h, w, 4) uint8 RGB + opacity picture of a surface `size` = (width, height) metres large.

    `reduced(halvings)` gives it at smaller resolutions, halved separately in each direction: a wall seen at a grazing
    angle is squeezed sideways only, and sampling it unreduced would make its windows flicker as the camera moves.
    """

    def __init__(self, pixels: Pixels, size: tuple[float, float]) -> None:
        self.size = size
        self._reduced: dict[tuple[int, int], Pixels] = {(0, 0): np.ascontiguousarray(pixels)}

    def reduced_for(self, pixels_per_metre: tuple[float, float]) -> Pixels:
        """Return the smallest version that still has `pixels_per_metre` (sideways, upright), as far as there is one."""
        height, width = self._reduced[0, 0].shape[:2]
        return self.reduced(
            (
                _halvings(width / (self.size[0] * pixels_per_metre[0]), width),
                _halvings(height / (self.size[1] * pixels_per_metre[1]), height),
            )
        )

    def reduced(self, halvings: tuple[int, int]) -> Pixels:
        """Return the picture with its width and its height halved so many times."""
        if halvings not in self._reduced:
            height, width = self._reduced[0, 0].shape[:2]
            smaller = max(1, width >> halvings[0]), max(1, height >> halvings[1])
            picture = cv2.resize(self._reduced[0, 0], smaller, interpolation=cv2.INTER_AREA)
            self._reduced[halvings] = picture.astype(np.uint8, copy=False)
        return self._reduced[halvings]


def _halvings(texels_per_pixel: float, texels: int) -> int:
    most = int(math.log2(texels))
    return min(most, max(0, round(math.log2(max(texels_per_pixel, 1)))))


def noise(shape: tuple[int, int], cells: tuple[int, int], random: np.random.Generator) -> NDArray[np.float32]:
    """Return smooth noise of `shape` (rows, columns), about -1..1, with `cells` bumps down and across, that tiles."""
    coarse = random.standard_normal(cells).astype(np.float32) * 0.5
    # One more cell on each side, wrapped around, so that the left edge continues the right one.
    wrapped = np.pad(coarse, 2, mode="wrap")
    scale = shape[0] / cells[0], shape[1] / cells[1]
    rows = (np.arange(shape[0], dtype=np.float32) + 0.5) / scale[0] + 1.5
    columns = (np.arange(shape[1], dtype=np.float32) + 0.5) / scale[1] + 1.5
    map_columns, map_rows = np.meshgrid(columns, rows)
    return cv2.remap(wrapped, map_columns, map_rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(
        np.float32, copy=False
    )


def layered_noise(
    shape: tuple[int, int], coarsest: int, layers: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """Return a sum of `layers` noises, about -1..1, each twice as fine and half as strong as the last."""
    total = np.zeros(shape, np.float32)
    for layer in range(layers):
        across = max(1, coarsest << layer)
        down = max(1, round(across * shape[0] / shape[1]))
        total += noise(shape, (min(down, shape[0]), min(across, shape[1])), random) * 0.5**layer
    return total


def shaded(colour: Colour, brightness: Grey) -> Pixels:
    """Return (h, w, 4) opaque pixels of one colour, each multiplied by its brightness (h, w)."""
    pixels = np.full((*brightness.shape, 4), 255, np.uint8)
    pixels[..., :3] = np.clip(brightness[..., None] * np.asarray(colour, np.float32), 0, 255)
    return pixels


def fill(pixels: Pixels, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
    """Paint the rectangle of pixels between the given edges, opaque."""
    pixels[max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))] = (*colour, 255)


def dimmed(colour: Colour, brightness: float) -> Colour:
    """Return the colour with each channel multiplied by `brightness`."""
    red, green, blue = (int(min(255, max(0, channel * brightness))) for channel in colour)
    return red, green, blue

"""The street's surface, painted by looking up, for every pixel below the horizon, the point of the ground it shows."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.classes import PAVEMENT as PAVEMENT_ID
from lowlat_seg_ros.data.classes import ROAD as ROAD_ID
from lowlat_seg_ros.street.camera import PinholeCamera
from lowlat_seg_ros.street.cross_section import BAY_LINE, CENTRE_LINE, LEFT_WALL, RIGHT_WALL, ROAD
from lowlat_seg_ros.street.surface import Canvas
from lowlat_seg_ros.street.texture import Colour, Grey, Pixels, Texture, layered_noise, noise, shaded

LEFT: Final = LEFT_WALL - 1.0
RIGHT: Final = RIGHT_WALL + 1.0
LENGTH: Final = 36.0
"""Metres after which the surface repeats: a multiple of the marks' spacing, so that they continue."""

PIXELS_PER_METRE: Final = (50, 25)  # across and along; the surface is seen at a grazing angle
ASPHALT: Final[Colour] = (70, 74, 81)
SLABS: Final[Colour] = (76, 76, 79)
KERB: Final[Colour] = (104, 103, 103)
WHITE_MARK: Final[Colour] = (158, 162, 166)
YELLOW_MARK: Final[Colour] = (136, 122, 84)


class Ground:
    """Road and pavements: the same cross-section all along the street, its surface drawn anew from `random`."""

    def __init__(self, random: np.random.Generator) -> None:
        self._texture = Texture(_surface(random), (RIGHT - LEFT, LENGTH))

    def paint(self, canvas: Canvas, camera: PinholeCamera) -> None:
        """Paint everything below the horizon."""
        first_row = int(np.floor(camera.centre[1])) + 1
        rows = np.arange(max(first_row, 0), canvas.shape[0], dtype=np.float32)
        if not rows.size:
            return
        depth = camera.focal * camera.height / (rows - camera.centre[1])
        across, along = _ground_of_pixels(camera, depth.astype(np.float32))
        for start, end, halvings in _bands_of_equal_sharpness(camera, depth):
            texels = self._texture.reduced(halvings)
            columns = (across[start:end] - LEFT) * (texels.shape[1] / (RIGHT - LEFT)) - 0.5
            np.clip(columns, 0, texels.shape[1] - 1, out=columns)
            lines = along[start:end] * (texels.shape[0] / LENGTH) - 0.5
            band = canvas[int(rows[start]) : int(rows[end - 1]) + 1]
            cv2.remap(texels, columns, lines, cv2.INTER_LINEAR, dst=band, borderMode=cv2.BORDER_WRAP)
        is_road = (across > ROAD.left) & (across < ROAD.right)
        canvas[int(rows[0]) :, :, 3] = np.where(is_road, np.uint8(ROAD_ID), np.uint8(PAVEMENT_ID))


def _ground_of_pixels(
    camera: PinholeCamera, depth: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return x and z of the ground seen by every pixel of the rows that see it `depth` metres away."""
    sideways = (np.arange(camera.size[0], dtype=np.float32) - camera.centre[0]) / camera.focal
    cos, sin = np.float32(np.cos(camera.yaw)), np.float32(np.sin(camera.yaw))
    x = np.outer(depth, sideways * cos + sin) + np.float32(camera.x)
    # Only the position within one repetition matters; a long drive would otherwise use up float32's digits.
    z = np.outer(depth, cos - sideways * sin) + np.float32(camera.z % LENGTH)
    return x, z


def _bands_of_equal_sharpness(
    camera: PinholeCamera, depth: NDArray[np.float32]
) -> list[tuple[int, int, tuple[int, int]]]:
    """Return (first row, row after the last, halvings of the texture) for runs of rows of about the same scale."""
    metres_per_pixel = np.stack([depth / camera.focal, depth**2 / (camera.focal * camera.height)])
    texels_per_pixel = metres_per_pixel * np.array(PIXELS_PER_METRE)[:, None]
    halvings = np.clip(np.round(np.log2(np.maximum(texels_per_pixel, 1))), 0, 7).astype(int)
    starts = [0, *(np.flatnonzero(np.diff(halvings, axis=1).any(axis=0)) + 1).tolist(), depth.size]
    return [(start, end, (int(halvings[0, start]), int(halvings[1, start]))) for start, end in pairwise(starts)]


def _surface(random: np.random.Generator) -> Pixels:
    """Draw one repetition of road and pavements: row 0 is the nearest line, column 0 the leftmost."""
    shape = round(LENGTH * PIXELS_PER_METRE[1]), round((RIGHT - LEFT) * PIXELS_PER_METRE[0])
    x = LEFT + (np.arange(shape[1], dtype=np.float32) + 0.5) / PIXELS_PER_METRE[0]
    z = (np.arange(shape[0], dtype=np.float32)[:, None] + 0.5) / PIXELS_PER_METRE[1]
    surface = shaded(SLABS, _slabs(shape, x, z, random))
    on_road = (x > ROAD.left) & (x < ROAD.right)
    surface[:, on_road] = shaded(ASPHALT, _asphalt(shape, x, random))[:, on_road]
    wear = 1 + 0.25 * layered_noise(shape, 24, 3, random)
    for colour, mask in _markings(x, z):
        painted = np.broadcast_to(mask, shape) & (wear > 0.82)
        surface[painted, :3] = np.clip(wear[painted, None] * colour, 0, 255)
    return surface


def _asphalt(shape: tuple[int, int], x: Grey, random: np.random.Generator) -> Grey:
    brightness = 1 + 0.05 * layered_noise(shape, 2, 4, random) + 0.06 * random.standard_normal(shape).astype(np.float32)
    for wheels in (-2.7, -1.1, 1.0, 2.6):
        brightness += 0.05 * np.exp(-(((x - wheels) / 0.3) ** 2))
    brightness *= np.interp(x, (ROAD.left, ROAD.right), (0.94, 1.1)).astype(np.float32)
    _repair(brightness, random)
    _crack(brightness, random)
    gutter = np.minimum(x - ROAD.left, ROAD.right - x)
    return brightness * np.clip(0.75 + gutter / 1.2, 0.75, 1.0)


def _repair(brightness: Grey, random: np.random.Generator) -> None:
    """Lay darker and lighter rectangles where somebody has dug, and manhole covers."""
    rows, columns = brightness.shape
    for _ in range(5):
        height, width = int(random.integers(40, 160)), int(random.integers(40, 120))
        top, left = int(random.integers(0, rows - height)), int(random.integers(150, columns - 250))
        brightness[top : top + height, left : left + width] *= random.uniform(0.86, 1.08)
    for _ in range(3):
        top, left = int(random.integers(0, rows - 30)), int(random.integers(200, columns - 300))
        brightness[top : top + 16, left : left + 34] *= 0.72


def _crack(brightness: Grey, random: np.random.Generator) -> None:
    """Draw crooked thin lines, mostly along the road."""
    for _ in range(7):
        steps = np.cumsum(random.normal((0, 12), (7, 6), (40, 2)), axis=0)
        start = random.uniform((150, 0), (brightness.shape[1] - 150, brightness.shape[0] / 2))
        line = (start + steps).astype(np.int32)
        cv2.polylines(brightness, [line], False, float(random.uniform(0.72, 0.85)), 1)


def _slabs(shape: tuple[int, int], x: Grey, z: Grey, random: np.random.Generator) -> Grey:
    """Return the brightness of paving slabs 0.6 m wide and 0.9 m long, with the kerb stones that edge them."""
    row, column = (z / 0.9).astype(int), ((x - LEFT) / 0.6).astype(int)
    each = random.uniform(0.88, 1.12, (row.max() + 1, column.max() + 1)).astype(np.float32)
    brightness = each[row, column] + 0.05 * random.standard_normal(shape).astype(np.float32)
    brightness += 0.1 * noise(shape, (10, 5), random)
    brightness = np.where((z % 0.9 < 0.05) | ((x - LEFT) % 0.6 < 0.03), brightness * 0.78, brightness)
    kerb = (x > ROAD.left - 0.16) & (x <= ROAD.left) | (x < ROAD.right + 0.16) & (x >= ROAD.right)
    stones = np.float32(KERB[0] / SLABS[0]) * np.where(z % 0.9 < 0.05, 0.75, 1.0).astype(np.float32)
    return np.where(kerb, stones + 0.04 * random.standard_normal(shape).astype(np.float32), brightness)


def _markings(x: Grey, z: Grey) -> list[tuple[Colour, NDArray[np.bool_]]]:
    """Return the road markings as (colour, where): a broken centre line, parking bays, double yellow lines."""
    centre = (np.abs(x - CENTRE_LINE) < 0.06) & (z % 6 < 3.2)
    bays = (np.abs(x - BAY_LINE) < 0.05) & (z % 2 < 1.0)
    yellow = (np.abs(x - (ROAD.left + 0.28)) < 0.04) | (np.abs(x - (ROAD.left + 0.46)) < 0.04)
    return [(WHITE_MARK, centre), (WHITE_MARK, bays), (YELLOW_MARK, yellow)]

"""Fronts, gables and roofs of buildings, and fences: what stands along the pavements."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from lowlat_seg_ros.street.texture import Colour, Pixels, Texture, dimmed, fill, layered_noise, noise, shaded

PIXELS_PER_METRE: Final = 32
GROUND_FLOOR: Final = 3.3  # metres
STOREY: Final = 2.9

BRICKS: Final[tuple[Colour, ...]] = ((150, 128, 96), (128, 84, 66), (140, 116, 90), (112, 84, 70), (164, 146, 112))
PLASTERS: Final[tuple[Colour, ...]] = ((190, 188, 180), (172, 164, 146), (200, 198, 194), (150, 140, 124))
SHOP_SIGNS: Final[tuple[Colour, ...]] = ((36, 40, 96), (30, 62, 52), (104, 28, 34), (34, 34, 38), (150, 142, 124))
GLASS: Final[Colour] = (44, 50, 56)
FRAME: Final[Colour] = (196, 194, 188)
SLATE: Final[Colour] = (84, 80, 82)


def wall(width: float, height: float, colour: Colour, light: float, random: np.random.Generator) -> Pixels:
    """Draw a bare wall: courses of brick at the edge of what can be seen, stains, darker towards the ground."""
    shape = round(height * PIXELS_PER_METRE), round(width * PIXELS_PER_METRE)
    brightness = (
        1 + 0.12 * layered_noise(shape, 2, 3, random) + 0.07 * noise(shape, (shape[0] // 2, shape[1] // 6), random)
    )
    brightness *= np.linspace(1.05, 0.85, shape[0], dtype=np.float32)[:, None]
    return shaded(colour, light * brightness)


def terrace(width: float, storeys: int, light: float, random: np.random.Generator) -> Texture:
    """Draw a brick or plastered house: a door, sash windows in rows."""
    pixels = wall(width, _height(storeys), _any(BRICKS + PLASTERS, random), light, random)
    bays = max(2, round(width / 2.6))
    door = int(random.integers(bays))
    for storey in range(storeys):
        for bay in range(bays):
            centre = (bay + 0.5) * width / bays
            if storey == 0 and bay == door:
                _door(pixels, centre, light, random)
            else:
                _sash_window(pixels, centre, _floor(storey) + 0.9, 1.05, 1.55, light, random)
    return _finished(pixels, width, storeys, light)


def shop(width: float, storeys: int, light: float, random: np.random.Generator) -> Texture:
    """Draw a shop: dark glass and a lettered board on the ground floor, a house above."""
    pixels = wall(width, _height(storeys), _any(BRICKS + PLASTERS, random), light, random)
    bays = max(2, round(width / 2.4))
    for storey in range(1, storeys):
        for bay in range(bays):
            _sash_window(pixels, (bay + 0.5) * width / bays, _floor(storey) + 0.8, 1.0, 1.5, light, random)
    _shop_window(pixels, width, light, random)
    return _finished(pixels, width, storeys, light)


def office(width: float, storeys: int, light: float, random: np.random.Generator) -> Texture:
    """Draw an office building: bands of glass between bands of concrete."""
    pixels = wall(width, _height(storeys), _any(PLASTERS, random), light, random)
    for storey in range(storeys):
        panes = max(3, round(width / 1.5))
        for pane in range(panes):
            left = (pane + 0.06) * width / panes
            _glass(pixels, left, _floor(storey) + 0.9, 0.88 * width / panes, 1.6, light, random)
    return _finished(pixels, width, storeys, light)


def gable(depth: float, eaves: float, rise: float, light: float, random: np.random.Generator) -> Texture:
    """Draw the end wall of a house, `depth` wide, with the triangle under its roof; what is beside that is open."""
    height = eaves + rise
    pixels = wall(depth, height, _any(BRICKS, random), light, random)
    columns = pixels.shape[1]
    slope = round(rise * PIXELS_PER_METRE)
    for corner in (0, columns - 1):
        outside = np.array([[corner, 0], [columns // 2, 0], [corner, slope]], np.int32)
        cv2.fillConvexPoly(pixels, outside, (*dimmed(SLATE, light), 0))
    return Texture(pixels, (depth, height))


def roof(width: float, slope: float, light: float, random: np.random.Generator) -> Texture:
    """Draw one side of a slated roof, `slope` metres from ridge to eaves."""
    shape = round(slope * PIXELS_PER_METRE), round(width * PIXELS_PER_METRE)
    brightness = (
        1 + 0.15 * noise(shape, (shape[0] // 6, shape[1] // 8), random) + 0.1 * layered_noise(shape, 2, 2, random)
    )
    brightness[::8] *= 0.8
    return Texture(shaded(SLATE, light * brightness), (width, slope))


def fence(width: float, height: float, light: float, random: np.random.Generator) -> Texture:
    """Draw iron railings in front of shrubs: upright bars, two rails, a stone foot."""
    shape = round(height * PIXELS_PER_METRE), round(width * PIXELS_PER_METRE)
    behind = 0.9 + 0.4 * layered_noise(shape, max(2, int(width)), 3, random)
    pixels = shaded((96, 96, 84), light * behind)
    for left in range(1, shape[1], 6):
        fill(pixels, left, 0, left + 2, shape[0], dimmed((26, 27, 30), light * random.uniform(0.8, 1.3)))
    for row in (3, shape[0] - 16):
        fill(pixels, 0, row, shape[1], row + 3, dimmed((28, 28, 31), light))
    fill(pixels, 0, shape[0] - 9, shape[1], shape[0], dimmed((96, 92, 84), light))
    return Texture(pixels, (width, height))


def boards(width: float, height: float, light: float, random: np.random.Generator) -> Texture:
    """Draw a wooden fence: upright boards of unequal brightness between posts."""
    shape = round(height * PIXELS_PER_METRE), round(width * PIXELS_PER_METRE)
    each_board = np.repeat(random.uniform(0.75, 1.1, shape[1] // 5 + 1), 5)[: shape[1]].astype(np.float32)
    pixels = shaded((104, 88, 70), light * (each_board + 0.08 * layered_noise(shape, 4, 3, random)))
    for left in range(0, shape[1], 5):
        fill(pixels, left, 0, left + 1, shape[0], dimmed((46, 38, 30), light))
    for left in range(0, shape[1], 64):
        fill(pixels, left, 0, left + 4, shape[0], dimmed((70, 58, 46), light))
    return Texture(pixels, (width, height))


def _height(storeys: int) -> float:
    return GROUND_FLOOR + STOREY * (storeys - 1)


def _floor(storey: int) -> float:
    """Return the height of a storey's floor in metres."""
    return 0.0 if storey == 0 else GROUND_FLOOR + STOREY * (storey - 1)


def _any(colours: tuple[Colour, ...], random: np.random.Generator) -> Colour:
    return colours[int(random.integers(len(colours)))]


def _finished(pixels: Pixels, width: float, storeys: int, light: float) -> Texture:
    """Add the gutter under the roof and a drainpipe at the side."""
    fill(pixels, 0, 0, pixels.shape[1], 6, dimmed((120, 116, 110), light))
    fill(pixels, 0, 6, pixels.shape[1], 9, dimmed((40, 38, 38), light))
    fill(pixels, 4, 8, 8, pixels.shape[0], dimmed((56, 54, 54), light))
    return Texture(pixels, (width, _height(storeys)))


def _metres(pixels: Pixels, left: float, bottom: float, width: float, height: float, colour: Colour) -> None:
    """Paint a rectangle given in metres, its bottom measured from the ground."""
    ground = pixels.shape[0]
    scale = PIXELS_PER_METRE
    fill(
        pixels,
        left * scale,
        ground - (bottom + height) * scale,
        (left + width) * scale,
        ground - bottom * scale,
        colour,
    )


def _glass(
    pixels: Pixels, left: float, bottom: float, width: float, height: float, light: float, random: np.random.Generator
) -> None:
    """Paint a pane: dark, its upper part reflecting the sky by chance, sometimes a blind or a lamp behind it."""
    dark = dimmed(GLASS, light * random.uniform(0.6, 1.3))
    _metres(pixels, left, bottom, width, height, dark)
    if random.random() < 0.4:
        _metres(pixels, left, bottom + 0.55 * height, width, 0.45 * height, dimmed(dark, random.uniform(1.3, 2.4)))
    if random.random() < 0.15:
        _metres(pixels, left, bottom + 0.3 * height, width, 0.7 * height, dimmed((150, 142, 120), light))


def _sash_window(
    pixels: Pixels, centre: float, bottom: float, width: float, height: float, light: float, random: np.random.Generator
) -> None:
    frame, left = dimmed(FRAME, light), centre - width / 2
    _metres(pixels, left - 0.12, bottom + height, width + 0.24, 0.22, dimmed((176, 168, 148), light))
    _metres(pixels, left - 0.08, bottom - 0.14, width + 0.16, 0.14, dimmed((170, 164, 150), light))
    _metres(pixels, left - 0.04, bottom, width + 0.08, height, frame)
    for pane_bottom in (bottom + 0.06, bottom + height / 2 + 0.03):
        for pane_left in (left + 0.04, left + width / 2 + 0.02):
            _glass(pixels, pane_left, pane_bottom, width / 2 - 0.06, height / 2 - 0.09, light, random)


def _door(pixels: Pixels, centre: float, light: float, random: np.random.Generator) -> None:
    _metres(pixels, centre - 0.62, 0.0, 1.24, 2.55, dimmed(FRAME, light))
    _metres(pixels, centre - 0.48, 0.0, 0.96, 2.05, dimmed(_any(SHOP_SIGNS, random), light))
    _glass(pixels, centre - 0.48, 2.12, 0.96, 0.32, light, random)


def _shop_window(pixels: Pixels, width: float, light: float, random: np.random.Generator) -> None:
    board = _any(SHOP_SIGNS, random)
    _metres(pixels, 0.0, 0.0, width, GROUND_FLOOR, dimmed(board, 0.8 * light))
    panes = max(2, round(width / 2.2))
    for pane in range(panes):
        left, pane_width = 0.25 + pane * (width - 0.5) / panes, (width - 0.5) / panes - 0.15
        _metres(pixels, left, 0.45, pane_width, 2.0, dimmed(GLASS, light * random.uniform(0.5, 0.9)))
        for _ in range(7):  # what is on show, and lamps
            goods = dimmed((170, 150, 120), light * random.uniform(0.2, 1.0))
            wide, high = random.uniform(0.1, 0.4, 2)
            x = left + random.uniform(0, max(0.05, pane_width - wide))
            _metres(pixels, x, 0.5 + random.uniform(0, 1.4), min(wide, pane_width), high, goods)
    _metres(pixels, 0.0, 2.55, width, 0.65, dimmed(board, 1.15 * light))
    letters = dimmed((210, 202, 176), light)
    x = width * 0.25
    while x < width * 0.75:
        letter = float(random.uniform(0.12, 0.24))
        if random.random() < 0.85:
            _metres(pixels, x, 2.72, letter, 0.3, letters)
            _metres(pixels, x + 0.05, 2.78, max(0.0, letter - 0.1), 0.12, dimmed(board, 1.15 * light))
        x += letter + 0.06

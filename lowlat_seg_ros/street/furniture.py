"""Lamp posts, traffic signs, traffic lights, bollards and the signs that hang from shops."""

from __future__ import annotations

from typing import Final

from lowlat_seg_ros.data.classes import POLE, SIGN_SYMBOL
from lowlat_seg_ros.street.cutout import Cutout
from lowlat_seg_ros.street.texture import Colour, dimmed

STEEL: Final[Colour] = (92, 95, 98)
CAST_IRON: Final[Colour] = (36, 38, 40)
LAMP_GLASS: Final[Colour] = (150, 152, 150)
RED: Final[Colour] = (150, 28, 30)
BLUE: Final[Colour] = (34, 58, 132)
GREEN: Final[Colour] = (26, 84, 60)
WHITE: Final[Colour] = (190, 192, 190)


def lamp_post(side: int) -> Cutout:
    """Return a street lamp whose arm reaches over the road: side 1 stands right of the road, -1 left."""
    lamp = _post(0.14, 7.6, STEEL)
    lamp.rectangle(-0.11, 0, 0.11, 1.3, dimmed(STEEL, 0.9))
    end = -1.3 * side
    lamp.outline([(0.06, 7.5), (-0.06, 7.6), (end, 7.95), (end, 7.86)], STEEL)
    lamp.outline([(end - 0.3, 7.86), (end - 0.22, 8.0), (end + 0.22, 8.0), (end + 0.3, 7.86)], LAMP_GLASS)
    return lamp


def speed_limit() -> Cutout:
    """Return a red ring with two digits on a post."""
    sign = _post(0.08, 2.3, STEEL)
    sign.class_id = SIGN_SYMBOL
    sign.oval((0.0, 2.55), (0.33, 0.33), RED)
    sign.oval((0.0, 2.55), (0.25, 0.25), WHITE)
    for left in (-0.15, 0.04):
        sign.rectangle(left, 2.43, left + 0.11, 2.67, CAST_IRON)
    return sign


def warning_sign() -> Cutout:
    """Return a red triangle on a post."""
    sign = _post(0.08, 2.2, STEEL)
    sign.class_id = SIGN_SYMBOL
    sign.outline([(-0.4, 2.2), (0.0, 2.9), (0.4, 2.2)], RED)
    sign.outline([(-0.25, 2.29), (0.0, 2.72), (0.25, 2.29)], WHITE)
    sign.rectangle(-0.03, 2.34, 0.03, 2.55, CAST_IRON)
    return sign


def direction_sign(board: Colour) -> Cutout:
    """Return a lettered board on two posts."""
    sign = Cutout(POLE)
    for left in (-0.34, 0.26):
        sign.rectangle(left, 0, left + 0.08, 2.2, STEEL)
    sign.class_id = SIGN_SYMBOL
    sign.rectangle(-0.46, 2.1, 0.46, 3.0, WHITE)
    sign.rectangle(-0.43, 2.13, 0.43, 2.97, board)
    for low, right in ((2.7, 0.3), (2.48, 0.18), (2.26, 0.26)):
        sign.rectangle(-0.34, low, right, low + 0.12, WHITE)
    return sign


def traffic_light() -> Cutout:
    """Return a traffic light that shows green."""
    light = _post(0.12, 2.4, CAST_IRON)
    light.class_id = SIGN_SYMBOL
    light.rectangle(-0.24, 2.2, 0.24, 3.3, (70, 70, 68))
    light.rectangle(-0.19, 2.25, 0.19, 3.25, (16, 17, 18))
    for height, colour in ((3.07, (60, 18, 16)), (2.75, (64, 46, 14)), (2.43, (60, 220, 150))):
        light.oval((0.0, height), (0.11, 0.11), colour)
    return light


def bollard() -> Cutout:
    """Return a cast-iron bollard with a pale ring."""
    post = _post(0.16, 1.0, CAST_IRON)
    post.rectangle(-0.1, 0.8, 0.1, 0.86, (120, 120, 118))
    return post


def hanging_sign(board: Colour) -> Cutout:
    """Return a shop's sign under its bracket; the figure's foot is below the middle of the board."""
    sign = Cutout(POLE)
    sign.rectangle(-0.36, 3.62, 0.34, 3.68, CAST_IRON)
    sign.class_id = SIGN_SYMBOL
    sign.rectangle(-0.31, 2.8, 0.31, 3.6, WHITE)
    sign.rectangle(-0.26, 2.85, 0.26, 3.55, board)
    sign.rectangle(-0.14, 3.0, 0.14, 3.4, WHITE)
    return sign


def _post(width: float, height: float, colour: Colour) -> Cutout:
    """Return a round post, a part of it in the light."""
    post = Cutout(POLE)
    post.rectangle(-width / 2, 0, width / 2, height, dimmed(colour, 0.75))
    post.rectangle(width / 8, 0, width / 2, height, dimmed(colour, 1.15))
    return post

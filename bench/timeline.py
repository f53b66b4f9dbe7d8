"""A picture of both tracks over some frames, from a recorded run: what stands in docs/latency.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import cv2
import numpy as np

from lowlat_seg_ros.data.drawing import FONT, INK, KEY_FRAME_COLOUR, PAPER, Colour, Picture, legend

WIDTH: Final = 1600
LEFT: Final = 130  # where the lanes begin, beside their names
RIGHT: Final = 20
LANE_HEIGHT: Final = 46
FAST_TOP: Final = 40
SLOW_TOP: Final = 120
AXIS_TOP: Final = 190
HEIGHT: Final = 225
TEXT_SCALE: Final = 0.45

SH_COLOUR: Final[Colour] = (200, 70, 70)
STAGES: Final[Mapping[str, tuple[str, Colour]]] = {
    "low": ("resize, Sl", (86, 140, 214)),
    "schedule": ("deviation, decision", (236, 178, 80)),
    "high": ("Sh", SH_COLOUR),  # within the frame's own call only where it waited
    "propagate": ("propagation", (110, 180, 120)),
    "labels": ("labels", (170, 130, 200)),
}
DUE_COLOUR: Final[Colour] = (150, 150, 150)


def draw_timeline(record: Mapping[str, Any]) -> Picture:
    """Both tracks of a record of `bench.tracks.timeline_record`, time to the right: (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the record holds no frame.
    """
    frames, runs = record["frames"], record["sh_runs"]
    if not frames:
        raise ValueError("the recorded run holds no frame; expected one or more")
    scale = TimeScale(max([frames[-1]["ended"], *(run[1] for run in runs)]))
    picture = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)
    _write(picture, "fast track", 10, FAST_TOP + LANE_HEIGHT // 2)
    _write(picture, "slow track", 10, SLOW_TOP + LANE_HEIGHT // 2)
    for frame in frames:
        _draw_frame(picture, frame, scale)
    for began, ended in runs:
        _bar(picture, scale, (max(0.0, began), ended), SLOW_TOP, SH_COLOUR)
    _draw_axis(picture, scale)
    names = [name for name, _ in STAGES.values()]
    colours = [colour for _, colour in STAGES.values()]
    strip = legend([*names, "key frame", "due"], [*colours, KEY_FRAME_COLOUR, DUE_COLOUR], WIDTH)
    return np.vstack([picture, strip])


class TimeScale:
    """Milliseconds to columns of the picture."""

    def __init__(self, milliseconds: float) -> None:
        """``milliseconds`` from the left end to the right."""
        self.milliseconds = milliseconds
        self._pixels = (WIDTH - LEFT - RIGHT) / milliseconds

    def column(self, milliseconds: float) -> int:
        return LEFT + round(milliseconds * self._pixels)

    def ticks(self) -> Sequence[int]:
        """About ten whole milliseconds, at steps of 1, 2 or 5 times a power of ten."""
        power = 10 ** math.floor(math.log10(max(self.milliseconds / 10, 1)))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * 10 >= self.milliseconds)
        return range(0, int(self.milliseconds) + 1, int(step))


def _draw_frame(picture: Picture, frame: Mapping[str, Any], scale: TimeScale) -> None:
    due = scale.column(frame["due"])
    cv2.line(picture, (due, FAST_TOP - 12), (due, FAST_TOP - 2), DUE_COLOUR, 2)
    at = frame["began"]
    for stage, (_, colour) in STAGES.items():
        milliseconds = frame["stages"].get(stage, 0.0)
        if milliseconds > 0:
            _bar(picture, scale, (at, at + milliseconds), FAST_TOP, colour)
        at += milliseconds
    if frame["is_key_frame"]:
        corners = (
            (scale.column(frame["began"]) - 2, FAST_TOP - 3),
            (scale.column(frame["ended"]) + 2, _bottom(FAST_TOP) + 3),
        )
        cv2.rectangle(picture, *corners, KEY_FRAME_COLOUR, 2)


def _bar(picture: Picture, scale: TimeScale, span: tuple[float, float], top: int, colour: Colour) -> None:
    left, right = scale.column(span[0]), scale.column(span[1])
    cv2.rectangle(picture, (left, top), (max(left, right - 1), _bottom(top)), colour, cv2.FILLED)


def _bottom(top: int) -> int:
    return top + LANE_HEIGHT


def _draw_axis(picture: Picture, scale: TimeScale) -> None:
    cv2.line(picture, (LEFT, AXIS_TOP), (WIDTH - RIGHT, AXIS_TOP), INK, 1)
    for tick in scale.ticks():
        column = scale.column(tick)
        cv2.line(picture, (column, AXIS_TOP), (column, AXIS_TOP + 5), INK, 1)
        _write(picture, str(tick), column - 8, AXIS_TOP + 20)
    _write(picture, "ms", 10, AXIS_TOP + 20)


def _write(picture: Picture, text: str, left: int, baseline: int) -> None:
    cv2.putText(picture, text, (left, baseline), FONT, TEXT_SCALE, INK, 1, cv2.LINE_AA)

"""Section 5, cost against load: 1, 2, 4 and 8 cameras in one node, and inputs of 1, 2 and 4 times the pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.chain import Chain, Play, figures_of
from bench.clip import Frame, write_clip
from bench.measuring import rounded, spread_mapping
from lowlat_seg_ros.ros.harness import NODE, Harness

CLIP: Final = "clip"
GRID: Final = 8  # pixels: the input's sides are multiples of it, so that no feature map is rounded up


@dataclass(frozen=True)
class ScaleLoad:
    """What load, and how long."""

    rounds: int = 2
    seconds_a_turn: int = 4
    rate_hz: float = 15.0
    cameras: tuple[int, ...] = (1, 2, 4)
    pixel_factors: tuple[int, ...] = (2, 4)  # beside 1, which is the first of `cameras`
    half_rate_cameras: tuple[int, ...] = (8,)  # at half the rate
    model: str = "default"
    input_size: tuple[int, int] = (480, 360)  # the model's own


def measure_scale(frames: Sequence[Frame], load: ScaleLoad, folder: Path) -> dict[str, Any]:
    """One node after the other, each alone: five idle ones beside it were seen to cost it a tenth of its images.

    Args:
        frames: of the clip.
        load: how much of what.
        folder: for the clip and the processes' logs; made if it is missing.

    Raises:
        HarnessError: a process ended or did not answer.
    """
    height, width = frames[0].shape[:2]
    clip = write_clip(list(frames), (width, height), folder / "clip")
    rounds = max(1, round(load.seconds_a_turn * load.rate_hz / len(frames)))
    plays = {one: _play(one, load, clip, rounds, folder) for one in scale_loads(load)}
    return {
        "rate_hz": load.rate_hz,
        "rounds": load.rounds,
        "seconds_a_turn": load.seconds_a_turn,
        "rows": [_row(one, plays[one]) for one in plays],
    }


def _play(one: Load, load: ScaleLoad, clip: Path, rounds: int, folder: Path) -> list[Play]:
    """What became of the images in each turn; ``rounds`` of the clip are one."""
    width, height = one.input_size
    parameters = [f"model:={load.model}", f"input_size:=[{width}, {height}]"]
    with Harness("bench", folder) as harness:
        chain = Chain(harness, one.name, NODE, parameters, one.cameras)
        chain.add_players({CLIP: (clip, rounds)}, one.rate_hz)
        harness.wait_until_connected()
        return [chain.play(CLIP) for _ in range(load.rounds)]


@dataclass(frozen=True)
class Load:
    """What one node has to do."""

    cameras: int
    pixel_factor: int
    input_size: tuple[int, int]
    rate_hz: float  # of each camera

    @property
    def name(self) -> str:
        return f"cameras_{self.cameras}_pixels_{self.pixel_factor}"


def scale_loads(load: ScaleLoad) -> list[Load]:
    """First more cameras, then larger inputs."""
    by_cameras = [Load(cameras, 1, load.input_size, load.rate_hz) for cameras in load.cameras]
    by_cameras += [Load(cameras, 1, load.input_size, load.rate_hz / 2) for cameras in load.half_rate_cameras]
    sizes = {factor: enlarged(load.input_size, factor) for factor in load.pixel_factors}
    return by_cameras + [Load(1, factor, size, load.rate_hz) for factor, size in sizes.items()]


def enlarged(size: tuple[int, int], factor: int) -> tuple[int, int]:
    """A size with ``factor`` times the pixels, nearly, and the sides multiples of GRID."""
    width, height = (max(GRID, round(side * math.sqrt(factor) / GRID) * GRID) for side in size)
    return width, height


def _row(load: Load, plays: Sequence[Play]) -> dict[str, Any]:
    turns = [play.answered for play in plays]
    ways = [way for play in plays for way in play.ways]
    seconds = len(ways) / load.rate_hz / load.cameras
    answers = sum(way.labels_at is not None for way in ways)
    return {
        "cameras": load.cameras,
        "input_size": list(load.input_size),
        "offered_hz": rounded(len(ways) / seconds),
        "labelled_hz": rounded(answers / seconds),
        **figures_of(plays),
        "sh_ms": spread_mapping([float(way.message.slow_track_ms) for way in turn if way.message] for turn in turns),
        "cpu_share": rounded(sum(play.cpu_share for play in plays) / len(plays)),
        "resident_mebibytes": round(max(play.resident_mebibytes for play in plays)),
    }

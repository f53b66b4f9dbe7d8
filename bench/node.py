"""Section 3, end to end over DDS: from the time an image was due to its labels in another process.

Three chains take turns: the floor (a memory copy for a network), the node with an input so small that it keeps up with
30 Hz on two cores, whose overhead is compared with the floor, and the node as it ships.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.chain import FLOOR, Chain, FrameWay, Play, figures_of
from bench.clip import Frame, write_clip
from bench.measuring import in_turn, rounded, spread_mapping
from lowlat_seg_ros.ros.harness import NODE, Harness

RATE_HZ: Final = 30.0
SIZES: Final = ((1280, 720), (2048, 1024))
CLIP_FRAMES: Final = 30  # a second; a camera holds them in memory

LONG_PLAY: Final = "long"

WAY_STAGES: Final = ("age", "decode", "low", "schedule", "propagate", "labels", "publish")
"""A frame's way in order, as the key frame message's fields are called; the rest is transport to the listener."""


@dataclass(frozen=True)
class NodeLoad:
    """How long the node is measured."""

    rounds: int = 2
    seconds_a_turn: int = 4
    seconds_without_loss: int = 60
    sizes: tuple[tuple[int, int], ...] = SIZES
    model: str = "default"
    small_input: tuple[int, int] = (240, 180)


def measure_node(frames: Sequence[Frame], load: NodeLoad, folder: Path) -> dict[str, Any]:
    """Play to the chains in turn, then a longer time to the one that keeps up.

    Args:
        frames: of the clip; CLIP_FRAMES of them or fewer, enlarged to each size.
        load: how long.
        folder: for the clips and the processes' logs; made if it is missing.

    Raises:
        HarnessError: a process ended or did not answer.
    """
    seconds = len(frames) / RATE_HZ
    rounds = round(load.seconds_a_turn / seconds)
    clips = {_name(size): (write_clip(list(frames), size, folder / _name(size)), rounds) for size in load.sizes}
    model = f"model:={load.model}"
    width, height = load.small_input
    with Harness("bench", folder) as harness:
        small = Chain(harness, "small_input", NODE, [model, f"input_size:=[{width}, {height}]"])
        chains = (Chain(harness, "floor", FLOOR), small, Chain(harness, "as_shipped", NODE, [model]))
        smallest = clips[_name(load.sizes[0])][0]
        long_clip = {LONG_PLAY: (smallest, round(load.seconds_without_loss / seconds))}
        for chain in chains:
            chain.add_players(clips | long_clip if chain is small else clips, RATE_HZ)
        harness.wait_until_connected()
        rows = []
        for size in load.sizes:
            plays = in_turn({chain.name: partial(chain.play, _name(size)) for chain in chains}, load.rounds)
            rows += [_row(name, size, turns) for name, turns in plays.items()]
        long_play = small.play(LONG_PLAY)
    return {
        "rate_hz": RATE_HZ,
        "rounds": load.rounds,
        "seconds_a_turn": load.seconds_a_turn,
        "small_input": list(load.small_input),
        "rows": rows,
        "without_loss": {"seconds": load.seconds_without_loss, **_row(small.name, load.sizes[0], [long_play])},
    }


def _name(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def quarters_ratio(milliseconds: Sequence[float]) -> float | None:
    """The median of the last quarter over that of the first: 1 where nothing piles up. None for under 8 frames."""
    quarter = len(milliseconds) // 4
    if quarter < 2:
        return None
    return float(np.median(milliseconds[-quarter:]) / np.median(milliseconds[:quarter]))


def _row(chain: str, size: tuple[int, int], plays: Sequence[Play]) -> dict[str, Any]:
    turns = [play.answered for play in plays]
    ways = [way for play in plays for way in play.ways]
    drifts = [quarters_ratio([way.end_to_end_ms for way in turn]) for turn in turns]
    measured = [drift for drift in drifts if drift is not None]
    return {
        "chain": chain,
        "size": list(size),
        "sent": len(ways),
        **figures_of(plays),
        "camera_put_off_ms": rounded(sum(play.put_off_ms for play in plays)),
        "to_callback_ms": spread_mapping([float(way.message.age_ms) for way in turn if way.message] for turn in turns),
        "overhead_ms": spread_mapping([way.overhead_ms for way in turn] for turn in turns),
        "last_quarter_over_first": rounded(max(measured)) if measured else None,
        "stages_ms": _stages([way for turn in turns for way in turn]),
    }


def _stages(ways: Sequence[FrameWay]) -> dict[str, Any]:
    """The medians of a frame's stages in order, and of the way back to the listener."""
    if not ways:
        return {}
    stages = {name: _median([getattr(way.message, f"{name}_ms") for way in ways]) for name in WAY_STAGES}
    back = [way.end_to_end_ms - way.message.age_ms - way.message.total_ms for way in ways if way.message]
    return rounded({**stages, "back": _median(back)})


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))

"""Section 3, end to end over DDS: from the time an image was due to its labels in another process.

Three chains take turns: the floor (a memory copy for a network), the node with an input so small that it keeps up with
30 Hz on two cores, whose overhead is compared with the floor, and the node as it ships.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.chain import FLOOR, NODE, Chain, ChainOptions, FrameWay, Play, Stage, stage
from bench.clip import Frame, write_clip
from bench.spread import rounded, spread_mapping
from bench.turns import in_turn
from lowlat_seg_ros.stream.result import has_key

RATE_HZ: Final = 30.0
SIZES: Final = ((1280, 720), (2048, 1024))
CLIP_FRAMES: Final = 30  # a second; a camera holds them in memory

FLOOR_CHAIN: Final = "floor"
SMALL_CHAIN: Final = "small_input"
SHIPPED_CHAIN: Final = "as_shipped"
LONG_PLAY: Final = "long"

WAY_STAGES: Final = ("age", "decode", "low", "schedule", "propagate", "labels", "publish")
"""A frame's way in order, as the key frame message's fields are called; the rest is transport to the listener."""


@dataclass(frozen=True)
class NodePlan:
    """How long the node is measured."""

    rounds: int = 2
    seconds_a_turn: int = 4
    seconds_without_loss: int = 60
    sizes: tuple[tuple[int, int], ...] = SIZES
    model: str = "default"
    small_input: tuple[int, int] = (240, 180)


def measure_node(frames: Sequence[Frame], plan: NodePlan, folder: Path) -> dict[str, Any]:
    """Play to the chains in turn, then a longer time to the one that keeps up.

    Args:
        frames: of the clip; CLIP_FRAMES of them or fewer, enlarged to each size.
        plan: how long.
        folder: for the clips and the processes' logs; made if it is missing.

    Raises:
        DemoError: a process ended or did not answer.
    """
    clips = {size: write_clip(list(frames), size, folder / _name(size)) for size in plan.sizes}
    seconds = len(frames) / RATE_HZ
    with stage(folder) as made:
        for options in _chains(plan):
            chain = made.add(options)
            for size, clip in clips.items():
                chain.add_camera(_name(size), clip, RATE_HZ, round(plan.seconds_a_turn / seconds))
        smallest = plan.sizes[0]
        rounds = round(plan.seconds_without_loss / seconds)
        made.chains[SMALL_CHAIN].add_camera(LONG_PLAY, clips[smallest], RATE_HZ, rounds)
        made.wait_until_connected()
        rows = []
        for size in plan.sizes:
            cases = {name: _play(made, chain, _name(size)) for name, chain in made.chains.items()}
            rows += [_row(name, size, plays) for name, plays in in_turn(cases, plan.rounds).items()]
        long_play = made.play(made.chains[SMALL_CHAIN], LONG_PLAY)
    return {
        "rate_hz": RATE_HZ,
        "rounds": plan.rounds,
        "seconds_a_turn": plan.seconds_a_turn,
        "small_input": list(plan.small_input),
        "rows": rows,
        "without_loss": {"seconds": plan.seconds_without_loss, **_row(SMALL_CHAIN, smallest, [long_play])},
    }


def _chains(plan: NodePlan) -> list[ChainOptions]:
    model = f"model:={plan.model}"
    width, height = plan.small_input
    return [
        ChainOptions(FLOOR_CHAIN, FLOOR),
        ChainOptions(SMALL_CHAIN, NODE, parameters=(model, f"input_size:=[{width}, {height}]")),
        ChainOptions(SHIPPED_CHAIN, NODE, parameters=(model,)),
    ]


def _play(made: Stage, chain: Chain, camera: str) -> Callable[[int], Play]:
    return lambda number: made.play(chain, camera)


def _name(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def answered(ways: Sequence[FrameWay]) -> list[FrameWay]:
    """Those with labels, without the first ones, which have no key frame yet: their network is another one."""
    labelled = [way for way in ways if way.labels_at is not None and way.message is not None]
    followed = [way for way in labelled if way.message is not None and has_key(way.message)]
    return followed or labelled  # the floor has no key frames at all


def quarters_ratio(milliseconds: Sequence[float]) -> float | None:
    """The median of the last quarter over that of the first: 1 where nothing piles up. None for under 8 frames."""
    quarter = len(milliseconds) // 4
    if quarter < 2:
        return None
    return float(np.median(milliseconds[-quarter:]) / np.median(milliseconds[:quarter]))


def _row(chain: str, size: tuple[int, int], plays: Sequence[Play]) -> dict[str, Any]:
    turns = [answered(play.all_ways) for play in plays]
    ways = [way for play in plays for way in play.all_ways]
    drifts = [quarters_ratio([way.end_to_end_ms for way in turn]) for turn in turns]
    measured = [drift for drift in drifts if drift is not None]
    return {
        "chain": chain,
        "size": list(size),
        "sent": len(ways),
        "lost": sum(way.labels_at is None for way in ways),
        "counted_as_lost": sum(play.counted_as_lost for play in plays),
        "camera_put_off_ms": rounded(sum(play.put_off_ms for play in plays)),
        "to_callback_ms": spread_mapping([float(way.message.age_ms) for way in turn if way.message] for turn in turns),
        "callback_ms": spread_mapping([float(way.message.total_ms) for way in turn if way.message] for turn in turns),
        "end_to_end_ms": spread_mapping([way.end_to_end_ms for way in turn] for turn in turns),
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

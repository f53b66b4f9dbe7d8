"""What key frames cost: the latency of frames by kind, and the slow track's delay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lowlat_seg_ros.replay.page_formats import count
from lowlat_seg_ros.replay.page_summary import QUANTILES, System

KINDS: Final = {
    "key_frames": ("Key frames", "They start the full computation, and are not to stand out."),
    "other_frames": ("Other frames", "Neither key frames nor first ones."),
    "first_frames": (
        "First frames",
        "After a start or a reset, until the slow track has done its first key frame.",
    ),
}
DELAY: Final = ("Slow track's delay", "From handing it a key frame until the accurate feature is there.")


@dataclass(frozen=True)
class SpreadRow:
    name: str
    hint: str
    count: str
    quantiles: tuple[str, ...]  # milliseconds, in the order of QUANTILES


def spread_rows(system: System) -> Iterator[SpreadRow]:
    """The kinds of frames that there were, and the slow track."""
    for kind, (name, hint) in KINDS.items():
        if system["latency_ms"][kind]["count"]:
            yield _row(name, hint, system["latency_ms"][kind])
    if system["slow_track"]["delay_ms"]["count"]:
        yield _row(*DELAY, system["slow_track"]["delay_ms"])


def systems_with_key_frames(camera: Mapping[str, Any]) -> list[System]:
    return [system for system in camera["systems"] if system["slow_track"]]


def _row(name: str, hint: str, spread: Mapping[str, Any]) -> SpreadRow:
    quantiles = tuple(f"{spread[quantile]:.1f}" for quantile in QUANTILES)
    return SpreadRow(name, hint, count(spread["count"]), quantiles)

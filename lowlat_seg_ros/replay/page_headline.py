"""The figures that decide, in large type: the two tracks beside the full network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lowlat_seg_ros.replay.page_formats import count, milliseconds, percent
from lowlat_seg_ros.replay.page_summary import System, figure


@dataclass(frozen=True)
class Card:
    name: str
    figure: str
    beside: str  # what to hold it against


def headline(camera: Mapping[str, Any]) -> list[Card]:
    two_tracks, *others = camera["systems"]
    full_network = next((system for system in others if system["name"] == "full network"), None)

    def card(name: str, path: str, text: Callable[[Any], str], scale: str = "") -> Card:
        beside = [scale] if scale else []
        if full_network and (value := figure(full_network, path)) is not None:
            beside.append(f"full network: {text(value)}")
        return Card(name, text(figure(two_tracks, path)), " · ".join(beside))

    period = f"period: {milliseconds(camera['period_ms'])}"
    return [
        card("Deadline misses", "counts.deadline_misses", count, f"of {count(camera['frames'])} frames"),
        card("Slowest frame", "latency_ms.all_frames.max", milliseconds, period),
        _accuracy_card(two_tracks, card),
        card("Key frames", "counts.key_frame_ratio", percent, "of the frames start the full computation"),
    ]


def _accuracy_card(two_tracks: System, card: Callable[..., Card]) -> Card:
    if two_tracks["scores"]:
        return card("Streaming mIoU", "scores.streaming_mean_iou", percent)
    return card("Agreement", "agreement.mean", percent, "of the pixels as by the full network")

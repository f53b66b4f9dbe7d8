"""The page of a fleet: every bag in one table, each with a link to its own page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from lowlat_seg_ros.replay.figures import FIGURES, FigureKind
from lowlat_seg_ros.replay.page_document import write_document
from lowlat_seg_ros.replay.page_formats import count, milliseconds, percent
from lowlat_seg_ros.replay.page_headline import Card

Bag = Mapping[str, Any]  # as fleet.json has it
COLUMNS: Final = {
    "deadline_misses": "Deadline misses",
    "latency_p99_ms": "Latency, p99",
    "latency_max_ms": "Latency, maximum",
    "key_frames": "Key frames",
    "streaming_mean_iou": "Streaming mIoU",
    "mean_iou": "mIoU",
    "agreement": "Agreement",
}


@dataclass(frozen=True)
class FleetCell:
    text: str
    beside: str  # the full network's figure
    value: float | None  # to sort by


@dataclass(frozen=True)
class FleetRow:
    """One camera of a bag, or a bag that failed."""

    bag: str
    page: str  # relative address of the bag's page; "" if it has none
    error: str = ""
    camera: str = ""
    frames: int = 0
    problems: tuple[str, ...] = ()
    cells: tuple[FleetCell, ...] = ()


def write_fleet_page(folder: Path, command: str = "") -> None:
    """Write ``index.html`` from the ``fleet.json`` in a folder; the bags' own pages lie in folders below it.

    Args:
        folder: of the fleet.
        command: what makes the fleet's reports again, shown to the reader; "" shows nothing.
    """
    bags = json.loads((folder / "fleet.json").read_text(encoding="utf-8"))["bags"]
    kinds = _kinds_with_figures(bags)
    write_document(
        folder / "index.html",
        "fleet.html",
        ("sort.js",),
        {},
        bag_count=len(bags),
        titles=[COLUMNS[kind.name] for kind in kinds],
        rows=list(fleet_rows(bags, kinds)),
        cards=list(_cards(bags)),
        command=command,
    )


def fleet_rows(bags: Sequence[Bag], kinds: Sequence[FigureKind]) -> Iterator[FleetRow]:
    """A row for each camera of each bag, the first system's figures beside the full network's."""
    for bag in bags:
        if bag["error"] is not None:
            yield FleetRow(bag["name"], "", error=bag["error"])
            continue
        address = quote(str(Path(bag["report"]).with_name("index.html")))
        for camera in bag["cameras"] or [None]:
            yield _row(bag, f"./{address}", camera, kinds)


def _row(bag: Bag, page: str, camera: Mapping[str, Any] | None, kinds: Sequence[FigureKind]) -> FleetRow:
    problems = tuple(bag["problems"])
    if camera is None:
        return FleetRow(bag["name"], page, problems=problems, error="no camera could be evaluated")
    two_tracks, *others = camera["systems"]
    full_network: Mapping[str, Any] = next(
        (system["figures"] for system in others if system["name"] == "full network"), {}
    )
    cells = tuple(_cell(kind, two_tracks["figures"], full_network) for kind in kinds)
    return FleetRow(bag["name"], page, "", camera["topic"], camera["frames"], problems, cells)


def _cell(kind: FigureKind, two_tracks: Mapping[str, Any], full_network: Mapping[str, Any]) -> FleetCell:
    text = milliseconds if kind.unit == "ms" else percent
    value, beside = two_tracks[kind.name], full_network.get(kind.name)
    return FleetCell(text(value), "" if beside is None else text(beside), value)


def _kinds_with_figures(bags: Sequence[Bag]) -> list[FigureKind]:
    known = {name for figures in _main_figures(bags) for name, value in figures.items() if value is not None}
    by_name = {kind.name: kind for kind in FIGURES}
    return [by_name[name] for name in COLUMNS if name in known]


def _main_figures(bags: Sequence[Bag]) -> list[Mapping[str, Any]]:
    return [camera["systems"][0]["figures"] for bag in bags for camera in bag["cameras"]]


def _cards(bags: Sequence[Bag]) -> Iterator[Card]:
    failed = sum(bag["error"] is not None for bag in bags)
    frames = sum(camera["frames"] for bag in bags for camera in bag["cameras"])
    yield Card("Bags", count(len(bags)), f"{count(failed)} failed" if failed else "all evaluated")
    yield Card("Frames", count(frames), "of all cameras")
    yield from _worst_card(bags, "Slowest frame", "latency_max_ms", max, milliseconds)
    yield from _worst_card(bags, "Lowest streaming mIoU", "streaming_mean_iou", min, percent)
    yield from _worst_card(bags, "Lowest agreement", "agreement", min, percent)


def _worst_card(
    bags: Sequence[Bag], name: str, figure: str, worst_of: Callable[..., Any], text: Callable[[float], str]
) -> Iterator[Card]:
    places = [
        (camera["systems"][0]["figures"][figure], f"{bag['name']} {camera['topic']}")
        for bag in bags
        for camera in bag["cameras"]
    ]
    known = [(value, place) for value, place in places if value is not None]
    if known:
        value, place = worst_of(known)
        yield Card(name, text(value), place)

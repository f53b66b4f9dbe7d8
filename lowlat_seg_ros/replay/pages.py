"""The pages of a replay and of a fleet: each one file that needs no network.

Templates, styles and scripts lie beside this module. A fleet's page is a table of its bags with links to their own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.replay import page_tables as formats
from lowlat_seg_ros.replay.disagreements import disagreement_views, labelled_picture, labelled_video
from lowlat_seg_ros.replay.page_tables import (
    Card,
    class_shares,
    confusion_rows,
    count,
    headline,
    milliseconds,
    percent,
    spread_rows,
    summary_groups,
    systems_with_key_frames,
    systems_with_scores,
)
from lowlat_seg_ros.replay.report import FIGURES, FigureKind
from lowlat_seg_ros.replay.timeline import MOST_FRAMES, timeline_data
from lowlat_seg_ros.replay.verdict import verdict

SCRIPTS: Final = ("plot.js", "timeline.js", "gestures.js")
VIEWS: Final = (
    class_shares,
    confusion_rows,
    headline,
    spread_rows,
    summary_groups,
    systems_with_key_frames,
    systems_with_scores,
    timeline_data,
    verdict,
)
PROFILE_ROWS: Final = {
    "fast_ms": "An ordinary frame in the fast track",
    "key_frame_ms": "A key frame in the fast track",
    "slow_ms": "The slow track",
    "full_ms": "The full network on one frame",
    "single_ms": "The fast single-frame network",
}
COLUMNS: Final = {
    "deadline_misses": "Deadline misses",
    "latency_p99_ms": "Latency, p99",
    "latency_max_ms": "Latency, maximum",
    "key_frames": "Key frames",
    "streaming_mean_iou": "Streaming mIoU",
    "mean_iou": "mIoU",
    "agreement": "Agreement",
}


def write_document(
    path: Path, template: str, scripts: tuple[str, ...], filters: Mapping[str, Callable[..., Any]], **values: Any
) -> None:
    """Render a template to ``path``, which holds the whole page or, if this fails, what it held before.

    Jinja escapes every value, so that a topic's name cannot become markup; should something slip through, the page's
    Content-Security-Policy lets only the style sheet and the script run that were put here, and nothing be fetched.
    """
    environment = _environment(filters)
    style = _source(environment, "style.css")
    script = "\n".join(_source(environment, name) for name in scripts)
    text = environment.get_template(template).render(
        values, style=style, script=script, policy=content_security_policy(style, script)
    )
    atomic_write(path, text.encode())


def content_security_policy(style: str, script: str) -> str:
    """Forbids the page everything but its own style sheet, its own script, and the pictures and videos in it."""
    return (
        "default-src 'none'; img-src data:; media-src data:; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode('ascii')}"


def _environment(filters: Mapping[str, Callable[..., Any]]) -> Environment:
    environment = Environment(
        loader=PackageLoader("lowlat_seg_ros.replay"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    for format_figure in (formats.count, formats.milliseconds, formats.percent, formats.seconds):
        environment.filters[format_figure.__name__] = format_figure
    environment.filters.update(filters)
    return environment


def _source(environment: Environment, name: str) -> str:
    """A template's text as it stands."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


@dataclass(frozen=True)
class Problem:
    sentence: str
    camera: str = ""  # its topic; "" for the whole bag


def write_page(folder: Path, command: str = "") -> None:
    """Write ``index.html`` from the ``report.json`` in a folder and the pictures that it names.

    Args:
        folder: of the report; the page is one file that can be taken away from it.
        command: what makes the report again, shown to the reader; "" shows nothing.
    """
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    videos = {camera["topic"]: labelled_video(folder, camera) for camera in report["cameras"]}
    write_document(
        folder / "index.html",
        "report.html",
        SCRIPTS,
        {view.__name__: view for view in (*VIEWS, setting_rows)},
        report=report,
        problems=[*problems_of(report), *(Problem(why, topic) for topic, (_, why) in videos.items() if why)],
        disagreements=disagreement_views(folder, report["cameras"]),
        labelled={camera["topic"]: labelled_picture(folder, camera) for camera in report["cameras"]},
        videos={topic: address for topic, (address, _) in videos.items()},
        frames_per_camera=MOST_FRAMES // max(1, len(report["cameras"])),
        command=command,
    )


def problems_of(report: Mapping[str, Any]) -> Iterator[Problem]:
    for sentence in report["bag"]["problems"]:
        yield Problem(sentence)
    for camera in report["cameras"]:
        for sentence in camera["problems"]:
            yield Problem(sentence, camera["topic"])


def setting_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the replay ran with: name and value."""
    model, settings, profile = report["model"], report["settings"], report["profile"]
    yield "Model", f"{model['name']}, weights {model['weights_sha256'][:12]}"
    policy = dict(settings["policy"])
    yield (
        "Key-frame policy",
        ", ".join([_words(policy.pop("name")), *(f"{_words(key)} {policy[key]}" for key in policy)]),
    )
    yield "Key frames wait for the slow track", "no" if settings["low_latency"] else "yes"
    if (live := settings.get("live")) is not None:
        times = "once" if live["rounds"] == 1 else f"{live['rounds']} times in a row"
        yield "Played into the node", f"{times}, {live['rate']:g} seconds of the drive a second"
    yield "Cameras asked for", ", ".join(settings["cameras"]) or "all"
    for name, meaning in PROFILE_ROWS.items():
        yield f"Profile: {meaning[0].lower()}{meaning[1:]}", milliseconds(profile[name])


def _words(name: str) -> str:
    return name.replace("_", " ")


Bag = Mapping[str, Any]  # as fleet.json has it


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
        address = quote(os.fsencode(Path(bag["report"]).with_name("index.html")))
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

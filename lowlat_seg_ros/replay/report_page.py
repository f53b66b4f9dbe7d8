"""The page of one bag's report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lowlat_seg_ros.replay.page_confusion import class_shares, confusion_rows, systems_with_scores
from lowlat_seg_ros.replay.page_document import write_document
from lowlat_seg_ros.replay.page_formats import milliseconds
from lowlat_seg_ros.replay.page_headline import headline
from lowlat_seg_ros.replay.page_key_frames import spread_rows, systems_with_key_frames
from lowlat_seg_ros.replay.page_pictures import disagreement_views
from lowlat_seg_ros.replay.page_summary import summary_groups
from lowlat_seg_ros.replay.page_timeline import MOST_FRAMES, timeline_data

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
)
PROFILE_ROWS: Final = {
    "fast_ms": "An ordinary frame in the fast track",
    "key_frame_ms": "A key frame in the fast track",
    "slow_ms": "The slow track",
    "full_ms": "The full network on one frame",
    "single_ms": "The fast single-frame network",
}


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
    write_document(
        folder / "index.html",
        "report.html",
        SCRIPTS,
        {view.__name__: view for view in (*VIEWS, setting_rows)},
        report=report,
        problems=list(problems_of(report)),
        disagreements=disagreement_views(folder, report["cameras"]),
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

"""``fleet.json``: many drives in one table, each with its report beside it, the failed ones with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lowlat_seg_ros.replay.figures import figures_of
from lowlat_seg_ros.replay.report import VERSION

FLEET_FORMAT: Final = "lowlat_seg_ros replay fleet"


def fleet_mapping(bags: list[dict[str, Any]]) -> dict[str, Any]:
    """A fleet of bags as ``done_bag`` and ``failed_bag`` make them."""
    return {"format": FLEET_FORMAT, "version": VERSION, "bags": bags}


def done_bag(folder: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """A bag with a report, as ``report.json`` holds it; ``folder`` is the report's, beside fleet.json."""
    return {
        "name": folder,
        "report": f"{folder}/report.json",
        "error": None,
        "problems": [
            *report["bag"]["problems"],
            *(line for camera in report["cameras"] for line in camera["problems"]),
        ],
        "cameras": [
            {
                "topic": camera["topic"],
                "frames": camera["frames"],
                "duration_s": camera["duration_s"],
                "systems": [{"name": system["name"], "figures": figures_of(system)} for system in camera["systems"]],
            }
            for camera in report["cameras"]
        ],
    }


def failed_bag(folder: str, reason: str) -> dict[str, Any]:
    """A bag without a report, and why."""
    return {"name": folder, "report": None, "error": reason, "problems": [], "cameras": []}

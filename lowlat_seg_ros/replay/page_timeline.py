"""What the page's script draws as the timeline: the report's columns, rounded to what a screen can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

MOST_FRAMES: Final = 60_000  # of all cameras together: over an hour at 15 Hz, and about 3 MB of the page


def timeline_data(camera: Mapping[str, Any], most_frames: int = MOST_FRAMES) -> dict[str, Any]:
    """Seconds, milliseconds and per cent by column, one value a frame; null where a frame has no such figure.

    Of a longer drive only the first ``most_frames`` frames are shown; ``hidden_frames`` says how many are not.
    """
    columns = [_first_frames(system["timeline"], most_frames) for system in camera["systems"]]
    time = [round(value, 3) for value in columns[0]["time_s"]]
    frame_s = (camera["period_ms"] or 1000.0) / 1000
    reasons = sorted({reason for timeline in columns for reason in timeline.get("key_reason", [])})
    return {
        "time": time,
        "duration": max(time, default=0.0) + frame_s,
        "frame": frame_s,
        "period": camera["period_ms"],
        "hidden_frames": camera["frames"] - len(time),
        "reasons": reasons,
        "systems": [
            {"name": system["name"], **_system_columns(timeline, reasons)}
            for system, timeline in zip(camera["systems"], columns, strict=True)
        ],
    }


def _first_frames(timeline: Mapping[str, list[Any]], most_frames: int) -> dict[str, list[Any]]:
    return {name: column[:most_frames] for name, column in timeline.items()}


def _system_columns(timeline: Mapping[str, list[Any]], reasons: Sequence[str]) -> dict[str, Any]:
    difference = [None if agreement is None else 1 - agreement for agreement in timeline["agreement"]]
    columns = {"latency": _rounded(timeline["latency_ms"]), "difference": _percent(difference)}
    if "is_key_frame" not in timeline:
        return columns
    return columns | {
        "key": [int(value) for value in timeline["is_key_frame"]],
        "reason": [reasons.index(reason) for reason in timeline["key_reason"]],
        "age": timeline["key_age_frames"],
        "deviation": _percent(timeline["deviation"]),
        "threshold": _percent(timeline["threshold"]),
        "busy": [int(value) for value in timeline["slow_track_busy"]],
    }


def _percent(fractions: Sequence[float | None]) -> list[float | None] | None:
    """None for a quantity that no frame has."""
    if all(fraction is None for fraction in fractions):
        return None
    return _rounded([None if fraction is None else 100 * fraction for fraction in fractions])


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else round(value, 1) for value in values]

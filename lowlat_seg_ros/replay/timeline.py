"""What happened to each frame, kept a column a quantity: small, and as the page draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from lowlat_seg_ros.replay.report import known

Status = Literal["labelled", "late", "dropped"]

DECIMALS: Final = 6  # of the figures written: microseconds of the times, a millionth of the fractions
MOST_FRAMES: Final = 60_000  # of all cameras together: over an hour at 15 Hz, and about 3 MB of the page


@dataclass(frozen=True)
class FrameRecord:
    """One frame of a camera as one system treated it. Of a dropped frame only the first three fields are known."""

    time_s: float  # since the camera's first frame
    status: Status
    is_first: bool = False  # had no key frame yet: after a start or a reset, labelled by Sl alone
    latency_ms: float = float("nan")  # from arrival to labels
    agreement: float = float("nan")  # fraction of pixels labelled as by the full network
    is_key_frame: bool = False
    key_reason: str = ""
    deviation: float = float("nan")
    threshold: float = float("nan")
    key_age_frames: int | None = None  # camera frames between the key frame that the labels came from and this one
    key_is_accurate: bool = False
    slow_track_busy: bool = False  # a key frame of this camera is in Sh when this frame's labels are done


COLUMNS: Final = tuple(field.name for field in fields(FrameRecord))
SCHEDULING_COLUMNS: Final = COLUMNS[COLUMNS.index("is_key_frame") :]
"""Of systems with key frames."""


@dataclass
class Timeline:
    """The records of a drive, in the camera's order."""

    has_key_frames: bool
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in COLUMNS})

    def add(self, record: FrameRecord) -> None:
        for name, column in self.columns.items():
            column.append(getattr(record, name))

    def mark_late(self, period_ms: float | None) -> None:
        """Call every frame late whose labels took longer than the camera's period, which is known at the end only."""
        latencies = self.columns["latency_ms"]
        statuses = self.columns["status"]
        statuses[:] = [
            "late" if period_ms is not None and status == "labelled" and latency > period_ms else status
            for status, latency in zip(statuses, latencies, strict=True)
        ]

    def to_mapping(self) -> dict[str, list[Any]]:
        """The columns that this system has, numbers rounded to DECIMALS, nan as None."""
        return {
            name: [_plain(value) for value in column]
            for name, column in self.columns.items()
            if self.has_key_frames or name not in SCHEDULING_COLUMNS
        }


def _plain(value: Any) -> Any:
    return known(round(value, DECIMALS)) if isinstance(value, float) else value


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

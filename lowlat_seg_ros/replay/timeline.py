"""What happened to each frame, kept a column a quantity: small, and as the page draws it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from lowlat_seg_ros.replay.report import known

Status = Literal["labelled", "late", "dropped"]

DECIMALS: Final = 6  # of the figures written: microseconds of the times, a millionth of the fractions


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

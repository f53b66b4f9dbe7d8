"""Which data a training run is told to use: the section `data` of its YAML file, or the same on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from lowlat_seg_ros.data.documents import read_yaml
from lowlat_seg_ros.data.known_labels import KNOWN_LABELS
from lowlat_seg_ros.data.label_classes import LARGEST_ID
from lowlat_seg_ros.data.parts import EXPECTED, last_share
from lowlat_seg_ros.errors import turning_all_into
from lowlat_seg_ros.training.plan import PlanError


@dataclass(frozen=True)
class DataPlan:
    """A data set of a known layout (`root`), or frames with labels; and what goes with either."""

    root: Path | None = None  # CamVid's folder or Cityscapes'
    frames: Path | None = None  # a folder of pictures, a video, or a folder of such drives
    labels: Path | None = None  # class ids as PNG, under the same names
    void: int | None = None  # the id in `labels` that stands for no class, beside 255
    classes: str | None = (
        None  # what the ids in `labels` are: a known data set's name, or a YAML; by default the model's
    )
    consecutive: bool = False  # `frames` holds a camera's frames in order, not single pictures
    videos: tuple[Path, ...] = ()  # without labels: the base network labels them for the stage `schedule`
    hold_out: str | None = None  # "every 10", "last fifth" or "drive NAME": scored after each epoch, never trained on

    def __post_init__(self) -> None:
        if self.frames and not self.labels:
            raise PlanError(f"frames is {self.frames}, but labels is missing; expected the folder of their labels")
        if self.labels and not self.frames:
            raise PlanError(f"labels is {self.labels}, but frames is missing; expected what these labels belong to")
        if self.classes and not self.labels:
            raise PlanError(
                f"classes is {self.classes}, but labels is missing; expected the folder of what it explains"
            )
        if self.void is not None and not self.labels:
            raise PlanError(f"void is {self.void}, but labels is missing; expected the folder in which it is an id")
        if self.consecutive and not self.frames:
            raise PlanError("consecutive is of a camera's frames, but frames is missing; expected their folder")
        if self.void is not None and not 0 <= self.void <= LARGEST_ID:
            raise PlanError(f"void is {self.void}; expected an id from 0 to {LARGEST_ID}")
        if self.hold_out is not None:
            parse_hold_out(self.hold_out)

    def must_name_data(self) -> None:
        """Raises PlanError unless there is exactly one data set to train on."""
        if bool(self.root) == bool(self.frames):
            raise PlanError(
                "expected either the folder of CamVid or Cityscapes (--data), or frames and their labels "
                f"(--frames, --labels), but {'both are' if self.root else 'neither is'} given"
            )


def parse_hold_out(text: str) -> tuple[str, str]:
    """("every", "10"), ("last", "0.2") or ("drive", its name)."""
    share = last_share(text)
    if share is not None:
        return "last", str(share)
    match = re.fullmatch(r"(every) ([1-9]\d*)|(drive) (\S.*)", text)
    if match is None or match[2] == "1":
        raise PlanError(f"hold_out is {text!r}; expected 'every N', N at least 2, {EXPECTED}, or 'drive NAME'")
    return (match[1], match[2]) if match[1] else (match[3], match[4])


def load_data_plan(path: Path, **changes: Any) -> DataPlan:
    """The section `data`, where the file has one; paths in it start at the file's folder.

    Changes that are neither None nor empty replace its entries. A data set named by the changes replaces the file's.

    Raises:
        PlanError: the section has an unknown entry or one of the wrong kind.
    """
    with turning_all_into(PlanError, f"{path} cannot be read as a recipe"):
        section = (read_yaml(path) or {}).get("data") or {}
    given = {name: value for name, value in changes.items() if value is not None and value is not False and value != ()}
    plan = _plan_of(path, section)
    if {"root", "frames"} & set(given):
        plan = replace(plan, root=None, frames=None, labels=None, void=None, classes=None, consecutive=False)
    return replace(plan, **given)


def _plan_of(path: Path, section: Any) -> DataPlan:
    known = {field.name for field in fields(DataPlan)}
    if not isinstance(section, Mapping) or not set(section) <= known:
        odd = ", ".join(sorted(map(str, set(section) - known))) if isinstance(section, Mapping) else repr(section)
        raise PlanError(f"{path}, section 'data': unknown entries: {odd}; expected some of {', '.join(sorted(known))}")
    entries = dict(section)
    for name in ("root", "frames", "labels"):
        if name in entries:
            entries[name] = _beside(path, name, entries[name])
    if "videos" in entries:
        if not isinstance(entries["videos"], list):
            raise PlanError(f"{path}, section 'data': videos is {entries['videos']!r}; expected a list of files")
        entries["videos"] = tuple(_beside(path, "videos", video) for video in entries["videos"])
    for name, kind, expected in (
        ("void", int, "a number"), ("consecutive", bool, "true or false"), ("hold_out", str, "words"),
        ("classes", str, "words"),
    ):  # fmt: skip
        # YAML's true and false are ints to Python.
        if name in entries and (type(entries[name]) is not kind):
            raise PlanError(f"{path}, section 'data': {name} is {entries[name]!r}; expected {expected}")
    if "classes" in entries and entries["classes"] not in KNOWN_LABELS:
        entries["classes"] = str(_beside(path, "classes", entries["classes"]))
    try:
        return DataPlan(**entries)
    except PlanError as error:
        raise PlanError(f"{path}, section 'data': {error}") from error


def _beside(path: Path, name: str, value: Any) -> Path:
    if not isinstance(value, str):
        raise PlanError(f"{path}, section 'data': {name} is {value!r}; expected a path")
    return path.parent / value

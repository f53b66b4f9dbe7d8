"""What a training run is told: read from a YAML file with one section a stage."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from lowlat_seg_ros.errors import Error


class PlanError(Error):
    """A training plan that cannot be followed; the message names the entry and what was expected."""


@dataclass(frozen=True)
class StagePlan:
    """One stage's recipe."""

    epochs: int
    batch_size: int
    learning_rate: float  # at its highest; falls to nothing as (1 - progress) ** 0.9
    backbone_learning_rate: float  # of the weights that come from ImageNet; 0 where the base is frozen
    weight_decay: float
    crop: tuple[int, int]  # (width, height) of a training picture, in pixels
    scales: tuple[float, float]  # smallest and largest enlargement before the crop
    seed: int
    workers: int  # processes that prepare samples

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise PlanError(f"{name} is {getattr(self, name)}; expected at least 1")
        if len(self.crop) != 2 or min(self.crop) < 32:
            raise PlanError(f"crop is {self.crop}; expected a width and height of at least 32 pixels")
        if len(self.scales) != 2 or not 0 < self.scales[0] <= self.scales[1]:
            raise PlanError(f"scales is {self.scales}; expected a smallest and a largest enlargement above 0")


def load_plan(path: Path, stage: str, **changes: Any) -> StagePlan:
    """Read a stage's section; ``changes`` that are not None replace its entries.

    Raises:
        PlanError: the file cannot be read, or the section lacks an entry or has one too many.
    """
    try:
        sections = yaml.safe_load(path.read_text(encoding="utf-8"))
        section = dict(sections[stage])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise PlanError(f"{path} has no readable section {stage!r}: {' '.join(str(error).split())}") from error
    expected = {field.name for field in fields(StagePlan)}
    if set(section) != expected:
        odd = ", ".join(sorted(set(section) ^ expected))
        raise PlanError(f"{path}, section {stage!r}: missing or unknown entries: {odd}")
    section.update(crop=tuple(section["crop"]), scales=tuple(section["scales"]))
    return replace(StagePlan(**section), **{name: value for name, value in changes.items() if value is not None})

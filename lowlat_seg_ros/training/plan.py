"""What a training run is told: read from a YAML file with one section a stage."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from lowlat_seg_ros.data.documents import is_number, read_yaml
from lowlat_seg_ros.errors import Error, shown, turning_all_into

LIMITS: Final = {
    "epochs": (1, 10**6),
    "batch_size": (1, 4096),
    "learning_rate": (0, 100),
    "backbone_learning_rate": (0, 100),
    "weight_decay": (0, 1),
    "seed": (0, 2**63 - 1),
    "workers": (0, 256),
}


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
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            is_whole = name not in ("learning_rate", "backbone_learning_rate", "weight_decay")
            if not is_number(value) or (is_whole and not isinstance(value, int)) or not least <= value <= most:
                kind = "a whole number" if is_whole else "a number, with a decimal point,"
                raise PlanError(f"{name} is {shown(value)}; expected {kind} from {least} to {most}")
        is_size = len(self.crop) == 2 and all(isinstance(side, int) and 32 <= side <= 8192 for side in self.crop)
        if not is_size:
            raise PlanError(f"crop is {shown(self.crop)}; expected a width and height of 32 to 8192 pixels")
        if len(self.scales) != 2 or not all(map(is_number, self.scales)) or not 0 < self.scales[0] <= self.scales[1]:
            raise PlanError(f"scales is {shown(self.scales)}; expected a smallest and a largest enlargement above 0")


def load_plan(path: Path, stage: str, **changes: Any) -> StagePlan:
    """Read a stage's section; ``changes`` that are not None replace its entries.

    Raises:
        PlanError: the file cannot be read, or the section lacks an entry or has one too many.
    """
    with turning_all_into(PlanError, f"{path} has no readable section {stage!r}"):
        section = dict(read_yaml(path)[stage])
    expected = {field.name for field in fields(StagePlan)}
    if set(section) != expected:
        odd = ", ".join(sorted(map(str, set(section) ^ expected))[:5])
        raise PlanError(f"{path}, section {stage!r}: missing or unknown entries: {odd}")
    with turning_all_into(PlanError, f"{path}, section {stage!r}: crop and scales are two numbers each"):
        section.update(crop=tuple(section["crop"]), scales=tuple(section["scales"]))
    return replace(StagePlan(**section), **{name: value for name, value in changes.items() if value is not None})

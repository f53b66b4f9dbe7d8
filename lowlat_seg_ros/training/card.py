"""What is known of a checkpoint when its training ends, for the model card; whoever ships it adds its scores."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch

from lowlat_seg_ros.models.checkpoint import CARD_FILE
from lowlat_seg_ros.training.plan import StagePlan
from lowlat_seg_ros.training.processes import Processes


class StageRecord(NamedTuple):
    """How one stage was trained."""

    stage: str
    data: str
    start: str
    command: str
    plan: StagePlan
    seconds: float  # of all its epochs, before and after interruptions


def card_with(record: StageRecord, name: str, before: Path | None, processes: Processes) -> str:
    """The card of the checkpoint folder that the stage started from, and a section on the stage.

    ``name`` is the model's; ``before`` is None for the first stage.
    """
    plan = ", ".join(f"{entry} {value}" for entry, value in asdict(record.plan).items())
    beginning = f"# {name}\n" if before is None else (before / CARD_FILE).read_text(encoding="utf-8")
    return (
        f"{beginning}\n## Stage {record.stage}\n\n"
        f"- data: {record.data}\n"
        f"- starts from: {record.start}\n"
        f"- command: `{record.command}`\n"
        f"- recipe: {plan}\n"
        f"- {record.seconds / 3600:.2f} hours on {in_words(processes)}, PyTorch {torch.__version__}\n"
    )


def in_words(processes: Processes) -> str:
    """The hardware that the processes train on."""
    if processes.device.type == "cuda":
        return f"{processes.count} x {torch.cuda.get_device_name(processes.device)}"
    cores = f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}"
    return cores if processes.count == 1 else f"{processes.count} processes with {cores} each"

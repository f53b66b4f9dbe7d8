"""Rows of the paper's tables from an earlier run, for weights that are not at hand: ``recorded_tables.json``.

They are of one model on one clip, and are shown of no other. ``scripts/record_tables.py`` writes the file.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip

RECORDED_FILE: Final = Path(__file__).parent / "recorded_tables.json"
TRAIN: Final = "lowlat-seg train tables --data ../shared/camvid --from default --out runs/tables"
DIGITS: Final = 12


@cache
def recorded_tables() -> dict[str, Any]:
    """``commit``, ``machine``, ``measured_on`` as below, and ``rows``: of each table, by its number, those by name."""
    recorded: dict[str, Any] = json.loads(RECORDED_FILE.read_text(encoding="utf-8"))
    return recorded


def recorded_row(clip: EvaluatedClip, number: int, name: str) -> dict[str, Any] | None:
    """The figures of a table's row; None where they are of another model or another clip."""
    recorded = recorded_tables()
    figures: dict[str, Any] = recorded["rows"][str(number)][name]
    return figures if recorded["measured_on"] == measured_on(clip) else None


def measured_on(clip: EvaluatedClip) -> str:
    """A name for these frames with this truth, seen by these weights at this size; every machine gives the same."""
    digest, config = hashlib.sha256(), clip.network.config
    digest.update(repr((config.input_size, config.carrying, config.classes)).encode())
    for name, tensor in sorted(clip.network.classifier.state_dict().items()):  # trained with all the others
        digest.update(name.encode() + tensor.contiguous().cpu().numpy().tobytes())
    for frame in clip.frames:
        digest.update(repr(frame.image.shape).encode() + frame.image.tobytes() + frame.truth.tobytes())
    return digest.hexdigest()[:DIGITS]


def note_on_recorded() -> str:
    """What recorded rows are, and the command that trains what they need."""
    commit, machine = (recorded_tables()[name] for name in ("commit", "machine"))
    return (
        f"Recorded rows are not measured now, the model having no weights for them: at commit {commit} on {machine}. "
        f"`{TRAIN}` trains them; `--model runs/tables/tables/checkpoint` then has all rows."
    )


def note_on_missing() -> str:
    """Why a row without weights is not even a recorded one."""
    return (
        "Rows that are not at hand need weights that this model does not have; what is recorded of them is of another "
        "model or another clip. `lowlat-seg train tables --data DATA --from MODEL --out FOLDER` trains them; "
        "`--model FOLDER/tables/checkpoint` then has all rows."
    )

#!/usr/bin/env python3
"""Writes lowlat_seg_ros/evaluation/recorded_tables.json: what the paper's tables print where their weights are missing.

    scripts/with_ros python scripts/record_tables.py TABLE_1.json TABLE_2.json

of `lowlat-seg evaluate … --model runs/tables/tables/checkpoint --table N --json TABLE_N.json`, run on a quiet machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from lowlat_seg_ros.evaluation.recorded_tables import RECORDED_FILE, recorded_tables
from lowlat_seg_ros.runtime.machine import cpu_model, usable_cores

FIELDS = {"1": ("mean_iou", "mean_ms", "max_ms", "key_frame_ratio"), "2": ("mean_iou",)}
DIGITS = {"mean_ms": 1, "max_ms": 1}  # behind the point, as printed; of all others four


def main(files: list[str]) -> None:
    evaluations = [json.loads(Path(file).read_text(encoding="utf-8")) for file in files]
    for file, evaluation in zip(files, evaluations, strict=True):
        if evaluation["latency"] is not None and evaluation["latency"]["load"] > usable_cores():
            load = evaluation["latency"]["load"]
            sys.exit(f"record_tables: {file} took its times at a load of {load:.1f}; expected a quiet machine")
    tables = [evaluation["table"] for evaluation in evaluations]
    measured = {str(table["number"]): {row["name"]: row for row in table["rows"]} for table in tables}
    rows = {
        number: {
            name: {field: rounded(field, measured[number][name][field]) for field in FIELDS[number]} for name in names
        }
        for number, names in recorded_tables()["rows"].items()
    }
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    (measured_on,) = {table["measured_on"] for table in tables}  # both are of one model and one clip
    recorded = {
        "commit": commit.stdout.strip(),
        "machine": f"{cpu_model()}, {usable_cores()} cores",
        "measured_on": measured_on,
        "rows": rows,
    }
    RECORDED_FILE.write_text(json.dumps(recorded, indent=2) + "\n", encoding="utf-8")


def rounded(field: str, value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS.get(field, 4))


if __name__ == "__main__":
    main(sys.argv[1:])

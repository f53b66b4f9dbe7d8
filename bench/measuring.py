"""What every section measures with: turns, spreads, and what a process takes."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lowlat_seg_ros.data.atomic_write import atomic_write

DECIMALS = 3
MEBIBYTE = 1 << 20

Name = TypeVar("Name")
Result = TypeVar("Result")


def in_turn(cases: Mapping[Name, Callable[[int], Result]], rounds: int) -> dict[Name, list[Result]]:
    """Call every case once a round with the round's number; each case's results in the order of the rounds."""
    results: dict[Name, list[Result]] = {name: [] for name in cases}
    for number in range(rounds):
        for name, case in cases.items():
            results[name].append(case(number))
    return results


def spread_mapping(turns: Iterable[Sequence[float]]) -> dict[str, Any] | None:
    """Percentiles of all samples in milliseconds, and the medians of the slowest and the fastest turn.

    The turns of what is compared follow each other A B A B. Where their medians differ by more than two rows do, the
    machine was not quiet enough to tell these rows apart. None where nothing was measured.
    """
    measured = [list(turn) for turn in turns if len(turn)]
    if not measured:
        return None
    together = [sample for turn in measured for sample in turn]
    percentiles = map(float, np.percentile(together, (50, 95, 99, 100)))
    medians = [float(np.median(turn)) for turn in measured]
    return rounded(
        {
            "count": len(together),
            **dict(zip(("p50", "p95", "p99", "max"), percentiles, strict=True)),
            "lowest_turn": min(medians),
            "highest_turn": max(medians),
        }
    )


def rounded(value: Any) -> Any:
    """The same mapping, list or number with microseconds as the last digit, and None for what is no finite number."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return round(value, DECIMALS) if math.isfinite(value) else None
    return value


def resident_mebibytes(process: int | None = None) -> float:
    """Memory of a process (of this one unless given) that is in RAM now."""
    pages = int(Path(f"/proc/{process or os.getpid()}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


def cpu_seconds(process: int) -> float:
    """Processor time of all threads of a process since it was started."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def growth(samples: Sequence[float]) -> float:
    """How much more the last quarter's median is than the second's: the first is still filling the allocator."""
    quarter = len(samples) // 4
    if quarter < 1:
        raise ValueError(f"there are {len(samples)} samples of the memory; expected 4 or more")
    return float(np.median(samples[-quarter:]) - np.median(samples[quarter : 2 * quarter]))


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def write_files(folder: Path, name: str, results: Mapping[str, Any], report: str) -> None:
    """NAME.json and NAME.md, each replaced whole; the report is printed, too."""
    atomic_write(folder / f"{name}.json", (json.dumps(results, indent=1) + "\n").encode())
    atomic_write(folder / f"{name}.md", report.encode())
    print(report)
    print(f"written to {folder}: {name}.json, {name}.md")

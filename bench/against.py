"""The fast track beside another commit's, in turn: `python -m bench.against FOLDER [--rounds 3]`.

FOLDER is a checkout of that commit in which `make setup` was typed, as by

    git worktree add ../old 240b7a4 && make -C ../old setup

Each round runs the section `tracks` of either commit's own bench, on the same clip. Printed are the medians of a
frame's latency with key frames as scheduled, the lowest and the highest of the rounds, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.environment import CHECKOUT
from bench.tracks import LOW_LATENCY

BENCH = ("scripts/with_ros", "scripts/run_contained.py", "python", "-m", "bench", "--only", "tracks", "--out")


def fast_track_ms(checkout: Path) -> float:
    """The median of one run there, in milliseconds; raises CalledProcessError where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*BENCH, folder], cwd=checkout, check=True, stdout=subprocess.DEVNULL)
        (file,) = Path(folder).glob("*.json")
        rows = json.loads(file.read_text(encoding="utf-8"))["tracks"]["rows"]
    (row,) = [row for row in rows if (row["system"], row["slow_track"]) == (LOW_LATENCY, "as scheduled")]
    return float(row["latency_ms"]["p50"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 after one sentence on what was wrong."""
    parser = argparse.ArgumentParser(prog="bench.against", description="Compare the fast track with another commit's.")
    parser.add_argument("folder", type=Path, help="a checkout of the other commit, set up")
    parser.add_argument("--rounds", type=int, default=3, help="of either commit, in turn (default: 3)")
    options = parser.parse_args(arguments)
    found: dict[str, list[float]] = {"there": [], "here": []}
    try:
        for _ in range(options.rounds):
            found["there"].append(fast_track_ms(options.folder))
            found["here"].append(fast_track_ms(CHECKOUT))
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        print(f"bench.against: {error}", file=sys.stderr)
        return 1
    for where, times in found.items():
        print(f"{where}: {median(times):.1f} ms ({min(times):.1f} to {max(times):.1f})")
    print(f"here / there: {median(found['here']) / median(found['there']):.2f} (asked: 0.65 of commit 240b7a4's)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

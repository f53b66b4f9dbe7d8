"""What the figures were measured on, and where they are kept."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

from lowlat_seg_ros.models.calibration import hash_of
from lowlat_seg_ros.models.checkpoint import locate
from lowlat_seg_ros.runtime.machine import cpu_model, instruction_sets, usable_cores
from lowlat_seg_ros.runtime.threads import thread_counts

CHECKOUT = Path(__file__).parents[1]
RESULTS = CHECKOUT / "bench" / "results"
CAMVID = CHECKOUT.parent / "shared" / "camvid" / "val"
PAPER_MODEL = CHECKOUT / "config" / "models" / "paper.yaml"


def machine_name(model: str | None = None, cores: int | None = None) -> str:
    """A file name from the processor and its cores, such as `amd_epyc_2_cores`; of this machine unless given."""
    words = re.findall(r"[a-z0-9.]+", (model or cpu_model()).lower().replace("(r)", " ").replace("(tm)", " "))
    return "_".join([*words, str(cores or usable_cores()), "cores"])


def environment(model: str) -> dict[str, Any]:
    """The machine, the versions and the commit; ``model`` is the measured checkpoint."""
    threads = thread_counts(0, 0)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "commit": commit(),
        "cpu": cpu_model(),
        "instruction_sets": instruction_sets(),
        "cores": usable_cores(),
        "threads": {"fast track": threads.fast, "slow track": threads.slow, "full network": usable_cores()},
        "model": Path(model).name,
        "weights": short_hash(model),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load_average_at_start": round(os.getloadavg()[0], 2),
    }


def short_hash(model: str) -> str:
    """The first twelve digits of the SHA-256 of a checkpoint's weights."""
    return hash_of(locate(model)[1])[:12]


def commit() -> str:
    """The checkout's commit, with a mark where files differ from it; "unknown" without git."""
    try:
        name = _git("rev-parse", "--short=12", "HEAD")
        is_changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name} with changes" if is_changed else name


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(CHECKOUT), *arguments]
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout.strip()

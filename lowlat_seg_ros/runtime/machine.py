"""What this program runs on."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use, which in a container are fewer than the machine has.

    Of a quota (``docker --cpus``, a limit of Kubernetes, ``CPUQuota``) its whole cores: more threads use it up in a
    part of each tenth of a second and then stand still, the fast track's too.

    Args:
        root: of the file system, where the kernel tells.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *map(int, _quotas(root))]))


def _quotas(root: Path) -> list[float]:
    """Cores that each control group of this process grants; none where it grants all."""
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        mounted = root / "sys/fs/cgroup"
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounted = mounted / controllers if controllers else mounted
        own = Path(path.lstrip("/"))
        # A container sees its own group as the root, by whatever path it is called outside.
        for group in {mounted / own, *(mounted / parent for parent in own.parents), mounted}:
            found += _quota_of(group)
    return found


def _quota_of(group: Path) -> list[float]:
    if granted := _text(group / "cpu.max"):  # version 2
        quota, period = [*granted.split(), "100000"][:2]
    else:
        quota, period = _text(group / "cpu.cfs_quota_us").strip(), _text(group / "cpu.cfs_period_us").strip()
    is_limited = quota.isdigit() and period.isdigit() and int(period) > 0
    return [int(quota) / int(period)] if is_limited else []  # "max", -1 or nothing


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""


# As Linux names them, for x86-64 and for aarch64; one of each suffices.
INT8_PRODUCTS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp")
BF16_PRODUCTS = ("avx512_bf16", "amx_bf16", "bf16")
FP16_PRODUCTS = ("avx512_fp16", "amx_fp16", "asimdhp")
VECTORS = ("avx2", "avx512f", "asimd")


def cpu_model() -> str:
    """The processor as Linux names it; elsewhere only its kind."""
    return _of_cpu("model name") or platform.processor() or platform.machine()


@functools.cache
def cpu_features() -> frozenset[str]:
    """The processor's instruction sets as Linux names them; none where that is not known."""
    return frozenset((_of_cpu("flags") or _of_cpu("Features")).split())


def instruction_sets() -> str:
    """Those that decide how fast a network runs, for a table's caption."""
    known = (*VECTORS, *INT8_PRODUCTS, *BF16_PRODUCTS, *FP16_PRODUCTS)
    return ", ".join(name for name in known if name in cpu_features()) or "none known"


def _of_cpu(field: str) -> str:
    """The first processor's line of that name in ``/proc/cpuinfo``."""
    lines = _text(Path("/proc/cpuinfo")).splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.split("\t")[0] == field), "")

"""What this program runs on."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path


def usable_cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0))


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
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.split("\t")[0] == field), "")

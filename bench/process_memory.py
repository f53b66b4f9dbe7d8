"""What a process takes, by the kernel's word."""

from __future__ import annotations

import os
from pathlib import Path

MEBIBYTE = 1 << 20


def resident_mebibytes(process: int | None = None) -> float:
    """Memory of a process (of this one unless given) that is in RAM now."""
    pages = int(Path(f"/proc/{process or os.getpid()}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


def cpu_seconds(process: int) -> float:
    """Processor time of all threads of a process since it was started."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")

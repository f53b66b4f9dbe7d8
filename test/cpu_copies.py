"""Running the copies of the C++ kernels that a lesser CPU would run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lowlat_seg_ros.kernels.cpp import find_library

CPU_COPIES = {"any CPU": 0, "AVX2": 1, "AVX-512": 2}  # as ``Cpu`` of src/parallel_rows.hpp
NOT_BUILT = "the C++ kernels are not built: make setup"
needs_library = pytest.mark.skipif(find_library() is None, reason=NOT_BUILT)

_usual = max(CPU_COPIES.values())  # what runs where a test asks for none; a lesser one where this CPU cannot


def use_copy(name: str) -> str | None:
    """Run that copy from now on in every test that asks for none; why not, where it cannot."""
    global _usual
    library = find_library()
    if name not in CPU_COPIES:
        raise pytest.UsageError(f"KERNEL_COPY is {name!r}; expected one of {', '.join(CPU_COPIES)}")
    if library is None:
        return NOT_BUILT
    if library.use_cpu(CPU_COPIES[name]) != CPU_COPIES[name]:
        return f"this CPU has no {name}"
    _usual = CPU_COPIES[name]
    return None


@contextmanager
def running_copy(name: str) -> Iterator[None]:
    """Skips the test where this CPU cannot run that copy, or there is none."""
    library = find_library()
    if library is None:
        pytest.skip(NOT_BUILT)
    used = library.use_cpu(CPU_COPIES[name])
    try:
        if used != CPU_COPIES[name]:
            pytest.skip(f"this CPU has no {name}")
        yield
    finally:
        library.use_cpu(_usual)

"""The C++ kernels without Python and torch: on this CPU, and cross-compiled for 64-bit ARM under an emulator."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
SOURCES = [*sorted((CHECKOUT / "src").glob("*.cpp")), CHECKOUT / "test" / "check_kernels.cpp"]
# Those of setup.py, and no warning.
OPTIONS = [
    "-std=c++17",
    "-O3",
    "-ffp-contract=fast",
    "-fvisibility=hidden",
    "-Wno-psabi",
    "-Wall",
    "-Wextra",
    "-Werror",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compiler", "emulator"),
    [("g++", None), ("aarch64-linux-gnu-g++", "qemu-aarch64")],
    ids=["this CPU", "aarch64"],
)
def test_every_kernel_gives_the_numbers_of_a_plain_loop(compiler: str, emulator: str | None, tmp_path: Path) -> None:
    for tool in (compiler, emulator):
        if tool is not None and shutil.which(tool) is None:
            pytest.skip(
                f"there is no {tool}: on Debian and Ubuntu, apt-get install g++ g++-aarch64-linux-gnu qemu-user"
            )
    program = tmp_path / "check_kernels"
    built = run(compiler, *OPTIONS, "-pthread", "-static", *map(str, SOURCES), "-o", str(program))
    assert built.returncode == 0, built.stderr
    checked = run(*([emulator] if emulator else []), str(program))
    assert checked.returncode == 0 and "find_flow" in checked.stdout, checked.stdout + checked.stderr


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)

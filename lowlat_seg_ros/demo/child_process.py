"""The demo's other processes: the node and the camera."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from lowlat_seg_ros.demo import DemoError

TIED: Final = "lowlat_seg_ros.demo.tied_process"

SECONDS_TO_END: Final = 60.0
"""A busy machine takes many times the half second that it takes otherwise."""


class ChildProcess:
    """A module of this package as a process, as a context manager: it does not outlive the block, nor this process.

    What it logs (standard error) goes to a file; standard input and output are the parent's to use.
    """

    def __init__(self, module: str, arguments: list[str], log: Path) -> None:
        self._name = log.stem
        self._log = log
        with log.open("wb") as log_file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", TIED, str(os.getpid()), module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                text=True,
            )

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.end()
        finally:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()

    @property
    def input(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    def require_alive(self) -> None:
        """Raise DemoError with the last line it logged if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise self._ended(code)

    def wait_for_success(self) -> None:
        """Wait for its own end; raises DemoError unless it ends with code 0 within SECONDS_TO_END."""
        try:
            code = self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"{self._name} did not end within {SECONDS_TO_END:g} seconds") from error
        if code != 0:
            raise self._ended(code)

    def interrupt(self) -> None:
        """What Ctrl-C sends."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> None:
        """End it: first as Ctrl-C would, after SECONDS_TO_END by force."""
        if self._process.poll() is not None:
            return
        self.interrupt()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ended(self, code: int) -> DemoError:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return DemoError(f"{self._name} ended with code {code}: {lines[-1] if lines else 'it said nothing'}")

"""Ending what a thread is computing in a runtime that asks nobody between two operators."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_of_thread = threading.local()


class Stop:
    """One thread's: another one sets it, once and for all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._cancels: list[Callable[[], object]] = []

    def set(self) -> None:
        """Cancel what is running, and whatever would begin from now on."""
        with self._lock:
            self._is_set = True
            cancels = list(self._cancels)
        for cancel in cancels:
            cancel()

    @contextmanager
    def cancelling(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Meanwhile ``cancel`` is what ends the run; raises RuntimeError where it would begin too late."""
        with self._lock:
            if self._is_set:
                raise RuntimeError("it was stopped before it began")
            self._cancels.append(cancel)
        try:
            yield
        finally:
            with self._lock:
                self._cancels.remove(cancel)


@contextmanager
def stopped_by(stop: Stop) -> Iterator[None]:
    """What this thread runs meanwhile ends when ``stop`` is set."""
    _of_thread.stop = stop
    try:
        yield
    finally:
        _of_thread.stop = None


def stop_of_this_thread() -> Stop | None:
    return getattr(_of_thread, "stop", None)

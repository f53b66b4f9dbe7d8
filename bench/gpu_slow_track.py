"""Sh over and over in a thread and on a stream of its own, and whether it runs while the fast track does."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

import torch

from bench.gpu_fast_track import KeyFeatures
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.track_stream import SLOW_PRIORITY, TrackStream

Moment = Any  # a torch.cuda.Event on the current stream, or seconds where there is no stream


class Span(NamedTuple):
    """When something ran, milliseconds after a common moment."""

    began: float
    ended: float


def now(device: torch.device) -> Moment:
    """A moment on this thread's current stream, once it gets there; without CUDA, of the clock."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def milliseconds_between(first: Moment, second: Moment) -> float:
    """Both must have been reached."""
    if isinstance(first, float):
        return 1000 * (second - first)
    return float(first.elapsed_time(second))


class BusySlowTrack:
    """Within it, Sh runs without a pause; a context manager."""

    def __init__(self, network: SegmentationNetwork, key: KeyFeatures, device: torch.device) -> None:
        """``network`` and ``key`` lie on ``device``."""
        self._network = network
        self._key = key
        self._device = device
        self._is_stopping = threading.Event()
        self._has_begun = threading.Event()
        self._moments: list[tuple[Moment, Moment]] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="busy slow track", daemon=True)

    def __enter__(self) -> BusySlowTrack:
        self._thread.start()
        self._has_begun.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_stopping.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def spans(self, base: Moment) -> list[Span]:
        """Of every run of Sh, once it has ended."""
        moments = list(self._moments)
        return [Span(milliseconds_between(base, began), milliseconds_between(base, ended)) for began, ended in moments]

    def _work(self) -> None:
        stream = TrackStream(self._device, SLOW_PRIORITY)
        try:
            with torch.no_grad(), stream.in_use():
                self._network.high_features(self._key.image, self._key.low.low)  # cuDNN's choices are each thread's own
                stream.wait()
                while not self._is_stopping.is_set():
                    began = now(self._device)
                    self._has_begun.set()
                    self._network.high_features(self._key.image, self._key.low.low)
                    ended = now(self._device)
                    stream.wait()
                    self._moments.append((began, ended))
        except BaseException as error:
            self._error = error
        finally:
            self._has_begun.set()


def overlapping_share(fast: Sequence[Span], slow: Sequence[Span]) -> float:
    """What share of the fast spans' time lies within slow spans; each list is in order and without overlaps."""
    total = sum(span.ended - span.began for span in fast)
    shared = sum(max(0.0, min(one.ended, other.ended) - max(one.began, other.began)) for one in fast for other in slow)
    return shared / total if total > 0 else 0.0

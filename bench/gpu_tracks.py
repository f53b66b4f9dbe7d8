"""Both tracks on a device, and what the device's own clock says of them."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.clip import Frame
from bench.slow_work import WatchedSlowNetwork
from bench.tracks import begin_stream
from lowlat_seg_ros.fast.frames import Answer
from lowlat_seg_ros.fast.pictures import Size, frame_size
from lowlat_seg_ros.models.placing import Placer
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.choice import TORCH, Wish
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

Moment = Any  # a torch.cuda.Event on the current stream, or seconds where there is no stream


def placed_on(network: SegmentationNetwork, device: torch.device, precision: str, size: Size) -> SegmentationNetwork:
    """A CPU's network on a device, both tracks in a precision, for frames of that size.

    Raises:
        ParameterError: the device has no such precision.
    """
    moved = network if device.type == "cpu" else copy.deepcopy(network).to(device)
    wishes = Wish("fast", TORCH, precision), Wish("slow", TORCH, precision)
    return Placer(moved, device, size).placed(*wishes)[0]


@dataclass
class TimedSlowNetwork(WatchedSlowNetwork):
    """One that notes when each run began and ended by the device's own clock."""

    moments: list[tuple[Moment, Moment]] = field(default_factory=list)

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        began = now(image.device)
        found = super().answer(image, low)
        self.moments.append((began, now(image.device)))
        return found


@contextmanager
def begun_engine(
    slow: WatchedSlowNetwork, network: SegmentationNetwork, frame: Frame, device: torch.device
) -> Iterator[tuple[StreamEngine, ThreadedSlowTrack]]:
    """An engine as the node has it, on frames of their own size, whose key frame is ``frame``, and its slow track."""
    size = frame_size(frame)
    with ThreadedSlowTrack(slow, device) as slow_track:
        engine = StreamEngine(network, slow_track, FixedInterval(1), device=device, input_size=size)
        engine.warm_up(size)
        begin_stream(engine, frame)
        try:
            yield engine, slow_track
        finally:
            engine.close()


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


def spans_after(base: Moment, moments: Sequence[tuple[Moment, Moment]]) -> list[Span]:
    """Of the runs that ended after ``base``; all of them must have ended by now."""
    spans = [Span(milliseconds_between(base, began), milliseconds_between(base, ended)) for began, ended in moments]
    return [span for span in spans if span.ended > 0]


def overlapping_share(fast: Sequence[Span], slow: Sequence[Span]) -> float:
    """What share of the fast spans' time lies within slow spans; each list is in order and without overlaps."""
    total = sum(span.ended - span.began for span in fast)
    shared = sum(max(0.0, min(one.ended, other.ended) - max(one.began, other.began)) for one in fast for other in slow)
    return shared / total if total > 0 else 0.0

"""Both tracks on a GPU: the fast track run as it is, compiled or captured, and Sh over and over."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.fast.frames import LowFeatures
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.track_stream import FAST_PRIORITY, SLOW_PRIORITY, TrackStream

How = Literal["eager", "compiled", "captured"]
CALLS_BEFORE_CAPTURE: Final = 3  # cuDNN chooses its algorithms and the allocator grows in them


class FastTrackStep(nn.Module):
    """Sl, deviation, propagation, classifier, enlarging and the largest logit of one frame."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor, key: LowFeatures, key_high: Tensor) -> tuple[Tensor, Tensor]:
        """The labels (H, W) uint8 and the deviation (1,) of a frame (1, H, W, 3) uint8, from a key frame's features."""
        current = self.network.low_features(image_of(frame))
        deviation = self.network.predicted_deviation(key, current)
        logits = self.network.classify(self.network.propagate(key_high, key, current).high)
        enlarged = functional.interpolate(logits, frame.shape[1:3], mode="bilinear", align_corners=False)
        return enlarged.max(dim=1).indices[0].to(torch.uint8), deviation


def image_of(frame: Tensor) -> Tensor:
    """(1, H, W, 3) uint8 RGB as the network takes it."""
    return frame.permute(0, 3, 1, 2)


class KeyFeatures(NamedTuple):
    """A key frame on the device."""

    image: Tensor  # (1, 3, H, W) uint8
    low: LowFeatures
    high: Tensor


class FastTrack:
    """Frames in, labels out, through static pinned buffers on a stream of its own; nothing waits but the caller."""

    def __init__(self, step: FastTrackStep, key_frame: NDArray[np.uint8], device: torch.device, how: How) -> None:
        """
        Args:
            step: on ``device``.
            key_frame: (H, W, 3) uint8 RGB, that all labels are propagated from; the frames to come have its size.
            device: where ``captured`` needs CUDA.
            how: ``compiled`` and ``captured`` take their time here.
        """
        height, width = key_frame.shape[:2]
        is_cuda = device.type == "cuda"
        self.stream = TrackStream(device, FAST_PRIORITY)
        self._host_frame = torch.empty((1, height, width, 3), dtype=torch.uint8, pin_memory=is_cuda)
        self._host_labels = torch.empty((height, width), dtype=torch.uint8, pin_memory=is_cuda)
        self._frame = torch.empty((1, height, width, 3), dtype=torch.uint8, device=device)
        with torch.no_grad(), self.stream.in_use():
            self.key = self._see_key_frame(step, key_frame)
            self._compute = self._prepared(step, how)
            self.stream.wait()

    def __call__(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB to (H, W) uint8 class ids, in a buffer that the next call writes over."""
        self._host_frame.copy_(torch.from_numpy(frame).unsqueeze(0))
        with torch.no_grad(), self.stream.in_use():
            self._frame.copy_(self._host_frame, non_blocking=True)
            labels, _ = self._compute()
            self._host_labels.copy_(labels, non_blocking=True)
            self.stream.wait()
        return self._host_labels.numpy()

    def _see_key_frame(self, step: FastTrackStep, key_frame: NDArray[np.uint8]) -> KeyFeatures:
        self._host_frame.copy_(torch.from_numpy(key_frame).unsqueeze(0))
        self._frame.copy_(self._host_frame)
        image = image_of(self._frame)
        low = step.network.low_features(image)
        return KeyFeatures(image, low, step.network.high_features(image, low.low))

    def _prepared(self, step: FastTrackStep, how: How) -> Callable[[], tuple[Tensor, Tensor]]:
        run: Callable[..., tuple[Tensor, Tensor]] = step
        if how == "compiled":
            # The default mode: "reduce-overhead" asserts in a second thread (pytorch#123177).
            run = torch.compile(step, dynamic=False)

        def compute() -> tuple[Tensor, Tensor]:
            return run(self._frame, self.key.low, self.key.high)

        for _ in range(CALLS_BEFORE_CAPTURE):
            compute()
        return self._captured(compute) if how == "captured" else compute

    def _captured(self, compute: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[], tuple[Tensor, Tensor]]:
        self.stream.wait()
        graph = torch.cuda.CUDAGraph()
        # thread_local: the slow track's thread may allocate meanwhile.
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
            results = compute()

        def replay() -> tuple[Tensor, Tensor]:
            graph.replay()
            return results

        return replay


def step_of(network: SegmentationNetwork, device: torch.device, dtype: torch.dtype) -> FastTrackStep:
    """A copy of a CPU network's fast track on a device, in a type, channels last."""
    moved = copy.deepcopy(network).to(device=device, dtype=dtype)
    channels_last: nn.Module = moved.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert isinstance(channels_last, SegmentationNetwork)
    return FastTrackStep(channels_last).eval()


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


@contextmanager
def busy_slow_track(
    network: SegmentationNetwork, key: KeyFeatures, device: torch.device
) -> Iterator[list[tuple[Moment, Moment]]]:
    """Within it, Sh runs without a pause in a thread and on a stream of its own; gives when each run began and ended.

    ``network`` and ``key`` lie on ``device``. An error in that thread is raised at the end.
    """
    runs: list[tuple[Moment, Moment]] = []
    has_begun, is_stopping = threading.Event(), threading.Event()

    def work() -> None:
        stream = TrackStream(device, SLOW_PRIORITY)
        with torch.no_grad(), stream.in_use():
            network.high_features(key.image, key.low.low)  # cuDNN's choices are each thread's own
            stream.wait()
            while not is_stopping.is_set():
                began = now(device)
                has_begun.set()
                network.high_features(key.image, key.low.low)
                ended = now(device)
                stream.wait()
                runs.append((began, ended))

    with ThreadPoolExecutor(1, "busy slow track") as pool:
        working = pool.submit(work)
        working.add_done_callback(lambda _: has_begun.set())  # after an error, too
        has_begun.wait()
        try:
            yield runs
        finally:
            is_stopping.set()
    working.result()


def spans_after(base: Moment, moments: Sequence[tuple[Moment, Moment]]) -> list[Span]:
    """Of the runs that ended after ``base``; all of them must have ended by now."""
    spans = [Span(milliseconds_between(base, began), milliseconds_between(base, ended)) for began, ended in moments]
    return [span for span in spans if span.ended > 0]


def overlapping_share(fast: Sequence[Span], slow: Sequence[Span]) -> float:
    """What share of the fast spans' time lies within slow spans; each list is in order and without overlaps."""
    total = sum(span.ended - span.began for span in fast)
    shared = sum(max(0.0, min(one.ended, other.ended) - max(one.began, other.began)) for one in fast for other in slow)
    return shared / total if total > 0 else 0.0

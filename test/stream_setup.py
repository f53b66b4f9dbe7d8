"""What stream tests need: an Sh that waits, fails or gives nan on demand, frames that move, waiting for conditions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from small_networks import small_network
from torch import Tensor, nn

from lowlat_seg_ros.fast.frames import Answer, LowFeatures
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.pictures import Preprocessor, frame_size, label_image
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.slow.network import FeatureHead, SlowNetwork
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import KeyFramePolicy
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.slow_lane import SlowLane
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

Frame = NDArray[np.uint8]
INPUT_SIZE = (64, 48)
STEP = 66_666_667  # nanoseconds from frame to frame
PATIENCE = 60.0  # seconds until a test that waits for a condition fails


@cache
def stream_network(seed: int = 0) -> SegmentationNetwork:
    """The real network with few channels and a small input: a frame takes milliseconds."""
    network = small_network(seed, input_size=INPUT_SIZE)
    # Fresh weights copy the key frame's feature whatever the current frame shows.
    nn.init.normal_(network.fusion.combine.weight, std=0.2)
    nn.init.normal_(network.get_parameter("kernel_predictor.predict.weight"), std=1.0)
    nn.init.normal_(network.deviation_predictor.regress.weight, std=1.0)
    return network


def moving_frames(count: int, size: tuple[int, int] = INPUT_SIZE, seed: int = 0) -> list[Frame]:
    """A picture of random blocks that moves two pixels to the left from frame to frame."""
    width, height = size
    columns = width + 2 * count
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, columns // 8 + 1, 3), dtype=np.uint8)
    scene = blocks.repeat(8, axis=0).repeat(8, axis=1)
    return [np.ascontiguousarray(scene[:height, 2 * i : 2 * i + width]) for i in range(count)]


def plain_frame(value: int, size: tuple[int, int] = INPUT_SIZE) -> Frame:
    return np.full((size[1], size[0], 3), value, np.uint8)


def segment_all(engine: StreamEngine, frames: list[Frame], first: int = 0) -> list[SegmentationResult]:
    """The results, one after the other. A first frame waits for Sh, so that the next one surely has a key frame."""
    return [segment_with_key(engine, frame, (first + i) * STEP) for i, frame in enumerate(frames)]


def segment_with_key(engine: StreamEngine, frame: Frame, stamp: int) -> SegmentationResult:
    is_first = engine._cache.key is None or stamp < (engine._last_stamp or 0) or engine._last_size != frame_size(frame)
    if not is_first or not engine.low_latency:
        return engine.segment(frame, stamp)
    engine.low_latency = False
    try:
        return engine.segment(frame, stamp)
    finally:
        engine.low_latency = True


def key_of(result: SegmentationResult) -> tuple[int, bool]:
    """The frame a result's labels came from, and whether its feature was accurate."""
    return result.key_stamp // STEP, result.key_is_accurate


def without_times(result: SegmentationResult) -> tuple[object, ...]:
    """All of a result that must be the same when the same frames come again."""
    counts = result.slow_track
    return (
        result.labels.tobytes(),
        result.stamp,
        result.sequence,
        result.is_key_frame,
        result.key_reason,
        repr(result.deviation),
        repr(result.threshold),
        result.key_stamp,
        result.key_age_frames,
        result.key_is_accurate,
        result.waited_for_slow_track,
        (counts.busy, counts.waiting, counts.done, counts.failed, counts.discarded),
        result.warnings,
    )


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; fail naming it after ``PATIENCE`` seconds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE} s in vain: {what}"
        time.sleep(0.001)


class GatedSlowNetwork:
    """A real Sh and classifier behind a gate, which holds the slow track's thread and lets Sh in place go through."""

    def __init__(self, network: SlowNetwork) -> None:
        self.classes, self.colours, self.head = network.classes, network.colours, network.head
        self.own_fast_network, self.sees_whole_frame = network.own_fast_network, network.sees_whole_frame
        self.images: list[Tensor] = []  # that Sh has begun with, in that order
        self.failure: Exception | None = None  # raised instead of a result
        self.gives_nan = False
        self._network = network
        self._tests_thread = threading.get_ident()
        self._permits = threading.Semaphore(0)
        self._is_open = True

    def shut(self) -> None:
        """From now on each run of Sh needs a permit."""
        self._is_open = False

    def let_through(self, runs: int = 1) -> None:
        self._permits.release(runs)

    def let_through_one(self) -> None:
        """Let the run at the gate through, and wait until the next one is there."""
        begun = len(self.images)
        self.let_through()
        wait_until(lambda: len(self.images) == begun + 1, "Sh began with the next key frame")

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        is_held = not self._is_open and threading.get_ident() != self._tests_thread
        self.images.append(image)
        if is_held and not self._permits.acquire(timeout=PATIENCE):
            raise AssertionError("nobody opened the gate: the fast track waits for Sh")
        if self.failure is not None:
            raise self.failure
        logits, high, *_ = self._network.answer(image, low)
        assert high is not None
        return Answer(logits, torch.full_like(high, torch.nan) if self.gives_nan else high)


class PlainSlowNetwork:
    """What a slow network tells of itself besides its answer: here a feature at every pixel that is its own logits."""

    classes = ("road", "sky")
    colours = ((0, 0, 0), (255, 255, 255))
    head: FeatureHead | None = FeatureHead(1, lambda high: high)
    own_fast_network = None
    sees_whole_frame = False

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        return Answer(image, image)


class TwoTracks(NamedTuple):
    """An engine on a threaded slow track, and both of its sides."""

    engine: StreamEngine
    lane: SlowLane
    slow_network: GatedSlowNetwork

    def wait_for_done(self, runs: int) -> None:
        wait_until(lambda: self.lane.counts().done >= runs, f"{runs} runs of Sh done")

    def wait_for_start(self, runs: int) -> None:
        wait_until(lambda: len(self.slow_network.images) >= runs, f"{runs} runs of Sh begun")


@contextmanager
def two_tracks(
    policy: KeyFramePolicy, network: FastNetwork | None = None, *, propagation: str = "adaptive", **options: Any
) -> Iterator[TwoTracks]:
    """The real network (or ``network``) on two tracks, with a gate in front of Sh."""
    fast = network or stream_network()
    slow = GatedSlowNetwork(fast if isinstance(fast, SegmentationNetwork) else stream_network())
    with ThreadedSlowTrack(slow) as track:
        try:
            engine = StreamEngine(fast, track, policy, propagation=propagation, **options)
            yield TwoTracks(engine, engine.slow_lane, slow)
        finally:
            slow.let_through(100)  # a thread at the gate could not end


class LabelsByHand:
    """The network's parts put together as the paper's figure 2 says, without an engine."""

    def __init__(self, network: SegmentationNetwork) -> None:
        self.network = network
        self.preprocess = Preprocessor(INPUT_SIZE, torch.device("cpu"))

    @torch.inference_mode()
    def low(self, frame: Frame) -> LowFeatures:
        return self.network.low_features(self.preprocess(frame))

    @torch.inference_mode()
    def sh(self, frame: Frame) -> Tensor:
        return self.network.high_features(self.preprocess(frame), self.low(frame).low)

    @torch.inference_mode()
    def propagated(self, high: Tensor, key: LowFeatures, current: LowFeatures) -> Tensor:
        return self.network.propagate(high, key, current).high

    @torch.inference_mode()
    def labels_of_sl_alone(self, frame: Frame) -> Frame:
        return label_image(self.network.classify_low(self.low(frame).low), INPUT_SIZE, INPUT_SIZE)

    @torch.inference_mode()
    def labels(self, high: Tensor) -> Frame:
        return label_image(self.network.classify(high), INPUT_SIZE, INPUT_SIZE)

"""A slow track that raises, gives NaN, hangs or dies: the fast track goes on, and what happened is told and mended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from stream_setup import PATIENCE, STEP, moving_frames, stream_network, wait_until
from torch import Tensor

from lowlat_seg_ros.fast.frames import Answer
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

FRAMES = moving_frames(4)


class FaultySlowNetwork:
    """The real slow network, which fails in one way while that is asked for."""

    def __init__(self, fault: str = "") -> None:
        network = stream_network()
        self.classes, self.colours, self.head = network.classes, network.colours, network.head
        self.own_fast_network = network.own_fast_network
        self.sees_whole_frame = network.sees_whole_frame
        self.fault = fault
        self.released = threading.Event()  # what hangs
        self.hanging = threading.Event()
        self._network = network

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        fault = self.fault
        if fault == "hangs":
            self.hanging.set()
            self.released.wait(PATIENCE)
        if fault == "raises":
            raise RuntimeError("no memory")
        if fault == "dies":
            raise SystemExit("out of the thread")
        answer = self._network.answer(image, low)
        return Answer(answer.logits * torch.nan, answer.feature) if fault == "nan" else answer


@dataclass
class Watched:
    engine: StreamEngine
    track: ThreadedSlowTrack
    network: FaultySlowNetwork
    renewed: list[FaultySlowNetwork] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _stamp: int = 0

    def segment(self) -> SegmentationResult:
        """One more frame, whose labels must be there."""
        self._stamp += STEP
        result = self.engine.segment(FRAMES[self._stamp // STEP % 4], self._stamp)
        assert result.unlabelled_reason == "" and (result.labels != 255).any()
        self.warnings += result.warnings
        return result

    def segment_until_warned(self, words: str) -> None:
        wait_until(lambda: self.segment() is not None and self.has_warned(words), words)

    def segment_until_accurate(self) -> None:
        wait_until(lambda: self.segment().key_is_accurate, "an accurate key frame")

    def has_warned(self, words: str) -> bool:
        return any(words in warning for warning in self.warnings)


@contextmanager
def watched(fault: str = "", renewed_with: str | None = None) -> Iterator[Watched]:
    network = FaultySlowNetwork(fault)
    renewed: list[FaultySlowNetwork] = []

    def renew() -> FaultySlowNetwork:
        renewed.append(FaultySlowNetwork(renewed_with or ""))
        return renewed[-1]

    with ThreadedSlowTrack(network, renew=None if renewed_with is None else renew) as track:
        engine = StreamEngine(stream_network(), track, FixedInterval(1))
        try:
            yield Watched(engine, track, network, renewed)
        finally:
            engine.close()
            for each in (network, *renewed):
                each.released.set()


@pytest.mark.parametrize(("fault", "words"), [("raises", "no memory"), ("nan", "nan or infinite")])
def test_an_answer_that_fails_is_told_and_the_next_good_one_is_used(fault: str, words: str) -> None:
    with watched(fault) as tracks:
        tracks.segment_until_warned(words)
        wait_until(lambda: tracks.segment() is not None and tracks.engine.answer_ages().overdue > 0.05, "a late answer")
        tracks.network.fault = ""
        tracks.segment_until_accurate()
        assert tracks.track.restarts == 0
        assert tracks.engine.answer_ages().key_age < PATIENCE


def test_a_thread_that_dies_is_started_again_and_counted() -> None:
    with watched() as tracks:
        tracks.segment_until_accurate()
        for deaths in (1, 2):
            tracks.network.fault = "dies"
            wait_until(lambda: tracks.segment().slow_track.restarts >= deaths, "a restart")  # noqa: B023
            tracks.network.fault = ""
            answered = tracks.segment().slow_track.done
            wait_until(lambda: tracks.segment().slow_track.done > answered, "an answer")  # noqa: B023
        assert tracks.has_warned("thread has died (SystemExit in answer: out of the thread); it is started again")
        assert tracks.segment().slow_track.failed >= 2, "the runs that it died in are failures"


def test_a_thread_that_dies_outside_sh_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a CUDA error that sticks does, in what waits for the fast track's stream."""
    with watched() as tracks:
        tracks.segment_until_accurate()
        stream = tracks.track._worker.stream

        def fail(mark: object) -> None:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        monkeypatch.setattr(stream, "follow", fail)
        tracks.segment_until_warned("thread has died (RuntimeError in fail: CUDA error")
        answered = tracks.segment().slow_track.done
        wait_until(lambda: tracks.segment().slow_track.done > answered, "an answer")


def test_a_run_that_hangs_is_abandoned_with_its_network_and_its_late_answer_dropped() -> None:
    with watched(renewed_with="") as tracks:
        tracks.segment_until_accurate()
        tracks.network.fault = "hangs"
        wait_until(lambda: tracks.segment() is not None and tracks.network.hanging.is_set(), "a run that hangs")
        hung, stop = tracks.track._worker.thread, tracks.track._worker.stop
        tracks.track.hang_seconds = 0.01
        tracks.segment_until_warned("s and is abandoned; it is started again")
        tracks.track.hang_seconds = PATIENCE
        with pytest.raises(RuntimeError, match="stopped"), stop.cancelling(lambda: None):
            raise AssertionError("expected the abandoned run to be cancelled in any runtime")
        wait_until(lambda: bool(tracks.renewed), "the network loaded anew")
        wait_until(lambda: tracks.engine.slow_lane.network is tracks.renewed[0], "the lane of the new network")
        answered = tracks.segment().slow_track.done
        wait_until(lambda: tracks.segment().slow_track.done > answered, "an answer of the new network")
        counts = tracks.engine.slow_lane.counts()
        tracks.network.released.set()
        hung.join(PATIENCE)
        assert not hung.is_alive()
        assert tracks.engine.slow_lane.counts().failed == counts.failed == 1
        assert (counts.restarts, counts.given_up) == (1, "")


@pytest.mark.parametrize("renewed_with", ["hangs", None])
def test_after_a_second_hang_the_fast_track_goes_on_alone(renewed_with: str | None) -> None:
    with watched(renewed_with=renewed_with) as tracks:
        tracks.segment_until_accurate()
        tracks.network.fault = "hangs"
        tracks.track.hang_seconds = 0.01
        tracks.segment_until_warned("the fast track goes on alone")
        late = tracks.renewed[0] if renewed_with else tracks.network
        late.released.set()
        counts = [tracks.segment().slow_track for _ in range(5)][-1]
        assert counts.done == tracks.engine.slow_lane.counts().done, "the late answer is dropped"
        assert "hung" in counts.given_up and not counts.busy and not counts.waiting
        assert tracks.engine.answer_ages().overdue > 0
        assert len(tracks.renewed) == (1 if renewed_with else 0)


def test_a_network_that_cannot_be_loaded_again_leaves_the_fast_track_alone() -> None:
    def renew() -> FaultySlowNetwork:
        raise OSError("the file is gone")

    with watched("hangs", renewed_with="") as tracks:
        tracks.track._renew = renew
        tracks.track.hang_seconds = 0.01
        tracks.segment_until_warned("could not be loaded again: OSError: the file is gone")
        assert tracks.segment().slow_track.given_up


def test_a_slow_network_that_takes_long_does_not_hang() -> None:
    """Three times the longest run so far is always allowed."""
    with watched("hangs") as tracks:
        threading.Timer(0.5, tracks.network.released.set).start()
        tracks.segment_until_accurate()
        tracks.network.released.clear()
        tracks.track.hang_seconds = 0.01
        timer = threading.Timer(0.5, tracks.network.released.set)
        begun = tracks.segment().slow_track.done
        timer.start()
        wait_until(lambda: tracks.segment().slow_track.done > begun, "the second answer")
        assert tracks.segment().slow_track.restarts == 0


def test_ages_are_of_the_frames_that_came() -> None:
    with watched() as tracks:
        ages = tracks.engine.answer_ages()
        assert np.isnan(ages.key_age) and ages.overdue == 0
        tracks.segment_until_accurate()
        assert 0 <= ages.key_age < PATIENCE
        tracks.engine.reset("a test")
        assert np.isnan(ages.key_age) and ages.overdue == 0

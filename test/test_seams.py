"""The seams: a slow network and a propagation from outside the package, and how much of it one frame goes through."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stream_setup import INPUT_SIZE, STEP, GatedSlowNetwork, PlainSlowNetwork, moving_frames, stream_network, wait_until
from torch import Tensor

import lowlat_seg_ros
from lowlat_seg_ros import Segmenter, load_model
from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.propagation import Propagation, PropagationError
from lowlat_seg_ros.fast.registry import PROPAGATIONS, build_propagation
from lowlat_seg_ros.models.checkpoint import CheckpointError
from lowlat_seg_ros.slow.registry import KINDS, Kind
from lowlat_seg_ros.stream.engine import NO_ANSWER_YET, StreamEngine
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack

PACKAGE = Path(lowlat_seg_ros.__file__).parent
# Every frame looks after the slow track's thread (contract 5), in stream/slow_track.py. What carries any network's
# labels is two files more than what carries ours (just in time and its classifier), and asks for their ids.
MOST_FILES = 20


class LightOrDark(PlainSlowNetwork):
    """A slow network of two classes, dark and light, without a feature, on a grid of its own."""

    classes = ("dark", "light")
    colours = ((0, 0, 0), (255, 255, 255))
    head = None

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        brightness = torch.nn.functional.avg_pool2d(image.float().mean(dim=1, keepdim=True), 16) - 127.5
        return Answer(torch.cat([-brightness, brightness], dim=1))


class Onlooker(LightOrDark):
    """A slow network that looks at the camera's own frames, and keeps what it has seen."""

    sees_whole_frame = True

    def __init__(self) -> None:
        self.seen: list[NDArray[np.uint8]] = []

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        self.seen.append(image[0].permute(1, 2, 0).numpy().copy())
        return super().answer(image, low)


class Inverting(Propagation):
    """Labels everything the other way round, and counts what it has learned from."""

    learned: list[int]

    def __init__(self, *networks: Any) -> None:
        super().__init__(*networks)
        self.learned = []

    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        return Answer(-key.answer.logits)

    def learn(self, key: KeyFrame, may_go_on: Callable[[], bool]) -> None:
        self.learned.append(key.frame.sequence)


@pytest.fixture
def from_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both are registered as a user would, in front of what is there."""
    kinds = {"light": Kind(lambda model: model == "light or dark", lambda model, device: LightOrDark()), **KINDS}
    monkeypatch.setattr("lowlat_seg_ros.slow.registry.KINDS", kinds)
    monkeypatch.setitem(PROPAGATIONS, "inverting", Inverting)
    yield


def test_a_slow_network_from_outside_labels_every_frame(from_outside: None) -> None:
    """Its classes are none of the fast track's: before its first answer there are no labels, and the reason is told."""
    with Segmenter("light or dark") as segmenter:
        assert segmenter.classes == ("dark", "light")
        frame = np.zeros((60, 80, 3), np.uint8)
        frame[:, 40:] = 255
        first = segmenter.segment(frame, 0)
        assert first.is_key_frame and first.unlabelled_reason == NO_ANSWER_YET and (first.labels == 255).all()
        stamps = iter(range(1, 1_000_000))
        wait_until(lambda: segmenter.segment(frame, next(stamps)).key_is_accurate, "the first answer")
        labelled = segmenter.segment(frame, next(stamps))
    assert labelled.unlabelled_reason == ""
    assert (labelled.labels[:, :30] == 0).all() and (labelled.labels[:, 50:] == 1).all()


def test_a_propagation_from_outside_labels_and_learns(from_outside: None) -> None:
    engine = StreamEngine(stream_network(), InlineSlowTrack(LightOrDark()), FixedInterval(2), propagation="inverting")
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, 32:] = 255
    results = [engine.segment(frame, stamp) for stamp in range(4)]
    assert [result.labels[0, [0, -1]].tolist() for result in results] == [[255, 255], *3 * [[1, 0]]]
    propagation = engine._propagation
    assert isinstance(propagation, Inverting) and propagation.learned == [0, 2]


def test_a_propagation_that_cannot_learn_is_told_and_labels_go_on() -> None:
    class Unteachable(Inverting):
        def learn(self, key: KeyFrame, may_go_on: Callable[[], bool]) -> None:
            raise RuntimeError("no memory\nleft")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROPAGATIONS, "unteachable", Unteachable)
        engine = StreamEngine(
            stream_network(), InlineSlowTrack(LightOrDark()), FixedInterval(9), propagation="unteachable"
        )
    results = [engine.segment(frame, stamp) for stamp, frame in enumerate(moving_frames(4))]
    warnings = [warning for result in results for warning in result.warnings]
    assert warnings == ["the propagation could not learn: RuntimeError: no memory left"]
    assert results[-1].key_is_accurate and results[-1].labels.max() < 255


def test_copying_gives_the_key_frames_labels_unchanged() -> None:
    network, frames = stream_network(), moving_frames(4)
    engine = StreamEngine(network, InlineSlowTrack(network), FixedInterval(100), propagation="copy", low_latency=False)
    labels = [engine.segment(frame, stamp).labels for stamp, frame in enumerate(frames)]
    assert all(np.array_equal(labels[0], others) for others in labels[1:])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("clockwise", "propagation is 'clockwise'; expected one of auto, adaptive, clockwork, copy, just_in_time"),
        (
            "adaptive",
            "propagation 'adaptive' carries a feature, and the slow network gives none; expected 'just_in_time'",
        ),
    ],
)
def test_a_propagation_that_does_not_fit_is_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(PropagationError, match=sentence):
        build_propagation(name, stream_network(), LightOrDark())


def test_a_feature_that_does_not_fit_costs_its_frame_alone() -> None:
    """A slow network that gives another grid than it names once it runs: that is told, and nothing is raised."""
    network, frames = stream_network(), moving_frames(4)

    class Shrinking(GatedSlowNetwork):
        def answer(self, image: Tensor, low: Tensor) -> Answer:
            logits, high, *_ = super().answer(image, low)
            assert high is not None
            return Answer(logits, high[..., 1:])

    engine = StreamEngine(network, InlineSlowTrack(Shrinking(network)), FixedInterval(100), propagation="adaptive")
    results = [engine.segment(frame, stamp) for stamp, frame in enumerate(frames)]
    assert results[1].unlabelled_reason.startswith("the fast track failed: PropagationError: the slow network gave")
    assert (results[1].labels == 255).all() and results[2].key_reason == "first frame"
    assert results[2].unlabelled_reason == "" and results[2].labels.max() < 255


def test_auto_carries_any_network() -> None:
    network = stream_network()
    for slow in (network, LightOrDark()):
        assert type(build_propagation("auto", network, slow)) is PROPAGATIONS["just_in_time"]


def test_a_model_that_is_not_there_is_an_error_of_ours() -> None:
    with pytest.raises(lowlat_seg_ros.Error, match="there is no checkpoint at 'nowhere'"):
        load_model("nowhere")
    assert issubclass(CheckpointError, lowlat_seg_ros.Error)


def test_a_closed_engine_has_no_thread_left() -> None:
    before = set(threading.enumerate())
    with Segmenter():
        assert len(set(threading.enumerate()) - before) > 1
    assert set(threading.enumerate()) <= before


def test_an_ordinary_frame_goes_through_few_of_our_files() -> None:
    """Counted in the thread that calls: what a stranger has to read to know what happens to a frame."""
    entered: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(str(PACKAGE)):
            entered.add(str(Path(file).relative_to(PACKAGE)))

    frame = moving_frames(1, size=INPUT_SIZE)[0]
    with Segmenter("default", policy=FixedInterval(1_000_000)) as segmenter:
        stamps = iter(range(0, 1_000_000 * STEP, STEP))
        wait_until(lambda: segmenter.segment(frame, next(stamps)).key_is_accurate, "the first key frame")
        sys.setprofile(note)
        try:
            result = segmenter.segment(frame, next(stamps))
        finally:
            sys.setprofile(None)
    assert not result.is_key_frame and result.key_is_accurate
    assert len(entered) <= MOST_FILES, sorted(entered)


@pytest.mark.parametrize("low_latency", [True, False])
def test_a_foreign_network_looks_at_the_cameras_own_frame_whatever_becomes_of_it(low_latency: bool) -> None:
    slow, size = Onlooker(), (3 * INPUT_SIZE[0], 2 * INPUT_SIZE[1])
    engine = StreamEngine(stream_network(), InlineSlowTrack(slow), FixedInterval(1), low_latency=low_latency)
    buffer = np.empty((size[1], size[0], 3), np.uint8)
    frames = moving_frames(3, size)
    for number, frame in enumerate(frames):
        buffer[:] = frame  # as a driver does that has one buffer
        engine.segment(buffer, number * STEP)
    assert np.array_equal(slow.seen, frames[: len(slow.seen)])
    assert len(slow.seen) == 3 - low_latency  # the last frame's turn comes with the one after it


def test_frames_that_the_engine_owns_are_not_copied() -> None:
    class Keeper(Onlooker):
        def answer(self, image: Tensor, low: Tensor) -> Answer:
            self.seen.append(image[0].permute(1, 2, 0).numpy())
            return LightOrDark.answer(self, image, low)

    slow = Keeper()
    engine = StreamEngine(stream_network(), InlineSlowTrack(slow), FixedInterval(1), owns_frames=True)
    frames = moving_frames(2, INPUT_SIZE)
    for number, frame in enumerate(frames):
        engine.segment(frame, number * STEP)
    assert np.shares_memory(slow.seen[0], frames[0])

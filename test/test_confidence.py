"""How likely labels are the slow network's own: what is known before it answers, what its answers teach, and when."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from stream_setup import STEP, moving_frames, plain_frame, segment_all, stream_network
from test_just_in_time import Stranger, engine_of

from lowlat_seg_ros.fast.confidence import PRIOR, PRIOR_SPREAD, Lesson, fitted, nearest
from lowlat_seg_ros.fast.frames import Answer
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack

PROPAGATIONS = ("adaptive", "just_in_time", "copy")


def engine_with(propagation: str, interval: int = 2) -> StreamEngine:
    network = stream_network()
    return StreamEngine(network, InlineSlowTrack(network), FixedInterval(interval), propagation=propagation)


@pytest.mark.parametrize("propagation", PROPAGATIONS)
def test_before_the_first_answer_nothing_is_known_and_afterwards_every_pixel_has_its_own(propagation: str) -> None:
    engine = engine_with(propagation)
    results = [engine.segment(frame, STEP * number) for number, frame in enumerate(moving_frames(6, (96, 72)))]
    assert (results[0].confidence == 0).all() and results[0].mean_confidence == 0
    for result in results[1:]:
        assert result.confidence.shape == result.labels.shape == (72, 96) and result.confidence.dtype == np.uint8
        assert abs(result.confidence.mean() / 255 - result.mean_confidence) < 0.02
    assert len(np.unique(results[-1].confidence)) > 10


def test_labels_that_are_the_slow_networks_own_are_certain() -> None:
    engine = engine_with("adaptive")
    first, second = segment_all(engine, moving_frames(2))
    assert first.waited_for_slow_track and (first.confidence == 255).all()
    assert second.mean_confidence < 1


def test_a_break_of_the_stream_forgets_the_answer_and_so_what_is_known() -> None:
    engine = engine_of(Stranger())
    for number, frame in enumerate(moving_frames(4)):
        engine.segment(frame, STEP * number)
    assert (engine.segment(moving_frames(1)[0], 0).confidence == 0).all()


def test_inline_the_same_frames_give_the_same_confidence_whenever_it_is_asked_for() -> None:
    runs = []
    for asks_at_once in (True, False):
        engine = engine_of(Stranger())
        results = []
        for number, frame in enumerate(moving_frames(9)):
            results.append(engine.segment(frame, STEP * number))
            if asks_at_once:
                _ = results[-1].confidence
        runs.append([result.confidence.tobytes() for result in results])
    assert runs[0] == runs[1]


def mean_confidence_where_the_slow_network(agrees: bool) -> float:
    """Of the last frame of many, all of one picture; the network that does not agree calls each answer's opposite."""
    stranger = Stranger(2)
    plain, answers = stranger.answer, iter(range(1_000))

    def answer(image: torch.Tensor, low: torch.Tensor) -> Answer:
        sign = 1 if agrees or next(answers) % 2 else -1
        return Answer(sign * plain(image, low).logits)

    stranger.answer = answer  # type: ignore[method-assign]
    engine = engine_of(stranger)
    results = [engine.segment(frame, STEP * number) for number, frame in enumerate(16 * moving_frames(1))]
    return results[-1].mean_confidence


def test_the_slow_networks_answers_teach_how_far_the_fast_track_is_right() -> None:
    assert mean_confidence_where_the_slow_network(agrees=True) > 0.8
    assert mean_confidence_where_the_slow_network(agrees=False) < 0.5


def test_what_is_doubted_is_less_likely_and_so_is_what_is_old() -> None:
    engine = engine_of(Stranger())
    for number, frame in enumerate(moving_frames(4)):
        result = engine.segment(frame, STEP * number)
    evidence = result.evidence
    assert evidence is not None

    def mean(doubt: float = 0.0, age: int = STEP) -> float:
        answer = evidence.answer._replace(doubt=torch.full((1, 1, 6, 8), doubt))
        time = evidence.origin_time + age
        seen = replace(evidence.seen, motion=None, time=time)
        return float(replace(evidence, answer=answer, seen=seen).probability().mean())

    assert mean() > mean(doubt=0.5) > mean(doubt=1.0)
    assert mean() > mean(age=4 * STEP) > mean(age=40 * STEP)


@pytest.mark.parametrize("size", [(12, 16), (24, 32), (7, 9), (2, 3)])
def test_logits_on_any_grid_are_read_at_the_nearest_place(size: tuple[int, int]) -> None:
    logits = torch.randn(1, 5, *size, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(logits, [12, 16], mode="nearest-exact")[0]
    assert torch.equal(nearest(logits, (12, 16)), expected)
    assert nearest(logits, (12, 16)).data_ptr() != logits.data_ptr()


def test_what_a_temporary_key_frame_did_not_know_its_followers_do_not_know_either() -> None:
    """The followers see no change since their key frame, but its labels were carried into another scene."""
    network = stream_network()
    engine = StreamEngine(network, InlineSlowTrack(network, delay_frames=3), FixedInterval(4))
    results = [engine.segment(plain_frame(90), STEP * number) for number in range(4)]
    results += [engine.segment(moving_frames(1)[0], STEP * number) for number in range(4, 7)]
    temporary, *followers = results[4:]
    assert temporary.is_key_frame and not followers[0].key_is_accurate
    assert followers[0].key_stamp == followers[1].key_stamp == temporary.stamp
    for follower in followers:
        assert follower.mean_confidence <= temporary.mean_confidence + 0.01


def test_key_frames_that_no_answer_follows_keep_no_chain_alive() -> None:
    network = stream_network()
    engine = StreamEngine(network, InlineSlowTrack(network, delay_frames=50), FixedInterval(1))
    engine.low_latency = False
    engine.segment(moving_frames(1)[0], 0)
    engine.low_latency = True
    for number, frame in enumerate(moving_frames(9)):
        last = engine.segment(frame, STEP * (1 + number))
    key = engine._cache.key
    assert key is not None and (key.evidence is None or key.evidence.key is None)
    assert len(engine._confidence._claims) <= 2 and isinstance(last, SegmentationResult)


def test_the_fit_finds_the_weights_behind_many_places_and_stays_with_the_prior_without_any() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200_000, len(PRIOR), generator=generator)
    features[:, 0] = 1
    weights = torch.tensor(PRIOR) + 0.5 * torch.tensor(PRIOR_SPREAD)
    lesson = Lesson(features, torch.sigmoid(features @ weights))
    torch.testing.assert_close(fitted(torch.tensor(PRIOR), [lesson]), weights, atol=0.05, rtol=0)
    for far_off in (-15.0, 15.0):  # where every guess is 0 or 1
        found = torch.full((len(PRIOR),), far_off)
        for _ in range(8):
            found = fitted(found, [lesson])
        torch.testing.assert_close(found, weights, atol=0.05, rtol=0)
    few = Lesson(features[:2], lesson.rights[:2])
    torch.testing.assert_close(fitted(torch.tensor(PRIOR), [few]), torch.tensor(PRIOR), atol=0.05, rtol=0)


def test_what_a_caller_does_to_its_labels_teaches_nothing() -> None:
    runs = []
    for paints in (True, False):
        engine = engine_of(Stranger())
        for number, frame in enumerate(moving_frames(9)):
            result = engine.segment(frame, STEP * number)
            if paints:
                result.labels[:] = 3
        runs.append(engine._confidence.weights.tolist())
    assert runs[0] == runs[1] != list(PRIOR)

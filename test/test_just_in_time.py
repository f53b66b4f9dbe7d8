"""Just in time: the classifier that the slow track trains, and the propagation that asks it where it doubts."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from cpu_copies import CPU_COPIES, running_copy
from stream_setup import INPUT_SIZE, STEP, moving_frames, plain_frame, stream_network, wait_until, without_times
from torch import Tensor

from lowlat_seg_ros.fast import classifier
from lowlat_seg_ros.fast.classifier import Classifier, Learner, step, step_in_torch
from lowlat_seg_ros.fast.frames import Answer, KeyFrame, LowFeatures, SeenFrame
from lowlat_seg_ros.fast.just_in_time import COMPILED_FOR, NUMBERS_A_PLACE, STALE_AFTER, JustInTimePropagation
from lowlat_seg_ros.fast.motion import enlarge
from lowlat_seg_ros.fast.pictures import label_image
from lowlat_seg_ros.slow.network import FeatureHead, SlowNetwork
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

GRID = (6, 8)  # of F_l, for an image of INPUT_SIZE
STEPS_COMPARED = 5


class Stranger:
    """A slow network of many classes that gives logits alone: the class of a place is its brightness."""

    head: FeatureHead | None = None
    own_fast_network = None
    sees_whole_frame = False

    def __init__(self, class_count: int = 4) -> None:
        self.classes = tuple(f"class {label}" for label in range(class_count))
        self.colours = ((0, 0, 0),) * class_count

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        brightness = torch.nn.functional.avg_pool2d(image.float().mean(dim=1, keepdim=True), 2) / 256
        levels = (torch.arange(len(self.classes)) + 0.5) / len(self.classes)
        return Answer(-((len(self.classes) * (brightness - levels[None, :, None, None])) ** 2))


def small_low(seed: int = 0) -> LowFeatures:
    return LowFeatures(*torch.randn(3, 1, 8, *GRID, generator=torch.Generator().manual_seed(seed)))


def key_frame(low: LowFeatures, logits: Tensor, ids: tuple[int, ...] | None = None, stamp: int = 0) -> KeyFrame:
    image = torch.zeros(1, 3, INPUT_SIZE[1], INPUT_SIZE[0], dtype=torch.uint8)
    return KeyFrame(SeenFrame(0, stamp, image, low), Answer(logits, ids=ids), is_accurate=True)


def lesson(seed: int, class_count: int) -> tuple[KeyFrame, Tensor]:
    """A key frame whose class is told by the largest of its first channels of F_l; left parts are the next."""
    low = small_low(seed)
    right = low.low[:, :class_count].argmax(dim=1)
    labels = torch.stack([(right + 1) % class_count, right], dim=3).flatten(2).repeat_interleave(2, dim=1)
    probabilities = torch.nn.functional.one_hot(labels, class_count).permute(0, 3, 1, 2).float()
    return key_frame(low, probabilities, stamp=seed), probabilities


def halves() -> Tensor:
    """Of two classes the one above, the other below."""
    rows = torch.arange(2 * GRID[0]) < GRID[0]
    return torch.stack([rows, ~rows]).float()[None, :, :, None].expand(1, 2, -1, 2 * GRID[1]).contiguous()


def always() -> bool:
    return True


@pytest.mark.numeric
@pytest.mark.parametrize(("parts", "classes"), [(1, 2), (4, 2), (4, 8), (4, 11), (1, 37)])
@pytest.mark.parametrize("copy", CPU_COPIES)
def test_a_step_in_cpp_is_the_one_in_torch(copy: str, parts: int, classes: int) -> None:
    """Of single precision no more than its rounding, which the step in single precision by torch measures."""
    generator = torch.Generator().manual_seed(classes)
    inputs = torch.randn(50, 13, generator=generator)
    targets = torch.softmax(2 * torch.randn(50, parts, classes, generator=generator), dim=2)
    size = (13 + 1 + parts * classes) * classifier.HIDDEN + parts * classes
    first = torch.stack([0.3 * torch.randn(size, generator=generator), torch.zeros(size), torch.zeros(size)])
    exact, single, fused = first.double(), first.clone(), first.clone()
    with running_copy(copy):
        for number in range(1, STEPS_COMPARED + 1):
            chosen = torch.randint(50, (75,), generator=generator)  # more than two blocks of the kernel
            step_in_torch(inputs.double(), targets.double(), chosen, exact, number)
            step_in_torch(inputs, targets, chosen, single, number)
            step(inputs, targets, chosen, fused, number)
    moved = (exact[0] - first[0].double()).abs().max()
    assert moved > STEPS_COMPARED / 2 * classifier.LEARNING_RATE
    rounding = float((single - exact).abs().max())
    assert float((fused - exact).abs().max()) <= 10 * max(rounding, torch.finfo(torch.float32).eps)


def test_the_gradient_is_that_of_the_cross_entropy() -> None:
    """The first step of Adam goes against the gradient's sign: by automatic differentiation as in closed form."""
    generator = torch.Generator().manual_seed(3)
    inputs, targets = torch.randn(9, 5, generator=generator), torch.randn(9, 2, 3, generator=generator).softmax(dim=2)
    state = torch.zeros(3, (5 + 1 + 6) * classifier.HIDDEN + 6, dtype=torch.float64)
    state[0].normal_(generator=generator)
    weights = state[0].clone().requires_grad_()
    first, first_bias, second, second_bias = classifier.layers_of(weights, 5, 6)
    scores = torch.relu(inputs.double() @ first + first_bias) @ second.t() + second_bias
    loss = -(targets.double() * torch.log_softmax(scores.view(9, 2, 3), 2)).sum(2).mean()
    loss = loss + classifier.WEIGHT_DECAY * weights.square().sum() / 2
    loss.backward()
    assert weights.grad is not None
    step_in_torch(inputs.double(), targets.double(), torch.arange(9), state, 1)
    torch.testing.assert_close(state[1], (1 - classifier.FIRST_DECAY) * weights.grad)


def test_it_learns_what_the_feature_means_and_holds_on_another_frame() -> None:
    learner = Learner()
    for seed in range(6):
        learned = learner.learn(*lesson(seed, 4), math.nan, always)
    key, probabilities = lesson(99, 4)
    found = learned(key.frame.low)
    assert found.shape == probabilities.shape
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(1, *found.shape[-2:]))
    assert (found.argmax(1) == probabilities.argmax(1)).float().mean() > 0.75  # a guess is right in 0.25
    assert learned.learned_from == 5


def test_classes_come_and_go_with_the_key_frames_that_show_them() -> None:
    learner = Learner()
    low, probabilities = small_low(), halves()
    seen: list[tuple[int, ...]] = []
    for ids in [(7, 9), (7, 150)] + [(7, 9)] * classifier.KEYS_REMEMBERED:
        learned = learner.learn(key_frame(low, probabilities, ids), probabilities, math.nan, always)
        seen.append(learned.ids)
    assert seen[0] == (7, 9) and seen[1] == (7, 9, 150) and seen[-1] == (7, 9)


def test_a_class_of_one_stray_place_does_not_stay() -> None:
    """Its channel comes along in later answers, but no later key frame shows it."""
    learner, low = Learner(), small_low()
    stray = torch.cat([0.9 * halves(), torch.zeros_like(halves()[:, :1])], dim=1)
    with_it, without_it = stray.clone(), stray.clone()
    with_it[0, :, 0, 0] = torch.tensor([0.0, 0.0, 1.0])
    ids = (1, 2, 40)
    seen = [learner.learn(key_frame(low, with_it, ids), with_it, math.nan, always).ids]
    for _ in range(classifier.KEYS_REMEMBERED):
        seen.append(learner.learn(key_frame(low, without_it, ids), without_it, math.nan, always).ids)
    assert seen[0] == (1, 2, 40) and seen[-1] == (1, 2)


def test_a_feature_that_is_not_finite_teaches_nothing_and_spoils_nothing() -> None:
    engine = engine_of(Stranger())
    frames = moving_frames(8)
    network = engine._network
    healthy = network.low_features

    def spoiled(image: Tensor) -> LowFeatures:
        return LowFeatures(*(part * torch.nan for part in healthy(image)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "low_features", spoiled)
        engine.segment(frames[0], 0)
    results = [engine.segment(frame, stamp) for stamp, frame in enumerate(frames[1:], start=1)]
    assert any("could not learn" in warning for result in results for warning in result.warnings)
    assert results[-1].unlabelled_reason == "" and results[-1].labels.max() < 4


def test_with_many_classes_a_place_is_told_as_one_and_with_few_again_in_parts() -> None:
    """What was learned goes over: a class of the left half of each place stays what it was on average, and back."""
    learner, many = Learner(), classifier.OUTPUTS // classifier.PARTS + 1
    few = [learner.learn(*lesson(seed, 4), math.nan, always) for seed in range(3)][-1]
    low = small_low(50)
    probabilities = torch.nn.functional.one_hot(torch.arange(2 * GRID[0] * 2 * GRID[1]) % many, many)
    shown = probabilities.view(1, 2 * GRID[0], 2 * GRID[1], many).permute(0, 3, 1, 2).float()
    as_one = learner.learn(key_frame(low, shown), shown, math.nan, always)
    assert (few.parts, as_one.parts) == (classifier.PARTS, 1) and as_one(low).shape == (1, many, *GRID)
    assert as_one(low).is_contiguous(memory_format=torch.channels_last)  # as all that is carried lies in memory
    for seed in range(classifier.KEYS_REMEMBERED):
        again = learner.learn(*lesson(seed, 4), math.nan, always)
    assert again.parts == classifier.PARTS and again.ids == few.ids
    key, expected = lesson(99, 4)
    assert (again(key.frame.low).argmax(1) == expected.argmax(1)).float().mean() > 0.75


def test_asked_for_other_classes_it_gives_the_unknown_no_chance() -> None:
    learned = Learner().learn(*lesson(0, 3), math.nan, always)
    assert learned.of_classes((0, 1, 2)) is learned
    answer = learned.of_classes((1, 3))(small_low(1)).exp()
    assert answer.shape[1] == 2 and float(answer[:, 1].max()) < 1e-3


def test_training_ends_with_the_step_after_which_it_may_not_go_on() -> None:
    asked: list[int] = []

    def until_the_third() -> bool:
        asked.append(1)
        return len(asked) < 3

    learner = Learner()
    learned = learner.learn(*lesson(0, 4), math.nan, until_the_third)
    assert isinstance(learned, Classifier) and len(asked) == 3 and learner._steps == 3


def test_a_lesson_that_went_on_is_worth_a_whole_one() -> None:
    learner, (key, probabilities) = Learner(), lesson(5, 4)
    hardly_taught = learner.learn(key, probabilities, 0.75, lambda: False)
    learned = learner.go_on(hardly_taught, always)
    assert (hardly_taught.is_taught, learned.is_taught) == (False, True)
    assert (learned.learned_from, learned.agreement, learned.ids) == (5, 0.75, hardly_taught.ids)
    right = [
        float((each(key.frame.low).argmax(1) == probabilities.argmax(1)).float().mean())
        for each in (hardly_taught, learned)
    ]
    assert right[1] > max(right[0], 0.75)  # a guess is right in 0.25
    assert len(learner._lessons) == 1 and learner._steps == classifier.STEPS
    assert learner.go_on(learned, always) is learned  # nothing of it is left


@pytest.mark.parametrize("class_count", [11, 150, 255])
def test_what_is_carried_of_many_classes_is_little_more_than_of_eleven(class_count: int) -> None:
    """Counted in numbers for each place of F_l, on the worst of pictures: noise that shows every class."""
    propagation = JustInTimePropagation(stream_network(), Stranger(class_count))
    logits = torch.randn(1, class_count, 48, 64, generator=torch.Generator().manual_seed(0))
    frame = key_frame(LowFeatures(*[torch.zeros(1, 8, *GRID)] * 3), logits).frame
    prepared = propagation.prepare(Answer(logits), frame)
    ids = prepared.class_ids()
    assert len(ids) == class_count  # nothing that is there is left out
    numbers = prepared.logits.numel() / math.prod(GRID)
    assert numbers <= 1.5 * 11 * 16 and numbers <= NUMBERS_A_PLACE


@torch.no_grad()  # the network may have been made in inference mode, by a test before this one
def test_what_is_carried_gives_the_slow_networks_own_labels() -> None:
    """Classes that the picture does not show are left out, and the ids stay the network's."""
    stranger = Stranger(150)
    frame = moving_frames(1)[0]
    image = torch.from_numpy(frame).permute(2, 0, 1)[None]
    low = stream_network().low_features(image)
    answer = stranger.answer(image, low.low)
    prepared = JustInTimePropagation(stream_network(), stranger).prepare(answer, SeenFrame(0, 0, image, low))
    labels = label_image(prepared.logits, INPUT_SIZE, INPUT_SIZE, prepared.ids)
    own = label_image(answer.logits, INPUT_SIZE, INPUT_SIZE)
    assert len(prepared.class_ids()) < 100
    assert np.median(np.abs(labels.astype(int) - own)) == 0 and labels.max() > 100


def engine_of(stranger: Stranger, interval: int = 2) -> StreamEngine:
    return StreamEngine(
        stream_network(), InlineSlowTrack(stranger), FixedInterval(interval), propagation="just_in_time"
    )


def test_inline_the_same_frames_give_the_same_labels() -> None:
    frames = moving_frames(8)
    runs = [
        [engine.segment(frame, stamp) for stamp, frame in enumerate(frames)]
        for engine in (engine_of(Stranger()), engine_of(Stranger()))
    ]
    assert [without_times(result) for result in runs[0]] == [without_times(result) for result in runs[1]]
    assert all(result.labels.max() < 4 for result in runs[0][1:])


def test_a_warm_up_leaves_no_trace() -> None:
    frames = moving_frames(5)
    engines = engine_of(Stranger()), engine_of(Stranger())
    engines[1].warm_up()
    results = [[engine.segment(frame, stamp) for stamp, frame in enumerate(frames)] for engine in engines]
    assert [without_times(result) for result in results[0]] == [without_times(result) for result in results[1]]


def test_the_warm_up_moves_what_lies_in_memory_as_a_frames_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's kernel is another one for each layout."""
    moved: list[tuple[int, ...]] = []
    engine = engine_of(Stranger())
    fast = propagation_of(engine).fast
    plain = fast.move

    def noted(picture: Tensor, key: LowFeatures, current: LowFeatures) -> tuple[Tensor, Tensor]:
        moved.append(picture.stride())
        return plain(picture, key, current)

    monkeypatch.setattr(fast, "move", noted)
    engine.warm_up()
    count = len(moved)
    for stamp, frame in enumerate(moving_frames(3)):
        engine.segment(frame, stamp)
    assert count > len(COMPILED_FOR) and len(moved) > count
    assert all(stride[1] == 1 for stride in moved), moved


def propagation_of(engine: StreamEngine) -> JustInTimePropagation:
    assert isinstance(engine._propagation, JustInTimePropagation)
    return engine._propagation


@pytest.mark.parametrize("colour", [(0, 0, 0), (200, 30, 10)], ids=["black", "a finger"])
def test_a_covered_lens_teaches_nothing(colour: tuple[int, int, int]) -> None:
    engine = engine_of(Stranger())
    for stamp, frame in enumerate(moving_frames(4)):
        engine.segment(frame, stamp)
    before, weights = propagation_of(engine)._classifier, engine._confidence.weights
    frame = np.full_like(plain_frame(0), colour)
    covered = [engine.segment(frame, 10 + stamp) for stamp in range(6)]
    assert before is not None and propagation_of(engine)._classifier is before
    assert engine._confidence.weights is weights
    assert (covered[-1].labels == covered[-1].labels[0, 0]).all()  # nor does it leave stale labels


def test_a_covered_lens_teaches_nothing_though_the_slow_network_sees_two_things_there() -> None:
    stranger = Stranger(2)
    engine = engine_of(stranger)
    for stamp, frame in enumerate(moving_frames(4)):
        engine.segment(frame, stamp)
    before = propagation_of(engine)._classifier
    stranger.answer = lambda image, low: Answer(halves())  # type: ignore[method-assign]
    for stamp in range(3):
        engine.segment(np.full_like(plain_frame(0), (200, 30, 10)), 10 + stamp)
    assert before is not None and propagation_of(engine)._classifier is before


def test_answers_are_learned_from_in_the_frames_order() -> None:
    """One that was waited for while the slow track was at an earlier frame's comes first."""
    engine = engine_of(Stranger())
    image = torch.from_numpy(moving_frames(1)[0]).permute(2, 0, 1)[None]
    for sequence in (3, 2, 4):
        key = key_frame(small_low(sequence), halves().log().clamp(min=-4), stamp=sequence)
        frame = replace(key.frame, sequence=sequence, image=image)
        engine._lessons.learn(replace(key, frame=frame), always)
    assert len(propagation_of(engine)._learner._lessons) == 2
    state = propagation_of(engine).classifier_state
    assert state is not None and state.stamp == 4


def test_another_scene_starts_it_anew_and_it_tells_how_well_it_agreed() -> None:
    """One picture again and again, of which the slow network then says the opposite."""
    stranger = Stranger(2)
    engine = engine_of(stranger)
    frames = 8 * moving_frames(1)
    for stamp, frame in enumerate(frames):
        engine.segment(frame, stamp)
    propagation = propagation_of(engine)
    before, learner = propagation._classifier, propagation._learner
    assert before is not None and before.agreement > 0.7
    plain = stranger.answer
    stranger.answer = lambda image, low: Answer(-plain(image, low).logits)  # type: ignore[method-assign]
    for stamp, frame in enumerate(frames):
        engine.segment(frame, 100 + stamp)
    after = propagation._classifier
    assert propagation._learner is not learner and after is not None and after.agreement > 0.7


def test_results_tell_the_agreement_with_the_last_answer_and_the_age_of_what_was_learned() -> None:
    """Every second frame is a key frame whose answer is there, and learned from, when the next one comes."""
    engine = engine_of(Stranger())
    results = [engine.segment(frame, STEP * number) for number, frame in enumerate(moving_frames(6))]
    assert {result.propagation for result in results} == {"just_in_time"}
    assert math.isnan(results[0].classifier_age_ms) and math.isnan(results[0].classifier_agreement)
    ages = [round(result.classifier_age_ms / STEP * 1e6) for result in results[1:]]
    assert ages == [1, 2, 1, 2, 1]
    assert [math.isnan(result.classifier_agreement) for result in results[1:]] == [True, True, False, False, False]
    learned = propagation_of(engine).classifier_state
    assert learned is not None and 0 < results[-1].classifier_agreement == learned.agreement <= 1
    assert math.isnan(engine.segment(moving_frames(1)[0], 0).classifier_age_ms)  # the stamps went back


def test_a_classifier_that_is_exchanged_under_a_frames_hands_labels_it_with_its_own_classes() -> None:
    """Whichever of two the frame gets: never the channels of one with the ids of the other."""
    engine = engine_of(Stranger())
    for stamp, frame in enumerate(moving_frames(4)):
        engine.segment(frame, stamp)
    propagation = propagation_of(engine)
    first = propagation._classifier
    assert first is not None
    other = replace(first, ids=tuple(label + 100 for label in first.ids))
    with torch.inference_mode():
        seen = engine._see(moving_frames(1)[0], 5, None)

    class Exchanging:
        def __init__(self, held: Classifier) -> None:
            self.held, self.ids, self.is_taught = held, held.ids, True

        def __call__(self, low: LowFeatures) -> Tensor:
            propagation._classifier = other
            return self.held(low)

    propagation._classifier = Exchanging(first)  # type: ignore[assignment]
    with torch.inference_mode():
        answer = propagation.answer_without_key(seen)
    assert answer is not None and answer.ids == first.ids


def test_a_lesson_that_never_ends_is_told_by_the_next_ones() -> None:
    engine = engine_of(Stranger())
    assert engine._lessons._at_work.acquire(blocking=False)  # as a thread that hangs in it does
    warnings = [
        warning
        for number, frame in enumerate(moving_frames(6))
        for warning in engine.segment(frame, STEP * number).warnings
    ]
    assert any("could not learn" in warning and "earlier key frame" in warning for warning in warnings)


def test_a_reset_keeps_what_was_learned() -> None:
    engine = engine_of(Stranger())
    for stamp, frame in enumerate(moving_frames(4)):
        engine.segment(frame, stamp)
    engine.reset("a test")
    result = engine.segment(moving_frames(5)[4], 10)
    assert result.unlabelled_reason == "" and result.labels.max() < 4


def test_no_key_frame_waits_for_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is there while its training still runs, and a key frame that then comes ends the training."""
    begun = threading.Event()
    held = threading.Event()
    steps: list[int] = []

    def slow_step(*arguments: object) -> None:
        steps.append(1)
        begun.set()
        assert held.wait(60)
        time.sleep(0.02)  # longer than a frame, so that one comes before the lesson is over

    monkeypatch.setattr(classifier, "step", slow_step)
    with ThreadedSlowTrack(Stranger()) as track:
        engine = StreamEngine(stream_network(), track, FixedInterval(1), propagation="just_in_time")
        frames = iter(moving_frames(200) * 50)
        stamps = iter(range(1_000_000))

        def segment() -> SegmentationResult:
            return engine.segment(next(frames), next(stamps))

        segment()
        assert begun.wait(60)
        assert segment().key_is_accurate  # the first frame's answer, though the training has not ended
        held.set()
        wait_until(lambda: segment().slow_track.done >= 4, "later answers")
        engine.close()
    assert len(steps) < 4 * classifier.STEPS


# --- what nobody has taught it ---------------------------------------------------------------------------------------

OWN_CLASSES = stream_network().classes


def own_propagation() -> JustInTimePropagation:
    return JustInTimePropagation(stream_network(), stream_network())


def seen_at(stamp: int, low: LowFeatures) -> SeenFrame:
    image = torch.zeros(1, 3, INPUT_SIZE[1], INPUT_SIZE[0], dtype=torch.uint8)
    return SeenFrame(1, stamp, image, low, time=stamp)


def key_of_two_classes() -> KeyFrame:
    """Of our own network, which says one of its first two classes everywhere."""
    frame = moving_frames(1)[0]
    image = torch.from_numpy(frame).permute(2, 0, 1)[None]
    low = stream_network().low_features(image)
    logits = torch.full((1, len(OWN_CLASSES), *(2 * size for size in GRID)), -9.0)
    logits[:, :2] = halves().log().clamp(min=-9)
    return KeyFrame(SeenFrame(0, 0, image, low), Answer(logits), is_accurate=True)


def taught_by(key: KeyFrame, may_go_on: bool = True) -> JustInTimePropagation:
    propagation = own_propagation()
    prepared = propagation.prepare(key.answer, key.frame)
    propagation.learn(KeyFrame(key.frame, prepared, is_accurate=True), lambda: may_go_on)
    return propagation


@torch.inference_mode()
def test_a_class_that_no_key_frame_has_shown_is_carried_and_told_by_sls_own_classifier() -> None:
    key = key_of_two_classes()
    propagation, everything = taught_by(key), tuple(range(len(OWN_CLASSES)))
    assert propagation.prepare(key.answer, key.frame).class_ids() == everything
    seen = seen_at(STEP, key.frame.low)
    alone = propagation._alone(seen, everything, lambda: torch.zeros(0))
    assert alone is not None
    of_sl = propagation._by_sl(seen, everything)
    assert torch.equal(alone[:, 2:], of_sl[:, 2:]) and not torch.equal(alone[:, :2], of_sl[:, :2])


@torch.inference_mode()
@pytest.mark.parametrize(("may_go_on", "stamp"), [(False, STEP), (True, STALE_AFTER + 1)], ids=["untaught", "stale"])
def test_who_was_hardly_taught_or_hears_nothing_of_the_road_is_not_asked(may_go_on: bool, stamp: int) -> None:
    key = key_of_two_classes()
    propagation, everything = taught_by(key, may_go_on), tuple(range(len(OWN_CLASSES)))
    seen = seen_at(stamp, key.frame.low)
    alone = propagation._alone(seen, everything, lambda: torch.zeros(0))
    assert alone is not None and torch.equal(alone, propagation._by_sl(seen, everything))


@torch.inference_mode()
def test_a_class_that_was_hardly_seen_is_told_by_sls_own_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "ENOUGH_SEEN", 0.01)  # one place of so small a picture is 0.005
    key = key_of_two_classes()
    logits = key.answer.logits.clone()
    logits[0, :, 0, 0] = -9
    logits[0, 5, 0, 0] = 0  # a stray place
    propagation, everything = taught_by(replace(key, answer=Answer(logits))), tuple(range(len(OWN_CLASSES)))
    seen = seen_at(STEP, key.frame.low)
    alone = propagation._alone(seen, everything, lambda: torch.zeros(0))
    learned = propagation._classifier
    assert alone is not None and learned is not None and 5 in learned.ids
    assert torch.equal(alone[:, 5], propagation._by_sl(seen, everything)[:, 5])


@pytest.mark.parametrize("is_taught", [False, True])
def test_a_network_of_the_same_classes_that_also_says_void_is_carried(is_taught: bool) -> None:
    """As the published CamVid networks of twelve outputs do."""

    class WithVoid(Stranger):
        classes = OWN_CLASSES

        def __init__(self) -> None:
            self.colours = stream_network().colours

        def answer(self, image: Tensor, low: Tensor) -> Answer:
            logits = super().answer(image, low).logits
            void = torch.full_like(logits[:, :1], -9)
            void[..., :2] = 9
            return Answer(torch.cat([logits, void], dim=1), ids=(*range(len(OWN_CLASSES)), 255))

    engine = engine_of(WithVoid())
    engine.warm_up()
    for number, frame in enumerate((8 if is_taught else 3) * moving_frames(1)):
        result = engine.segment(frame, number * STEP)
        assert not result.warnings and not result.unlabelled_reason
    assert (result.labels[:, :2] == 255).all() and (result.labels[:, 8:] != 255).all()


@torch.inference_mode()
def test_a_stranger_who_was_hardly_learned_from_leaves_a_frame_without_labels() -> None:
    propagation, (key, _) = JustInTimePropagation(stream_network(), Stranger()), lesson(0, 4)
    propagation.learn(replace(key, answer=Answer(key.answer.logits.log())), lambda: False)
    seen = seen_at(STEP, key.frame.low)
    assert propagation.answer_without_key(seen) is None
    propagation.learn_more(always)
    assert propagation.answer_without_key(seen) is not None


def test_a_slow_network_of_half_precision_is_carried() -> None:
    plain, stranger = Stranger(), Stranger()
    stranger.answer = lambda image, low: Answer(plain.answer(image, low).logits.half())  # type: ignore[method-assign]
    engine = engine_of(stranger)
    engine.warm_up()
    results = [engine.segment(frame, number * STEP) for number, frame in enumerate(moving_frames(8))]
    assert not any(result.warnings or result.unlabelled_reason for result in results[1:])
    assert propagation_of(engine)._classifier is not None


@pytest.mark.parametrize("slow", [stream_network, Stranger])
def test_the_warm_up_asks_the_classifier(slow: Callable[[], SlowNetwork], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    plain = Classifier.__call__

    def noted(self: Classifier, low: LowFeatures) -> Tensor:
        asked.append(threading.get_ident())
        return plain(self, low)

    monkeypatch.setattr(Classifier, "__call__", noted)
    StreamEngine(stream_network(), InlineSlowTrack(slow()), FixedInterval(2), propagation="just_in_time").warm_up()
    assert threading.get_ident() in asked


@torch.inference_mode()
def test_a_strangers_new_class_is_not_overruled_by_who_does_not_know_it() -> None:
    learner, low = Learner(), small_low(3)
    propagation = JustInTimePropagation(stream_network(), Stranger())
    propagation._classifier = learner.learn(key_frame(low, halves(), (0, 1)), halves(), math.nan, always)
    carried = torch.randn(1, 3, *GRID)
    alone = propagation._alone(seen_at(0, low), (0, 1, 3), lambda: carried)
    assert alone is not None
    assert torch.equal(alone[:, 2], enlarge(carried, alone.shape[-2:])[:, 2])


def test_who_was_hardly_taught_is_not_taken_for_of_another_scene() -> None:
    key = key_of_two_classes()
    propagation = taught_by(key, may_go_on=False)
    learner = propagation._learner
    turned = torch.cat([key.answer.logits[:, 1:2], key.answer.logits[:, :1], key.answer.logits[:, 2:]], dim=1)
    other = KeyFrame(key.frame, propagation.prepare(Answer(turned), key.frame), is_accurate=True)
    with torch.inference_mode():
        propagation.learn(other, lambda: False)
        assert propagation._learner is learner
        for _ in range(classifier.STEPS):
            propagation.learn(other, lambda: False)
        again = KeyFrame(key.frame, propagation.prepare(key.answer, key.frame), is_accurate=True)
        propagation.learn(again, lambda: False)
    assert propagation._learner is not learner


def test_what_hardly_moves_on_the_first_key_frame_is_not_blown_up_later() -> None:
    low = small_low(5)
    low.low[:, 0] *= 1e-4
    learner = Learner()
    learner.learn(key_frame(low, halves()), halves(), math.nan, always)
    assert learner._spread.min() >= classifier.SMALLEST_SPREAD * learner._spread.mean() * 0.99


def test_of_a_large_picture_some_places_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "PLACES_REMEMBERED", 20)
    learner = Learner()
    learner.learn(key_frame(small_low(6), halves()), halves(), math.nan, always)
    (remembered,) = learner._lessons
    assert len(remembered.inputs) == len(remembered.targets) == 20 < GRID[0] * GRID[1]

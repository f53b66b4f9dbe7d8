"""Training: exact labels of pairs, frozen parts that stay, batches that may be divided, recipes that read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_trees import write_picture
from double_precision import ROUNDING, DoubleSamples, float_is_double
from small_networks import small_config, small_network
from torch import nn
from training_setup import ONE_STAGE_OR_ALL

from lowlat_seg_ros.data.classes import BICYCLIST, CAR, PEDESTRIAN, ROAD, SKY, UNLABELLED
from lowlat_seg_ros.models.config import load_config
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training import pairs, run
from lowlat_seg_ros.training.augmentation import noisy, random_clouds, random_noise, random_view
from lowlat_seg_ros.training.base import BaseStage, class_weights, label_loss
from lowlat_seg_ros.training.frames import TrainingPicture
from lowlat_seg_ros.training.loop import StageData, StageFolder, train
from lowlat_seg_ros.training.pairs import (
    Drive,
    MovingObject,
    earlier_frame,
    filmed_pair,
    synthesise_pair,
    without_objects,
)
from lowlat_seg_ros.training.plan import PlanError, StagePlan, load_plan
from lowlat_seg_ros.training.propagation import PropagationStage
from lowlat_seg_ros.training.run_state import RunError
from lowlat_seg_ros.training.samples import MakeSample, Samples
from lowlat_seg_ros.training.schedule import ScheduleStage, change_loss
from lowlat_seg_ros.training.small import SmallStage
from lowlat_seg_ros.training.step import Batch, Hardware, TrainingStage

CONFIG_FOLDER = Path(__file__).parents[1] / "config"
CONFIG = small_config()
PLAN = StagePlan(
    epochs=2, batch_size=2, learning_rate=1e-3, backbone_learning_rate=1e-3, weight_decay=0.0,
    crop=(64, 48), scales=(1.0, 1.2), seed=3, workers=0,
)  # fmt: skip


def street_picture(seed: int, size: tuple[int, int] = (96, 72)) -> TrainingPicture:
    """Sky above road with a car on it, each in its own noise; the label can be told from the colour."""
    width, height = size
    random = np.random.default_rng(seed)
    labels = np.full((height, width), ROAD, np.uint8)
    labels[: height // 2] = SKY
    labels[height // 2 : height // 2 + 14, width // 3 : width // 3 + 20] = CAR
    colours = np.zeros((256, 3), np.int64)
    colours[[SKY, ROAD, CAR]] = [(200, 210, 230), (80, 80, 80), (180, 20, 20)]
    image = colours[labels] + random.integers(-20, 20, (height, width, 3))
    return TrainingPicture(f"street{seed}", image.clip(0, 255).astype(np.uint8), labels)


PICTURES = [street_picture(seed) for seed in range(4)]
CLASS_PIXELS = sum(np.bincount(picture.labels.ravel(), minlength=256) for picture in PICTURES)
WEIGHTS = class_weights(np.asarray(CLASS_PIXELS), CONFIG.class_count)


def maker_for(stage: str) -> MakeSample:
    return run.maker_for(stage, CONFIG, PLAN)


def samples_for(stage: str) -> Samples:
    return Samples(PICTURES, maker_for(stage), PLAN.seed)


def fresh_network(stage: str) -> SegmentationNetwork:
    torch.manual_seed(0)
    return SegmentationNetwork(small_config("two_networks", subpixels=2) if stage == "small" else CONFIG)


STAGES: dict[str, Callable[[torch.Tensor], TrainingStage]] = {
    "base": BaseStage,
    "small": SmallStage,
    "propagation": PropagationStage,
    "schedule": lambda weights: ScheduleStage(),
}
LEARNING_PARTS = {
    "base": ("tracks.", "classifier.", "fast_classifier."),
    "small": ("tracks.low_network.", "fast_classifier."),
    "propagation": ("kernel_predictor.", "adapt_net.", "fusion."),
    "schedule": ("deviation_predictor.",),
}


class WithoutStatistics:
    """A stage whose BatchNorms keep their running averages, as if they were frozen."""

    def __init__(self, stage: TrainingStage) -> None:
        self.stage, self.weight, self.logits = stage, stage.weight, stage.logits
        self.trained_modules = stage.trained_modules

    def loss(self, network: SegmentationNetwork, batch: Batch) -> torch.Tensor:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self.stage.loss(network, batch)


def train_in(folder: Path, network: SegmentationNetwork, name: str, plan: StagePlan = PLAN, **changes: Any) -> None:
    """Train a stage on the pictures above; ``changes`` are the folder's or the hardware's."""
    hardware = Hardware(**{key: changes.pop(key) for key in ("parts", "mixed_precision") if key in changes})
    train(network, STAGES[name](WEIGHTS), StageData(samples_for(name)), plan, StageFolder(folder, **changes), hardware)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_changes_its_own_parts_and_nothing_else(name: str, tmp_path: Path) -> None:
    network = fresh_network(name)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    train_in(tmp_path, network, name, dataclasses.replace(PLAN, epochs=1))
    changed = {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}
    own = {key for key in before if key.startswith(LEARNING_PARTS[name])}
    assert changed <= own
    assert {key for key in own if key.endswith(("weight", "running_mean"))} <= changed


def test_training_learns(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, epochs=6, learning_rate=0.02)
    train_in(tmp_path, fresh_network("base"), "base", plan)
    names, *lines = (tmp_path / "epochs.csv").read_text().splitlines()
    losses = [float(line.split(",")[1]) for line in lines]
    assert names == "epoch,loss"
    assert len(losses) == 6 and losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_later_frame_of_a_pair_keeps_its_exact_labels(seed: int) -> None:
    picture = street_picture(seed, (160, 120))
    pair = synthesise_pair(picture.image, picture.labels, (96, 72), (1.0, 1.0), np.random.default_rng(seed))
    assert pair.key.shape == pair.middle.shape == pair.later.shape == (72, 96, 3) and pair.labels.shape == (72, 96)
    brightness = pair.later.astype(np.int64)
    is_car = brightness[..., 0] - brightness[..., 2] > 40
    assert (is_car == (pair.labels == CAR)).mean() > 0.95


def test_a_pair_smaller_than_asked_for_is_continued_unlabelled() -> None:
    picture = street_picture(0)
    pair = synthesise_pair(picture.image, picture.labels, (128, 80), (1.0, 1.0), np.random.default_rng(0))
    assert pair.labels.shape == (80, 128) and (pair.labels[:, 96:] == UNLABELLED).all()


def test_driving_forward_moves_places_away_from_the_vanishing_point() -> None:
    image, labels = np.zeros((100, 200, 3), np.uint8), np.full((100, 200), ROAD, np.uint8)
    image[80:84, 98:102] = 255  # a mark on the road, straight ahead
    drive = Drive(vanishing_point=(100, 40), approach=0.004, street_width=5, turn=(0, 0))
    earlier = earlier_frame(image, labels == SKY, image, drive, [], 1.0)
    assert 40 < np.argwhere(earlier[..., 0] > 128)[:, 0].mean() < 80


def test_a_moving_object_stood_elsewhere_and_the_street_behind_it_is_restored() -> None:
    image, labels = np.full((60, 80, 3), 90, np.uint8), np.full((60, 80), ROAD, np.uint8)
    image[20:40, 40:60], labels[20:40, 40:60] = 250, CAR
    thing = MovingObject(labels == CAR, centre=(49.5, 29.5), shift=(20.0, 0.0), growth=1.0)
    still = Drive(vanishing_point=(40, 30), approach=0, street_width=5, turn=(0, 0))
    earlier = earlier_frame(image, labels == SKY, without_objects(image, [thing]), still, [thing], 1.0)
    assert (earlier[20:40, 21:39, 0] > 240).all() and (earlier[20:40, 42:60, 0] < 120).all()


def filmed_picture(folder: Path, count: int) -> TrainingPicture:
    """A picture after ``count`` frames of its drive, each of which shows in its red how many frames back it is."""
    folder.mkdir()
    for back in range(1, count + 1):
        write_picture(folder / f"{back}.png", np.full((72, 96, 3), (20 * back, 100, 100), np.uint8))
    labels = street_picture(0).labels
    earlier = tuple(folder / f"{back}.png" for back in range(1, count + 1))
    return TrainingPicture("filmed", np.full((72, 96, 3), (0, 100, 100), np.uint8), labels, earlier)


@pytest.mark.parametrize("count", [10, 4, 2])
def test_pairs_of_a_video_are_2_to_10_frames_apart(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "random_tint", lambda image, random: image)
    picture = filmed_picture(tmp_path / "frames", count)
    found = set()
    for seed in range(80):
        pair = filmed_pair(picture, (96, 72), (1.0, 1.0), np.random.default_rng(seed))
        found.add(tuple(int(frame[0, 0, 0]) // 20 for frame in (pair.key, pair.middle, pair.later)))
        assert set(np.unique(pair.labels)) == {SKY, ROAD, CAR}
    assert found == {(back, back // 2, 0) for back in range(2, count + 1)}


@pytest.mark.parametrize("seed", range(3))
def test_the_frames_of_a_filmed_pair_are_mirrored_cropped_and_tinted_alike(seed: int, tmp_path: Path) -> None:
    """A camera that stands still sees the same picture three times, and so must the network."""
    still = street_picture(1)
    write_picture(tmp_path / "still.png", still.image)
    picture = TrainingPicture("still", still.image, still.labels, (tmp_path / "still.png",) * 10)
    pair = filmed_pair(picture, (80, 60), (1.0, 1.1), np.random.default_rng(seed))
    assert pair.key.shape == (60, 80, 3) and pair.labels.shape == (60, 80)
    assert np.array_equal(pair.key, pair.later) and np.array_equal(pair.middle, pair.later)
    redness = pair.later[..., 0].astype(int) - pair.later[..., 2]
    assert redness[pair.labels == CAR].mean() > redness[pair.labels == ROAD].mean() + 20


def test_what_moves_by_itself_is_told_by_the_classes_names() -> None:
    assert pairs.CAMVID_MOTIONS == ((SKY,), (CAR, PEDESTRIAN, BICYCLIST))
    cityscapes = load_config(CONFIG_FOLDER / "models" / "paper.yaml").classes
    motions = pairs.motions_of(cityscapes)
    assert [cityscapes[index] for index in motions.sky] == ["sky"]
    assert [cityscapes[index] for index in motions.movable] == [
        "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ONE_STAGE_OR_ALL)
def test_a_batch_in_two_parts_gives_the_same_weights(name: str, tmp_path: Path) -> None:
    """Up to rounding, with BatchNorm's statistics left alone: they are those of a part."""
    start = small_network().double().state_dict()
    data = StageData(DoubleSamples(PICTURES, maker_for(name), PLAN.seed))
    moves = []
    for parts in (1, 2):
        network, stage = small_network().double(), WithoutStatistics(STAGES[name](WEIGHTS.double()))
        with float_is_double():
            train(network, stage, data, PLAN, StageFolder(tmp_path / str(parts)), Hardware(parts=parts))
        moves.append(torch.cat([(tensor - start[key]).flatten() for key, tensor in network.named_parameters()]))
    assert moves[0].norm() > 1e-3
    assert (moves[0] - moves[1]).norm() < ROUNDING * moves[0].norm()


@pytest.mark.parametrize("name", ONE_STAGE_OR_ALL)
def test_half_precision_learns_about_the_same(name: str, tmp_path: Path) -> None:
    """As on a GPU; the CPU's bfloat16 takes the same ways.

    Each layer rounds by less than a 256th, and independent roundings add up as the root of their number.
    """
    layers = sum(isinstance(module, nn.Conv2d) for module in fresh_network(name).modules())
    losses = []
    for precision in (None, torch.bfloat16):
        folder = tmp_path / str(precision)
        train_in(folder, fresh_network(name), name, mixed_precision=precision)
        losses.append([float(line.split(",")[1]) for line in (folder / "epochs.csv").read_text().splitlines()[1:]])
    assert losses[1] == pytest.approx(losses[0], rel=layers**0.5 / 256) and losses[0] != losses[1]


@pytest.mark.parametrize(
    ("plan", "parts", "sentence"),
    [
        (dataclasses.replace(PLAN, batch_size=8), 1, "there are 4 pictures to train on and batch_size is 8"),
        (dataclasses.replace(PLAN, batch_size=3), 2, "batch_size is 3; expected a multiple of 2"),
    ],
)
def test_a_batch_that_cannot_be_made_is_named(plan: StagePlan, parts: int, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=sentence):
        train_in(tmp_path, fresh_network("base"), "base", plan, parts=parts)


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    network = fresh_network("base")
    with torch.no_grad():
        next(network.classifier.parameters()).fill_(math.nan)
    with pytest.raises(RunError, match="the loss is (nan|inf) in epoch"):
        train_in(tmp_path, network, "base", PLAN)


def test_a_batch_without_a_label_teaches_nothing() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = label_loss(logits, torch.full((1, 4, 4), UNLABELLED), torch.ones(3))
    loss.backward()
    assert loss == 0 and logits.grad is not None and not logits.grad.any()


def test_samples_depend_on_seed_epoch_and_index_alone() -> None:
    samples = samples_for("propagation")
    for first, again in zip(samples[(1, 2)], samples[(1, 2)], strict=True):
        assert torch.equal(first, again)
    assert not torch.equal(samples[(1, 2)][0], samples[(2, 2)][0])


@pytest.mark.parametrize("crop", [(32, 32), (150, 110)])
def test_views_keep_pictures_and_labels_together(crop: tuple[int, int]) -> None:
    picture = street_picture(1)
    image, labels = random_view(picture.image, picture.labels, crop, (1.0, 1.0), np.random.default_rng(5))
    assert image.shape == (crop[1], crop[0], 3) and labels.shape == (crop[1], crop[0])
    redness = image[..., 0].astype(int) - image[..., 2]
    assert redness[labels == CAR].mean() > redness[labels == ROAD].mean() + 20


def test_clouds_are_in_the_sky_alone_and_in_some_skies_only() -> None:
    image, is_sky = np.full((48, 64, 3), 128, np.uint8), np.zeros((48, 64), bool)
    is_sky[:20] = True
    views = [random_clouds(image, is_sky, np.random.default_rng(seed)) for seed in range(40)]
    assert all((view[20:] == 128).all() for view in views)
    assert 10 < sum(view[:20].std() > 1 for view in views) < 35


def test_noise_is_another_one_in_every_frame_and_absent_from_some_pictures() -> None:
    random = np.random.default_rng(0)
    deviations = [random_noise(random) for _ in range(40)]
    assert 10 < deviations.count(0.0) < 30 and max(deviations) > 3
    image = np.full((48, 64, 3), 128, np.uint8)
    first, second = noisy(image, 4.0, random), noisy(image, 4.0, random)
    assert first.std() == pytest.approx(4.0, rel=0.1) and (first != second).mean() > 0.8
    assert noisy(image, 0.0, random) is image


def test_rare_classes_weigh_more() -> None:
    assert WEIGHTS[CAR] > WEIGHTS[ROAD] and WEIGHTS.mean() == pytest.approx(1.0)


def test_what_is_learnt_of_a_place_is_the_changed_fraction_of_its_pixels() -> None:
    has_changed = torch.zeros(1, 4, 8, dtype=torch.bool)
    has_changed[0, 0, :2] = True
    logits = torch.zeros(1, 1, 2, 4, requires_grad=True)
    change_loss(logits, has_changed).backward()
    assert logits.grad is not None
    assert (torch.sigmoid(logits) - logits.grad * logits.numel()).flatten().tolist() == [0.5, *[0.0] * 7]


def test_the_shipped_recipe_reads() -> None:
    for stage in STAGES:
        assert load_plan(CONFIG_FOLDER / "training" / "default.yaml", stage, epochs=7).epochs == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: {epochs: 1}", "missing or unknown entries: .*batch_size"),
        ("other: {}", "no readable section 'base'"),
        ("[", "no readable section 'base'"),
    ],
)
def test_a_bad_recipe_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(PlanError, match=message):
        load_plan(path, "base")

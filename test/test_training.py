"""Training: exact labels of synthesised pairs, frozen parts that stay, a resumed run that ends at the same weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import small_config

from lowlat_seg_ros.data.camvid import LabelledImage
from lowlat_seg_ros.data.classes import CAR, ROAD, SKY, UNLABELLED
from lowlat_seg_ros.network.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.augmentation import random_view
from lowlat_seg_ros.training.base import BaseStage, class_weights, still_maker
from lowlat_seg_ros.training.loop import Stage, train
from lowlat_seg_ros.training.pair_samples import pair_maker
from lowlat_seg_ros.training.pairs import Drive, MovingObject, earlier_frame, synthesise_pair, without_objects
from lowlat_seg_ros.training.plan import PlanError, StagePlan, load_plan
from lowlat_seg_ros.training.propagation import PropagationStage
from lowlat_seg_ros.training.samples import Samples
from lowlat_seg_ros.training.schedule import ScheduleStage, deviation

CONFIG_FOLDER = Path(__file__).parents[1] / "config"
CONFIG = small_config()
PLAN = StagePlan(
    epochs=2, batch_size=2, learning_rate=1e-3, backbone_learning_rate=1e-3, weight_decay=0.0,
    crop=(64, 48), scales=(1.0, 1.2), seed=3, workers=0,
)  # fmt: skip


def street_picture(seed: int, size: tuple[int, int] = (96, 72)) -> LabelledImage:
    """Sky above road with a car on it, each in its own noise; the label can be told from the colour."""
    width, height = size
    random = np.random.default_rng(seed)
    labels = np.full((height, width), ROAD, np.uint8)
    labels[: height // 2] = SKY
    labels[height // 2 : height // 2 + 14, width // 3 : width // 3 + 20] = CAR
    colours = np.zeros((256, 3), np.int64)
    colours[[SKY, ROAD, CAR]] = [(200, 210, 230), (80, 80, 80), (180, 20, 20)]
    image = colours[labels] + random.integers(-20, 20, (height, width, 3))
    return LabelledImage(f"street{seed}", image.clip(0, 255).astype(np.uint8), labels)


PICTURES = [street_picture(seed) for seed in range(4)]
WEIGHTS = class_weights(PICTURES, CONFIG.class_count)


def samples_for(stage: str) -> Samples:
    maker = still_maker(CONFIG, PLAN) if stage == "base" else pair_maker(CONFIG, PLAN)
    return Samples(PICTURES, maker, PLAN.seed)


def fresh_network() -> SegmentationNetwork:
    torch.manual_seed(0)
    return SegmentationNetwork(CONFIG)


STAGES: dict[str, Stage] = {
    "base": BaseStage(WEIGHTS),
    "propagation": PropagationStage(WEIGHTS),
    "schedule": ScheduleStage(),
}
LEARNING_PARTS = {
    "base": ("tracks.", "classifier.", "fast_classifier."),
    "propagation": ("kernel_predictor.", "adapt_net.", "fusion."),
    "schedule": ("deviation_predictor.",),
}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_changes_its_own_parts_and_nothing_else(name: str, tmp_path: Path) -> None:
    network = fresh_network()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    train(network, STAGES[name], samples_for(name), dataclasses.replace(PLAN, epochs=1), tmp_path)
    changed = {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}
    own = {key for key in before if key.startswith(LEARNING_PARTS[name])}
    assert changed <= own
    assert {key for key in own if key.endswith(("weight", "running_mean"))} <= changed


@pytest.mark.parametrize("name", STAGES)
def test_a_resumed_run_ends_at_the_same_weights(name: str, tmp_path: Path) -> None:
    whole, resumed = fresh_network(), fresh_network()
    train(whole, STAGES[name], samples_for(name), PLAN, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(resumed, InterruptedAt(STAGES[name], 3), samples_for(name), PLAN, tmp_path / "resumed")
    again = fresh_network()
    train(again, STAGES[name], samples_for(name), PLAN, tmp_path / "resumed")
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key


class InterruptedAt:
    """A stage that is stopped, as by Ctrl-C, in the middle of its n-th step."""

    def __init__(self, stage: Stage, step: int) -> None:
        self.stage, self.steps_left = stage, step
        self.trained_modules = stage.trained_modules

    def loss(self, network: SegmentationNetwork, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        self.steps_left -= 1
        if self.steps_left == 0:
            raise KeyboardInterrupt
        return self.stage.loss(network, batch)


def test_training_learns(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, epochs=6, learning_rate=0.02)
    train(fresh_network(), STAGES["base"], samples_for("base"), plan, tmp_path)
    losses = [float(line.split()[1]) for line in (tmp_path / "loss.txt").read_text().splitlines()]
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
    earlier = earlier_frame(image, labels, image, drive, [], 1.0)
    assert 40 < np.argwhere(earlier[..., 0] > 128)[:, 0].mean() < 80


def test_a_moving_object_stood_elsewhere_and_the_street_behind_it_is_restored() -> None:
    image, labels = np.full((60, 80, 3), 90, np.uint8), np.full((60, 80), ROAD, np.uint8)
    image[20:40, 40:60], labels[20:40, 40:60] = 250, CAR
    thing = MovingObject(labels == CAR, centre=(49.5, 29.5), shift=(20.0, 0.0), growth=1.0)
    still = Drive(vanishing_point=(40, 30), approach=0, street_width=5, turn=(0, 0))
    earlier = earlier_frame(image, labels, without_objects(image, [thing]), still, [thing], 1.0)
    assert (earlier[20:40, 21:39, 0] > 240).all() and (earlier[20:40, 42:60, 0] < 120).all()


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


def test_rare_classes_weigh_more() -> None:
    assert WEIGHTS[CAR] > WEIGHTS[ROAD] and WEIGHTS.mean() == pytest.approx(1.0)


def test_deviation_is_the_fraction_of_changed_pixels() -> None:
    key, later = torch.zeros(2, 2, 4, dtype=torch.long), torch.zeros(2, 2, 4, dtype=torch.long)
    later[1, 0, :2] = 1
    assert deviation(key, later).tolist() == [0.0, 0.25]


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

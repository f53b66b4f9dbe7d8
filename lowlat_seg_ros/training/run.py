"""A training run: a folder with one subfolder a stage, each stage starting from the checkpoint of the one before."""

from __future__ import annotations

from pathlib import Path

import torch

from lowlat_seg_ros.data.camvid import CamVid, LabelledImage
from lowlat_seg_ros.network.checkpoint import load_trainable, save_checkpoint
from lowlat_seg_ros.network.config import ModelConfig
from lowlat_seg_ros.network.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.base import BaseStage, class_weights, still_maker
from lowlat_seg_ros.training.imagenet import load_imagenet_weights
from lowlat_seg_ros.training.loop import Stage, train
from lowlat_seg_ros.training.pair_samples import pair_maker
from lowlat_seg_ros.training.plan import StagePlan
from lowlat_seg_ros.training.propagation import PropagationStage
from lowlat_seg_ros.training.samples import Samples
from lowlat_seg_ros.training.schedule import ScheduleStage

STAGES = ("base", "propagation", "schedule")
CHECKPOINT_FOLDER = "checkpoint"


def run_stage(stage: str, config: ModelConfig, plan: StagePlan, data: Path, run: Path) -> Path:
    """Train one stage on CamVid's training split and return its checkpoint's folder.

    A stage that was interrupted goes on after its last whole epoch; one that is done only writes its checkpoint again.

    Args:
        stage: one of STAGES.
        config: the network to train; the later stages must be given the same one.
        plan: the stage's recipe.
        data: CamVid's folder, with ``train/`` and ``trainannot/``.
        run: where the stages' folders are; made if missing.

    Raises:
        DataError: the data are not as they should be.
        CheckpointError: the stage before has not been run.
        WeightsError: the backbone's ImageNet weights cannot be had.
    """
    # Everything is read once: bad data are named before training starts, and no epoch waits for the disk.
    pictures = list(CamVid(data, "train"))
    torch.manual_seed(plan.seed)
    network = starting_network(stage, config, run)
    maker = still_maker(config, plan) if stage == "base" else pair_maker(config, plan)
    train(network, build_stage(stage, pictures, config), Samples(pictures, maker, plan.seed), plan, run / stage)
    folder = run / stage / CHECKPOINT_FOLDER
    save_checkpoint(network, folder, card_of(stage, config, plan))
    return folder


def starting_network(stage: str, config: ModelConfig, run: Path) -> SegmentationNetwork:
    """What the stage starts from: ImageNet weights, or the stage before."""
    if stage == STAGES[0]:
        network = SegmentationNetwork(config)
        load_imagenet_weights(network)
    else:
        network = load_trainable(run / STAGES[STAGES.index(stage) - 1] / CHECKPOINT_FOLDER)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs


def build_stage(stage: str, pictures: list[LabelledImage], config: ModelConfig) -> Stage:
    if stage == "schedule":
        return ScheduleStage()
    weights = class_weights(pictures, config.class_count)
    return BaseStage(weights) if stage == "base" else PropagationStage(weights)


def card_of(stage: str, config: ModelConfig, plan: StagePlan) -> str:
    """A model card that says what is known here; whoever ships the checkpoint adds its figures."""
    return (
        f"# {config.name}\n\n"
        f"Trained up to the stage `{stage}` on CamVid's training split (research use only), with {plan}.\n"
    )

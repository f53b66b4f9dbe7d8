"""A training run: a folder with one subfolder a stage, each stage starting from the checkpoint of the one before."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lowlat_seg_ros.data.label_classes import LabelClasses, numbered_classes
from lowlat_seg_ros.evaluation.classes_by_name import ClassesByName
from lowlat_seg_ros.models.checkpoint import load_trainable, locate, save_checkpoint
from lowlat_seg_ros.models.comparisons import Comparisons
from lowlat_seg_ros.models.config import ModelConfig, TwoNetworksConfig
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.slow.label_description import read_label_classes
from lowlat_seg_ros.training.base import BaseStage, class_weights, still_maker, whole_still_maker
from lowlat_seg_ros.training.card import StageRecord, card_with
from lowlat_seg_ros.training.data_plan import DataPlan
from lowlat_seg_ros.training.data_set import DataSet, find_data
from lowlat_seg_ros.training.deviation_calibration import calibrate_deviation
from lowlat_seg_ros.training.frames import Pictures, TrainingFrame
from lowlat_seg_ros.training.loop import StageData, StageFolder, steps_of_epoch, train
from lowlat_seg_ros.training.pair_samples import pair_maker
from lowlat_seg_ros.training.plan import PlanError, StagePlan
from lowlat_seg_ros.training.processes import done_by_leader
from lowlat_seg_ros.training.propagation import PropagationStage
from lowlat_seg_ros.training.run_state import STATE_FILE, Recipe, RunError, first_difference
from lowlat_seg_ros.training.samples import MakeSample, Samples
from lowlat_seg_ros.training.schedule import ScheduleStage
from lowlat_seg_ros.training.small import SmallStage
from lowlat_seg_ros.training.start import IMAGENET, NOTHING, starting_network
from lowlat_seg_ros.training.step import Hardware, TrainingStage
from lowlat_seg_ros.training.survey import survey
from lowlat_seg_ros.training.tables import TablesStage

STAGES = ("base", "small", "propagation", "schedule")
SINGLE_FRAME_STAGES = STAGES[:2]  # those that decide how a single frame is labelled
TABLES = "tables"  # what the paper's tables compare a trained model with; no stage of the model's own
STARTING_ELSEWHERE = ("small", TABLES)  # may take a trained model that is not of this run
CHECKPOINT_FOLDER = "checkpoint"
SURVEY_FILE = "survey.json"


@dataclass(frozen=True)
class Run:
    """All that a training run is told.

    Args:
        folder: where the stages' folders are; made if missing.
        config: the network to train; the same for all stages.
        plans: each stage's recipe, by its name.
        data: what to train on.
        start: what the base stage starts from, as ``starting_network`` takes it.
        goes_on: a stage that was interrupted continues after its last whole epoch.
        command: how the run was asked for, for the model card.
        hardware: what to train on.
        scores_epochs: frames that are held out are scored after each epoch.
    """

    folder: Path
    config: ModelConfig
    plans: Mapping[str, StagePlan]
    data: DataPlan
    start: str = IMAGENET
    goes_on: bool = False
    command: str = "lowlat-seg train"
    hardware: Hardware = field(default_factory=Hardware)
    scores_epochs: bool = True


def stages_of(config: ModelConfig, stages: Sequence[str] = STAGES) -> list[str]:
    """Those of the stages that a network has: an Sl that Sh goes on from is trained with it."""
    has_own_low = isinstance(config.tracks, TwoNetworksConfig)
    return [stage for stage in stages if has_own_low or stage != "small"]


class Surveyed(NamedTuple):
    """A data set whose files have all been read once."""

    data: DataSet
    class_pixels: NDArray[np.int64]


def train_stages(run: Run, stages: Sequence[str]) -> Path:
    """Train the stages one after the other and return the last one's checkpoint folder.

    Raises:
        DataError: the data are not as they should be.
        PlanError: a plan does not fit the data or the hardware.
        RunError: the folder holds another run, or one that was not to go on; it cannot be written; no stage before.
        CheckpointError: the stage before left no checkpoint that fits.
        WeightsError: the backbone's ImageNet weights cannot be had.
    """
    processes = run.hardware.processes
    prepared = done_by_leader(processes, lambda: prepare(run, stages))
    for stage in stages:
        train_stage(run, stage, prepared)
    return run.folder / stages[-1] / CHECKPOINT_FOLDER


def prepare(run: Run, stages: Sequence[str]) -> Surveyed:
    """Everything that can be wrong is found out before training starts."""
    if "small" in stages and "small" not in stages_of(run.config):
        raise PlanError(
            "Sh of a shared backbone goes on where Sl ends; expected tracks of two networks to train Sl alone"
        )
    for stage in stages:
        check_folder(run, stage)
    check_stage_before(run, stages[0])
    found = surveyed(run)
    for stage in stages:
        steps_of_epoch(len(frames_for(stage, found.data)), run.plans[stage], run.hardware)
    if STAGES[0] in stages:
        check_batch_norm(run.plans[STAGES[0]], run.hardware)
    return found


def surveyed(run: Run) -> Surveyed:
    """The data, every file of them read once; what is left out or assumed is said on stderr. Raises what those say."""
    data = find_data(run.data, run.config.class_count, classes_of_labels(run))
    class_pixels = survey(data, run.folder / SURVEY_FILE)
    for line in data.notes.report_lines():
        print(line, file=sys.stderr)
    return Surveyed(data, class_pixels)


def classes_of_labels(run: Run) -> LabelClasses:
    """What the labels hold: the model's ids and colours, or what ``classes`` of the plan says, matched by name."""
    config = run.config
    if run.data.classes is None:
        return numbered_classes(config.class_count, names=config.classes, colours=config.colours)
    labels = read_label_classes(run.data.classes)
    by_name = ClassesByName.match(config.classes, labels.names)
    for sentence in by_name.sentences():
        print(sentence, file=sys.stderr)
    return labels.renamed(config.classes, by_name.ids[: len(labels.names)].tolist())


def check_folder(run: Run, stage: str) -> None:
    """Raises RunError if the folder holds work of this stage which was not asked to go on."""
    state = run.folder / stage / STATE_FILE
    if state.exists() and not run.goes_on:
        raise RunError(
            f"{run.folder} already holds the stage {stage}; expected --resume to go on with it, or another --out"
        )


def check_batch_norm(plan: StagePlan, hardware: Hardware) -> None:
    """Raises PlanError if BatchNorm saw one picture at a time, of whose pooled features there is one value each."""
    groups = hardware.parts * (1 if hardware.processes.device.type == "cuda" else hardware.processes.count)
    if plan.batch_size < 2 * groups:
        raise PlanError(
            f"BatchNorm sees {plan.batch_size // groups} picture at a time in the stage {STAGES[0]}; expected a "
            f"batch_size of at least {2 * groups}"
        )


def check_stage_before(run: Run, stage: str) -> None:
    """Raises RunError if what the stage starts from was not trained, or is another model."""
    folder = checkpoint_before(run, stage)
    if folder is None:
        if stage != STAGES[0] and run.start in (IMAGENET, NOTHING):
            raise RunError(
                f"the stage {stage} starts from a trained model, and there is none in {run.folder}; expected --from "
                f"with a checkpoint, or a run whose stage {stage_before(run, stage)} is done"
            )
        return
    if not folder.is_dir():
        before = folder.parent.name
        raise RunError(
            f"the stage {stage} starts from the stage {before}, which is not finished in {run.folder}; expected "
            f"`lowlat-seg train {before}` first"
        )
    difference = first_difference(load_trainable(folder).config.to_mapping(), run.config.to_mapping())
    if difference is not None:
        raise RunError(f"{folder} holds another model: {difference}; expected the --model that it was trained as")


def train_stage(run: Run, stage: str, surveyed: Surveyed) -> None:
    """Train one stage and write its checkpoint. A stage that is done only writes its checkpoint again."""
    plan, processes = run.plans[stage], run.hardware.processes
    torch.manual_seed(plan.seed)
    network = network_for(run, stage)
    weights = class_weights(surveyed.class_pixels, run.config.class_count).to(processes.device)
    folder = StageFolder(run.folder / stage, recipe_of(run, stage, surveyed.data), run.goes_on)
    data = data_for(run, stage, surveyed.data)
    seconds = train(network, build_stage(run, stage, weights), data, plan, folder, run.hardware)
    if processes.leads:
        if stage == "schedule":
            calibrate_deviation(network, Pictures(frames_for(stage, surveyed.data), run.config.input_size), plan)
        save_checkpoint(network, folder.path / CHECKPOINT_FOLDER, card_of(run, stage, surveyed.data, seconds))


def network_for(run: Run, stage: str) -> SegmentationNetwork:
    """What the stage starts from. Only process 0 reads it: the others are given its weights."""
    before = checkpoint_before(run, stage)
    if not run.hardware.processes.leads:
        network = SegmentationNetwork(run.config)
    elif before is None:
        network = starting_network(run.config, run.start)
    else:
        network = load_trainable(before)
    if stage == TABLES:
        network.comparisons = Comparisons(run.config, network.tracks.low_channels)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs


def frames_for(stage: str, data: DataSet) -> list[TrainingFrame]:
    """What is learnt from: frames that nobody labelled tell the scheduler alone something."""
    return [*data.trained, *data.unlabelled] if stage == "schedule" else data.trained


def data_for(run: Run, stage: str, data: DataSet) -> StageData:
    plan, config = run.plans[stage], run.config
    samples = Samples(Pictures(frames_for(stage, data), config.input_size), maker_for(stage, config, plan), plan.seed)
    if not data.held_out or not run.scores_epochs:
        return StageData(samples)
    whole = replace(plan, crop=config.input_size, scales=(1.0, 1.0))
    maker = whole_still_maker(config) if stage in SINGLE_FRAME_STAGES else pair_maker(config, whole)
    return StageData(samples, Samples(Pictures(data.held_out, config.input_size), maker, plan.seed))


def maker_for(stage: str, config: ModelConfig, plan: StagePlan) -> MakeSample:
    return (still_maker if stage in SINGLE_FRAME_STAGES else pair_maker)(config, plan)


def build_stage(run: Run, stage: str, weights: torch.Tensor) -> TrainingStage:
    if stage == "schedule":
        return ScheduleStage()
    if stage == "propagation":
        return PropagationStage(weights)
    if stage == TABLES:
        return TablesStage(weights)
    return SmallStage(weights) if stage == "small" else BaseStage(weights)


def recipe_of(run: Run, stage: str, data: DataSet) -> Recipe:
    """All that decides what a stage learns."""
    plan = {name: value for name, value in asdict(run.plans[stage]).items() if name != "workers"}
    return {
        "stage": stage,
        "model": run.config.to_mapping(),
        "recipe": {name: list(value) if isinstance(value, tuple) else value for name, value in plan.items()},
        "data": {
            "name": data.name,
            "frames": names_digest(frames_for(stage, data)),
            "labels": labels_digest(data),
            "hold_out": run.data.hold_out,
        },
        **({"start": run.start} if checkpoint_before(run, stage) is None else {}),
    }


def names_digest(frames: Sequence[TrainingFrame]) -> str:
    """How many frames, and a digest of their names and order; where they lie does not matter."""
    digest = hashlib.sha256("\n".join(f"{frame.name} {len(frame.earlier)}" for frame in frames).encode())
    return f"{len(frames)} ({digest.hexdigest()[:12]})"


def labels_digest(data: DataSet) -> str:
    """Of what the ids in the labels mean; where the files lie does not matter."""
    meanings = {repr(frame.labels.classes) for frame in data.trained if frame.labels}
    return hashlib.sha256("\n".join(sorted(meanings)).encode()).hexdigest()[:12]


def card_of(run: Run, stage: str, data: DataSet, seconds: float) -> str:
    """A model card that says how each stage up to this one was trained."""
    before = checkpoint_before(run, stage)
    frames = (
        f"{data.name}: {len(data.trained)} frames, {len(data.held_out)} held out, {len(data.unlabelled)} unlabelled"
    )
    start = run.start if before is None else f"the stage {before.parent.name}"
    if stage == TABLES and before is None:
        before = locate(run.start)[0]
    record = StageRecord(stage, frames, start, run.command, run.plans[stage], seconds)
    return card_with(record, run.config.name, before, run.hardware.processes)


def checkpoint_before(run: Run, stage: str) -> Path | None:
    """The checkpoint folder that a stage starts from; None for the first, and where it starts from one elsewhere."""
    before = stage_before(run, stage)
    if before is None:
        return None
    folder = run.folder / before / CHECKPOINT_FOLDER
    starts_elsewhere = stage in STARTING_ELSEWHERE and not folder.is_dir()
    return None if starts_elsewhere else folder


def stage_before(run: Run, stage: str) -> str | None:
    """The stage that comes before; None for the first."""
    stages = [*stages_of(run.config), TABLES]
    position = stages.index(stage)
    return stages[position - 1] if position else None

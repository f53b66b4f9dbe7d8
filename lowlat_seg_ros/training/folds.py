"""Cross-validation by drive: a recipe is trained once without each drive, at a reduced length, and scored on it.

A network knows the streets that it was trained on; only a drive that it never saw says what a recipe is worth.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final

import torch

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.models.checkpoint import load_trainable
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.base import BaseStage, whole_still_maker
from lowlat_seg_ros.training.card import in_words
from lowlat_seg_ros.training.frames import Pictures
from lowlat_seg_ros.training.labelling import GivesLogits, predicted_labels
from lowlat_seg_ros.training.plan import PlanError, StagePlan
from lowlat_seg_ros.training.processes import done_by_leader
from lowlat_seg_ros.training.run import Run, surveyed, train_stages
from lowlat_seg_ros.training.run_state import RunError
from lowlat_seg_ros.training.samples import EpochBatches, Samples, loader
from lowlat_seg_ros.training.small import SmallStage
from lowlat_seg_ros.training.start import IMAGENET, NOTHING

FOLDS_FILE = "folds.json"
FOLD_LENGTH = 0.4  # of the recipe's epochs: three folds of CamVid then take two cores about as long as the whole recipe

FROM_NO_DRIVE: Final = (IMAGENET, NOTHING)

Scores = dict[str, Any]


def cross_validate(run: Run, is_shortened: bool = True) -> Scores:
    """Train and score each fold, and return the scores, which are also in the folder's ``folds.json``.

    A run that goes on trains no finished stage again, and scores every fold anew.

    Raises:
        PlanError: the data are of one drive, so that nothing could be held out.
        RunError: the folder holds folds, and they were not to be gone on with.
        Errors of ``train_stages``.
    """
    summary = run.folder / FOLDS_FILE
    if summary.exists() and not run.goes_on:
        raise RunError(f"{run.folder} already holds folds; expected --resume to go on with them, or another --out")
    require_unseen(run)
    drives = drives_of(run)
    plans = {stage: shortened(plan) if is_shortened else plan for stage, plan in run.plans.items()}
    folds: Scores = {}
    for drive in drives:
        fold = replace(
            run, folder=run.folder / drive, plans=plans, data=replace(run.data, hold_out=f"drive {drive}"),
            scores_epochs=False,
        )  # fmt: skip
        folds[drive] = fold_scores(fold)
        scores = summary_of(folds, replace(run, plans=plans))
        if run.hardware.processes.leads:
            atomic_write(summary, (json.dumps(scores, indent=1) + "\n").encode())
    return scores


def require_unseen(run: Run) -> None:
    """Raises PlanError where a fold would have seen what it is scored on, or would train on what was set aside."""
    if run.start not in FROM_NO_DRIVE:
        raise PlanError(
            f"the folds would start from {run.start}, which may have seen the drives that they are scored on; "
            f"expected --from {' or '.join(FROM_NO_DRIVE)}"
        )
    if run.data.hold_out is not None:
        raise PlanError(f"hold_out is {run.data.hold_out}; expected none, since each fold holds out a drive of its own")


def drives_of(run: Run) -> list[str]:
    """The names of the drives, in order. Raises PlanError where there is one alone."""
    frames = surveyed(replace(run, data=replace(run.data, hold_out=None))).data.trained
    drives = sorted({frame.drive for frame in frames})
    if len(drives) < 2:
        raise PlanError(f"all {len(frames)} frames are of the drive {drives[0]}; expected two drives, to hold one out")
    return drives


def shortened(plan: StagePlan) -> StagePlan:
    """The plan at the reduced length, rounded up to whole epochs."""
    return replace(plan, epochs=math.ceil(plan.epochs * FOLD_LENGTH))


def fold_scores(fold: Run) -> Scores:
    """Train what is left of the fold, and score it on the drive that it has not seen."""
    checkpoint = train_stages(fold, list(fold.plans))
    return done_by_leader(fold.hardware.processes, lambda: scores_of(fold, load_trainable(checkpoint).eval()))


def scores_of(fold: Run, network: SegmentationNetwork) -> Scores:
    """Of the full network and of Sl alone, on whole pictures."""
    data, device, nothing = surveyed(fold).data, fold.hardware.processes.device, torch.zeros(0)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
    samples = Samples(Pictures(data.held_out, fold.config.input_size), whole_still_maker(fold.config), seed=0)
    ways: dict[str, GivesLogits] = {"full": BaseStage(nothing), "small": SmallStage(nothing)}
    matrices = {name: ConfusionMatrix(fold.config.class_count) for name in ways}
    for cpu_batch in loader(samples, EpochBatches(samples, epoch=0, batch_size=1), 0, device):
        batch = [tensor.to(device) for tensor in cpu_batch]
        truth = cpu_batch[-1][0].to(torch.uint8).numpy()
        for name, stage in ways.items():
            matrices[name].add(predicted_labels(network, stage, batch)[0], truth)
    scores: Scores = {"trained": len(data.trained), "held_out": len(data.held_out)}
    for name, matrix in matrices.items():
        scores[name] = {
            "mean_iou": round(matrix.mean_iou(), 4),
            "pixel_accuracy": round(matrix.pixel_accuracy(), 4),
            "class_iou": dict(zip(fold.config.classes, map(in_json, matrix.class_iou().tolist()), strict=True)),
        }
    return scores


def in_json(value: float) -> float | None:
    """Rounded; null for a class that is nowhere, of which nothing is known."""
    return None if math.isnan(value) else round(value, 4)


def summary_of(folds: Mapping[str, Scores], run: Run) -> Scores:
    mean = {
        name: round(sum(scores[name]["mean_iou"] for scores in folds.values()) / len(folds), 4)
        for name in ("full", "small")
    }
    return {
        "mean": mean,
        "machine": in_words(run.hardware.processes),
        "torch": torch.__version__,
        "start": run.start,
        "model": run.config.to_mapping(),
        "recipe": {name: asdict(plan) for name, plan in run.plans.items()},
        "folds": folds,
    }


def table_of(summary: Scores) -> str:
    """The scores as a table to be read on a terminal."""
    lines = [f"{'held out':24} {'full':>7} {'small':>7}"]
    for drive, scores in summary["folds"].items():
        lines.append(f"{drive:24} {scores['full']['mean_iou']:7.4f} {scores['small']['mean_iou']:7.4f}")
    return "\n".join([*lines, f"{'mean':24} {summary['mean']['full']:7.4f} {summary['mean']['small']:7.4f}"])

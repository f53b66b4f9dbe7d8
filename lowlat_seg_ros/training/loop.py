"""One loop for all stages: batches, a falling learning rate, a checkpoint every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.curves import STEPS_A_POINT, Curves, kept_curves
from lowlat_seg_ros.training.held_out import held_out_scores
from lowlat_seg_ros.training.labelling import drawn_batch
from lowlat_seg_ros.training.plan import PlanError, StagePlan
from lowlat_seg_ros.training.processes import share_statistics, summed
from lowlat_seg_ros.training.progress import Bar, memory_gib, shown_progress
from lowlat_seg_ros.training.run_state import Recipe, RunError, RunState
from lowlat_seg_ros.training.samples import EpochBatches, Samples, loader
from lowlat_seg_ros.training.step import Batch, Hardware, Stepper, TrainingStage

WARM_UP_SHARE = 0.03  # of all steps, with a rising learning rate


@dataclass(frozen=True)
class StageData:
    """What a stage learns from, and what it is scored on after each epoch."""

    samples: Samples
    held_out: Samples | None = None


@dataclass(frozen=True)
class StageFolder:
    """Where a stage's state is kept."""

    path: Path
    recipe: Recipe = field(default_factory=dict)  # what a run that goes on must have in common with what is there
    goes_on: bool = False


def train(
    network: SegmentationNetwork,
    stage: TrainingStage,
    data: StageData,
    plan: StagePlan,
    folder: StageFolder,
    hardware: Hardware | None = None,
) -> float:
    """Train in place, and keep the state of the last finished epoch in the folder.

    Returns:
        The seconds that the epochs took, those before an interruption included.

    Raises:
        PlanError: there are fewer samples than a batch has, or a batch cannot be divided.
        RunError: the folder is of another run or cannot be written, or the loss is no longer finite.
    """
    hardware = hardware or Hardware()
    steps = steps_of_epoch(len(data.samples), plan, hardware)
    network.to(hardware.processes.device)
    share_statistics(stage.trained_modules(network), hardware.processes)
    freeze_all_but(network, stage.trained_modules(network))
    state = begin(network, plan, steps, folder, hardware)
    training = StageTraining(stage, data, plan, state, hardware)
    is_leader = hardware.processes.leads
    first = state.finished_epochs
    with (
        shown_progress(folder.path.name, first, plan.epochs, steps, hardware.processes.device, is_leader) as bar,
        kept_curves(folder.path, first * steps, is_leader) as curves,
    ):
        for epoch in range(first, plan.epochs):
            begun = time.monotonic()
            state.history.append(training.run_epoch(epoch, bar, curves))
            state.seconds += time.monotonic() - begun
            if is_leader:
                state.save(folder.path)
    return state.seconds


class StageTraining:
    """Runs the epochs of a stage."""

    def __init__(
        self, stage: TrainingStage, data: StageData, plan: StagePlan, state: RunState, hardware: Hardware
    ) -> None:
        self._stage, self._data, self._plan, self._state, self._hardware = stage, data, plan, state, hardware
        self._stepper = Stepper(stage, state, hardware)

    def run_epoch(self, epoch: int, bar: Bar, curves: Curves) -> dict[str, float]:
        """One pass over the samples; returns the epoch's figures by name."""
        torch.manual_seed(self._plan.seed * 100_003 + epoch)  # dropout and the like, the same in a resumed run
        self._state.network.eval()
        for module in self._stage.trained_modules(self._state.network):
            module.train()
        bar.begin_epoch(epoch)
        losses: list[float] = []
        first_step = epoch * (len(self._data.samples) // self._plan.batch_size)
        for batch in self._batches(epoch):
            losses.append(self._stepper.step(batch))
            _require_finite(losses[-1], epoch)
            bar.step(losses)
            if (first_step + len(losses)) % STEPS_A_POINT == 0:
                self._draw_point(curves, losses, first_step + len(losses))
        figures = {"loss": self._mean(losses)}
        if self._hardware.processes.leads:
            figures |= self._held_out_figures()
            self._draw_epoch(curves, figures, epoch, first_step + len(losses))
        return figures

    def _batches(self, epoch: int) -> Iterator[list[Batch]]:
        """This process's share of each batch, in parts."""
        hardware, plan = self._hardware, self._plan
        order = EpochBatches(self._data.samples, epoch, plan.batch_size, hardware.processes, hardware.parts)
        parts = iter(loader(self._data.samples, order, plan.workers, hardware.processes.device))
        while batch := list(islice(parts, hardware.parts)):
            yield [[tensor.to(hardware.processes.device, non_blocking=True) for tensor in part] for part in batch]

    def _mean(self, losses: Sequence[float]) -> float:
        total = torch.tensor(sum(losses), device=self._hardware.processes.device)
        return float(summed(total, self._hardware.processes)) / len(losses)

    def _held_out_figures(self) -> dict[str, float]:
        if self._data.held_out is None:
            return {}
        return held_out_scores(self._state.network, self._stage, self._data.held_out, self._hardware.processes.device)

    def _draw_point(self, curves: Curves, losses: Sequence[float], step: int) -> None:
        shown = losses[-STEPS_A_POINT:]
        curves.scalar("step/loss", sum(shown) / len(shown) * self._hardware.processes.count, step)
        curves.scalar("step/learning_rate", float(self._state.schedule.get_last_lr()[0]), step)

    def _draw_epoch(self, curves: Curves, figures: dict[str, float], epoch: int, step: int) -> None:
        if not curves.are_kept:
            return
        for name, value in figures.items():
            curves.scalar(f"epoch/{name}", value, step)
        curves.scalar("epoch/memory_gib", memory_gib(self._hardware.processes.device), step)
        self._state.network.eval()
        shown = self._data.held_out or self._data.samples
        samples = [shown[(epoch, index)] for index in range(min(4, len(shown)))]
        batch = [torch.stack(part).to(self._hardware.processes.device) for part in zip(*samples, strict=True)]
        curves.picture("image, labels, predicted", drawn_batch(self._state.network, self._stage, batch), step)


def begin(
    network: SegmentationNetwork, plan: StagePlan, steps: int, folder: StageFolder, hardware: Hardware
) -> RunState:
    """The state to train from: fresh, or the folder's, which process 0 reads for all."""
    optimiser = torch.optim.AdamW(parameter_groups(network, plan), weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate_over(steps * plan.epochs))
    # float16 reaches too little towards 0 for small gradients; bfloat16 has float32's range.
    scaled = hardware.mixed_precision is torch.float16
    scaler = torch.amp.GradScaler(hardware.processes.device.type, enabled=scaled)
    state = RunState(network, optimiser, schedule, scaler, folder.recipe)
    if folder.goes_on:
        state.take_up(folder.path, hardware.processes)
    return state


def steps_of_epoch(sample_count: int, plan: StagePlan, hardware: Hardware) -> int:
    """Batches in an epoch; raises PlanError where that is none, or where a batch cannot be divided evenly."""
    shares = hardware.processes.count * hardware.parts
    if plan.batch_size % shares:
        raise PlanError(
            f"batch_size is {plan.batch_size}; expected a multiple of {shares}, the number of processes times --parts"
        )
    if sample_count < plan.batch_size:
        raise PlanError(
            f"there are {sample_count} pictures to train on and batch_size is {plan.batch_size}; "
            "expected at least as many pictures as a batch has"
        )
    return sample_count // plan.batch_size


def _require_finite(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise RunError(
            f"the loss is {loss} in epoch {epoch + 1}; the state of the epoch before it is kept, but expected a lower "
            "learning_rate"
        )


def freeze_all_but(network: SegmentationNetwork, trained: Sequence[nn.Module]) -> None:
    network.requires_grad_(False)
    for module in trained:
        module.requires_grad_(True)


def parameter_groups(network: SegmentationNetwork, plan: StagePlan) -> list[dict[str, Any]]:
    """Weights from ImageNet learn slower than those that start from nothing."""
    backbones = [backbone for _, backbone in network.tracks.backbones()]
    inherited = [p for backbone in backbones for p in backbone.parameters() if p.requires_grad]
    ids = {id(p) for p in inherited}
    fresh = [p for p in network.parameters() if p.requires_grad and id(p) not in ids]
    groups = [{"params": fresh, "lr": plan.learning_rate}]
    return groups + ([{"params": inherited, "lr": plan.backbone_learning_rate}] if inherited else [])


def rate_over(steps: int) -> Any:
    """The learning rate's factor at each step: up over the first few, then down as a power of 0.9."""
    warm_up = max(1, round(steps * WARM_UP_SHARE))

    def factor(step: int) -> float:
        return float(min((step + 1) / warm_up, max(0.0, 1 - step / steps) ** 0.9))

    return factor

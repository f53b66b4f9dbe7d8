"""One loop for all three stages: batches, steps, a falling learning rate, a checkpoint every epoch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lowlat_seg_ros.network.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.plan import StagePlan
from lowlat_seg_ros.training.samples import Samples, epoch_batches

WARM_UP_SHARE = 0.03  # of all steps, with a rising learning rate
LARGEST_GRADIENT = 5.0  # the gradients' norm is cut to this: one odd batch does not undo an epoch


class Stage(Protocol):
    """What differs between the stages."""

    def trained_modules(self, network: SegmentationNetwork) -> Sequence[nn.Module]:
        """The modules that learn; all others are frozen, BatchNorm's running averages included."""

    def loss(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor:
        """A scalar to be made small."""


def train(network: SegmentationNetwork, stage: Stage, samples: Samples, plan: StagePlan, folder: Path) -> None:
    """Train in place. ``folder/last.pt`` is replaced after every epoch; where it exists, training goes on from it."""
    folder.mkdir(parents=True, exist_ok=True)
    freeze_all_but(network, stage.trained_modules(network))
    optimiser = torch.optim.AdamW(parameter_groups(network, plan), weight_decay=plan.weight_decay)
    steps_per_epoch = len(samples) // plan.batch_size
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate_over(steps_per_epoch * plan.epochs))
    first_epoch = resume(folder / "last.pt", network, optimiser, schedule)
    for epoch in range(first_epoch, plan.epochs):
        torch.manual_seed(plan.seed * 100_003 + epoch)  # dropout and the like, the same in a resumed run
        average = train_epoch(network, stage, samples, plan, epoch, optimiser, schedule)
        save_atomically(folder / "last.pt", network, optimiser, schedule, epoch + 1)
        with (folder / "loss.txt").open("a", encoding="utf-8") as log:
            log.write(f"{epoch + 1} {average:.5f}\n")


def train_epoch(
    network: SegmentationNetwork,
    stage: Stage,
    samples: Samples,
    plan: StagePlan,
    epoch: int,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """One pass over the samples; returns the mean loss."""
    network.eval()
    for module in stage.trained_modules(network):
        module.train()
    losses = []
    batches = epoch_batches(samples, epoch, plan.batch_size, plan.workers)
    with tqdm(batches, desc=f"epoch {epoch + 1}/{plan.epochs}", unit="batch", mininterval=5) as progress:
        for batch in progress:
            optimiser.zero_grad(set_to_none=True)
            loss = stage.loss(network, batch)
            loss.backward()
            nn.utils.clip_grad_norm_([p for p in network.parameters() if p.requires_grad], LARGEST_GRADIENT)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            progress.set_postfix(loss=f"{sum(losses[-20:]) / len(losses[-20:]):.3f}")
    return sum(losses) / len(losses)


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


def save_atomically(
    path: Path,
    network: SegmentationNetwork,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    finished_epochs: int,
) -> None:
    """A kill at any moment leaves the old file or the new one, never half of one."""
    state = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
        "finished_epochs": finished_epochs,
    }
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    os.replace(temporary, path)


def resume(
    path: Path,
    network: SegmentationNetwork,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> int:
    """Continue from ``path`` where it exists; returns the number of epochs already done."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True, map_location="cpu")
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    return int(state["finished_epochs"])

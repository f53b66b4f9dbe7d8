"""One step of the optimiser on one batch, which may be shared by several processes and taken in parts by each.

The step is the same however the batch is divided, up to rounding, BatchNorm aside: a part's loss counts as much as the
part weighs in the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.processes import ALONE, Processes, shared, summed
from lowlat_seg_ros.training.run_state import RunState

LARGEST_GRADIENT = 5.0  # the gradients' norm is cut to this: one odd batch does not undo an epoch

Batch = Sequence[Tensor]


class TrainingStage(Protocol):
    """What differs between the stages."""

    def trained_modules(self, network: SegmentationNetwork) -> Sequence[nn.Module]:
        """The modules that learn; all others are frozen, BatchNorm's running averages included."""

    def loss(self, network: SegmentationNetwork, batch: Batch) -> Tensor:
        """A scalar to be made small: a mean over what ``weight`` counts."""

    def logits(self, network: SegmentationNetwork, batch: Batch) -> Tensor:
        """What is scored and drawn, (B, classes, h, w), of the pictures that ``batch[-1]`` labels."""

    def weight(self, batch: Batch) -> Tensor:
        """How much a part of a batch counts beside the other parts, a scalar."""


@dataclass(frozen=True)
class Hardware:
    """What a stage is trained on. It changes what is learnt by rounding, and by what BatchNorm sees at a time."""

    processes: Processes = ALONE
    parts: int = 1  # in which a process takes its share of a batch, one after the other, to need less memory
    mixed_precision: torch.dtype | None = None  # of convolutions and products; None: float32 throughout


class StageLoss(nn.Module):
    """A stage's loss as a module, since modules are what PyTorch shares between processes."""

    def __init__(self, network: SegmentationNetwork, stage: TrainingStage) -> None:
        super().__init__()
        self.network, self.stage = network, stage

    def forward(self, batch: Batch) -> Tensor:
        loss: Tensor = self.stage.loss(self.network, batch)
        return loss


class Stepper:
    """Takes the steps of one stage."""

    def __init__(self, stage: TrainingStage, state: RunState, hardware: Hardware) -> None:
        self._stage, self._state, self._hardware = stage, state, hardware
        self._loss = shared(StageLoss(state.network, stage), hardware.processes)

    def step(self, batch: Sequence[Batch]) -> float:
        """One step on a batch given in parts; returns this process's share of the batch's loss."""
        state, count = self._state, self._hardware.processes.count
        state.optimiser.zero_grad(set_to_none=True)
        draws = torch.get_rng_state()
        loss = 0.0
        for index, (part, share) in enumerate(zip(batch, self._shares(batch), strict=True)):
            if index:
                torch.set_rng_state(draws)  # what a stage draws for a batch, it draws once
            with self._synchronised(is_last=index == len(batch) - 1):
                with self._autocast():
                    part_loss = self._loss(part) * share
                # PyTorch averages over the processes, but these are parts of a sum.
                state.scaler.scale(part_loss * count).backward()
            loss += part_loss.item()
        state.scaler.unscale_(state.optimiser)
        nn.utils.clip_grad_norm_([p for p in state.network.parameters() if p.requires_grad], LARGEST_GRADIENT)
        state.scaler.step(state.optimiser)
        state.scaler.update()
        state.schedule.step()
        return loss

    def _shares(self, batch: Sequence[Batch]) -> list[Tensor | float]:
        """What fraction of the whole batch, of all processes, each part is."""
        if len(batch) * self._hardware.processes.count == 1:
            return [1.0]
        weights = [self._stage.weight(part) for part in batch]
        whole = summed(torch.stack(weights).sum(), self._hardware.processes)
        return [weight / whole.clamp(min=torch.finfo(whole.dtype).tiny) for weight in weights]

    def _synchronised(self, is_last: bool) -> AbstractContextManager[None]:
        """Gradients travel once a step: after the last part."""
        if isinstance(self._loss, DistributedDataParallel) and not is_last:
            return self._loss.no_sync()
        return nullcontext()

    def _autocast(self) -> torch.autocast:
        precision = self._hardware.mixed_precision
        return torch.autocast(self._hardware.processes.device.type, precision, enabled=precision is not None)

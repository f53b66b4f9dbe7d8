"""How well a network in training does on frames that it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.labelling import GivesLogits, predicted_labels
from lowlat_seg_ros.training.samples import EpochBatches, Samples, loader


class ComputesLoss(GivesLogits, Protocol):
    def loss(self, network: SegmentationNetwork, batch: Sequence[Tensor]) -> Tensor: ...


def held_out_scores(
    network: SegmentationNetwork, stage: ComputesLoss, samples: Samples, device: torch.device
) -> dict[str, float]:
    """Mean loss, and mIoU of what the stage trains.

    The samples are those of epoch 0, so that the scores of all epochs are of the same pictures.
    """
    network.eval()
    scores = ConfusionMatrix(network.config.class_count)
    losses = []
    batches = EpochBatches(samples, epoch=0, batch_size=1)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)  # of what a stage draws itself
        for cpu_batch in loader(samples, batches, 0, device):
            batch = [tensor.to(device) for tensor in cpu_batch]
            losses.append(float(stage.loss(network, batch)))
            for labels, truth in zip(predicted_labels(network, stage, batch), batch[-1].cpu(), strict=True):
                scores.add(labels, truth.to(torch.uint8).numpy())
    return {"held_out_loss": sum(losses) / len(losses), "held_out_mean_iou": scores.mean_iou()}

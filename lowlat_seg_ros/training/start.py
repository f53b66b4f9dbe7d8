"""What the base stage starts from: ImageNet's weights, another checkpoint's, or nothing."""

from __future__ import annotations

from pathlib import Path

import torch

from lowlat_seg_ros.models.checkpoint import CheckpointError, load_trainable, weights_of
from lowlat_seg_ros.models.config import ModelConfig
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.imagenet import load_imagenet_weights

IMAGENET = "imagenet"
NOTHING = "nothing"


def starting_network(config: ModelConfig, start: str) -> SegmentationNetwork:
    """A network to train.

    Args:
        config: the network to train.
        start: ``imagenet``, ``nothing``, or a checkpoint's folder or shipped name: whatever of its weights fits is
            taken, which with other classes is all but the classifiers.

    Raises:
        WeightsError: the backbone's ImageNet weights cannot be had.
        CheckpointError: there is no such checkpoint, or nothing of it fits.
    """
    network = SegmentationNetwork(config)
    for classifier in (network.classifier, network.fast_classifier):
        classifier.begin_alike()
    if start == IMAGENET:
        load_imagenet_weights(network)
    elif start != NOTHING:
        take_weights(network, start)
    return network


def take_weights(network: SegmentationNetwork, checkpoint: str | Path) -> list[str]:
    """Copy every tensor of the checkpoint that has the name and shape of one here; returns the names of the others."""
    stored, own = weights_of(load_trainable(checkpoint)), weights_of(network)
    fitting = {name for name, tensor in own.items() if name in stored and stored[name].shape == tensor.shape}
    if len(fitting) < len(own) / 2:
        raise CheckpointError(
            f"{checkpoint} fits {len(fitting)} of the network's {len(own)} tensors; expected a checkpoint of the same "
            "model, but for its classes"
        )
    with torch.no_grad():
        for name in fitting:
            own[name].copy_(stored[name])
    return sorted(own.keys() - fitting)

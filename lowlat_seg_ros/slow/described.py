"""A YAML that names a network and says how it is to be used: sizes, averaging, classes merged or ignored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.placing import Placer
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.choice import Choice, Wish
from lowlat_seg_ros.slow import hugging_face, onnx_file, refused
from lowlat_seg_ros.slow.description import Description, DescriptionError, read_description
from lowlat_seg_ros.slow.foreign import ForeignNetwork, Source, checked


def recognises(model: str) -> bool:
    return Path(model).suffix.lower() in (".yaml", ".yml")


def load(model: str, device: torch.device | str) -> ForeignNetwork:
    """The network that a YAML describes.

    Raises:
        Error: the YAML, or the network that it names, cannot be used.
    """
    path = Path(model)
    description = read_description(path)
    if description.source is None:
        raise DescriptionError(f"{model} names no source; expected a directory, a hub id or a file")
    if recognises(description.source):
        raise DescriptionError(f"the source of {model} is a YAML too ({description.source}); expected a network")
    beside = path.parent / description.source
    source = str(beside) if beside.exists() else description.source
    described = replace(description, source=source)
    if refused.recognises(source):
        refused.load(source, device)
    if onnx_file.recognises(source):
        return onnx_file.load(source, device, described)
    if hugging_face.recognises(source):
        return hugging_face.load(source, device, described)
    return _load_ours(source, device, described)


def _load_ours(source: str, device: torch.device | str, description: Description) -> ForeignNetwork:
    """A checkpoint of ours as a network of logits alone, since its feature knows nothing of merged classes."""
    if description.classes or description.mean or description.std:
        raise DescriptionError(f"{source} has its own classes, mean and std; merge and ignore change what is published")
    network = load_checkpoint(source, device)
    config = network.config

    def placed(wish: Wish, device: torch.device) -> tuple[SegmentationNetwork, Choice]:
        # Both halves of it are the slow track's here.
        elsewhere, _, choice = Placer(network, device).placed(wish, wish)
        assert choice is not None
        return elsewhere, choice

    foreign = Source(
        config.classes,
        network,
        lambda picture: config.input_size,
        config.mean,
        config.std,
        config.colours,
        placed=placed,
    )
    return checked(ForeignNetwork(foreign, description, source), source, device)

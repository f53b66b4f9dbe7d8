"""The kinds of slow networks that the parameter ``model`` may name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from lowlat_seg_ros.models.checkpoint import load_checkpoint, shipped_models
from lowlat_seg_ros.slow import described, hugging_face, onnx_file, refused
from lowlat_seg_ros.slow.network import SlowNetwork


class Kind(NamedTuple):
    """How to know a kind of model by its name or path, and how to load it."""

    recognises: Callable[[str], bool]
    load: Callable[[str, torch.device | str], SlowNetwork]


# Asked in this order; the last one takes whatever no other has taken, and says what was expected.
KINDS: dict[str, Kind] = {
    "shipped": Kind(lambda model: model in shipped_models(), load_checkpoint),
    "YAML": Kind(described.recognises, described.load),
    "ONNX": Kind(onnx_file.recognises, onnx_file.load),
    "refused": Kind(refused.recognises, refused.load),
    "Hugging Face": Kind(hugging_face.recognises, hugging_face.load),
    "checkpoint": Kind(lambda model: True, load_checkpoint),
}


def load_model(model: str, device: torch.device | str = "cpu") -> SlowNetwork:
    """The network that ``model`` names, ready for inference on ``device``.

    Args:
        model: the name of a shipped model (``"default"``), a checkpoint's directory or weights file, a Hugging Face
            directory or hub id, an ONNX file, or a YAML that describes one of these (``docs/any_network.md``).

    Raises:
        Error: there is no model there, or it cannot be used; the message says what was expected.
    """
    kind = next(kind for kind in KINDS.values() if kind.recognises(model))
    return kind.load(model, device)

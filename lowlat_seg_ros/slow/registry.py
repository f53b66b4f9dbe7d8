"""The kinds of slow networks that the parameter ``model`` may name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.slow.network import SlowNetwork


class Kind(NamedTuple):
    """How to know a kind of model by its name or path, and how to load it."""

    recognises: Callable[[str], bool]
    load: Callable[[str, torch.device | str], SlowNetwork]


# Asked in this order; the last one takes whatever no other has taken, and says what was expected.
KINDS: dict[str, Kind] = {
    "checkpoint": Kind(lambda model: True, load_checkpoint),
}


def load_model(model: str, device: torch.device | str = "cpu") -> SlowNetwork:
    """The network that ``model`` names, ready for inference on ``device``.

    Args:
        model: the name of a shipped model (``"default"``), or a checkpoint's directory or weights file.

    Raises:
        Error: there is no model there, or it cannot be used; the message says what was expected.
    """
    kind = next(kind for kind in KINDS.values() if kind.recognises(model))
    return kind.load(model, device)

"""The kinds of slow networks that the parameter ``model`` may name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from lowlat_seg_ros.errors import Error, shown, turning_all_into
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.models.checkpoint import load_checkpoint, locate, shipped_models
from lowlat_seg_ros.slow import described, hugging_face, onnx_file, refused
from lowlat_seg_ros.slow.description import read_description
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
    with turning_all_into(Error, f"the model {shown(model, 300)} cannot be loaded"):
        return kind.load(model, device)


class Tracks(NamedTuple):
    """The networks of both tracks."""

    slow: SlowNetwork
    fast: FastNetwork


def load_tracks(model: str | SlowNetwork, fast_model: str = "default", device: torch.device | str = "cpu") -> Tracks:
    """The model's network, and what carries its labels: its own fast track or, where it has none, ``fast_model``'s.

    Raises what ``load_model`` does. ``model`` may be loaded already.
    """
    slow = load_model(model, device) if isinstance(model, str) else model
    return Tracks(slow, slow.own_fast_network or load_checkpoint(fast_model, device))


def fingerprint_of(model: str, fast_model: str = "default") -> str:
    """What tells a model from any other, whatever their names: its files, hashed; of a hub id, the id itself."""
    digest = hashlib.sha256()
    for name in (model, fast_model):
        if name in shipped_models():
            digest.update(locate(name)[1].read_bytes())
            continue
        path = Path(name)
        beside = [path.with_suffix(".yaml")] if path.suffix == ".onnx" else []
        source = read_description(path).source if described.recognises(name) and path.is_file() else None
        if source is not None:
            digest.update(
                fingerprint_of(str(path.parent / source) if (path.parent / source).exists() else source).encode()
            )
        files = sorted(path.rglob("*")) if path.is_dir() else [path, *beside]
        for file in files:
            if file.is_file():
                digest.update(file.name.encode(errors="surrogateescape"))
                with file.open("rb") as content:
                    while block := content.read(1 << 24):
                        digest.update(block)
        digest.update(name.encode(errors="surrogateescape") if not path.exists() else b"")
    return digest.hexdigest()

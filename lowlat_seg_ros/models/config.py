"""The description of a network, as written in a model's YAML file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from lowlat_seg_ros.errors import Error

Colour = tuple[int, int, int]


class ConfigError(Error):
    """A model description that cannot be used; the message names the field and what was expected."""


@dataclass(frozen=True)
class SharedBackboneConfig:
    """The paper's two tracks: one backbone cut in two, Sh going on where Sl ends."""

    backbone: str  # a key of backbone.SPLIT_BACKBONES
    split: str  # the last block of Sl, by its state-dict name (paper: conv4_3, here "layer3.2")
    output_stride: int  # pixels of the image per element of the backbone's last feature
    pyramid_bins: tuple[int, ...]  # grid sizes of the pyramid pooling
    pyramid_channels: int  # of each pooled branch
    skip_channels: int  # of the low-level feature that refines Sh's output; 0: Sh ends at its own stride


@dataclass(frozen=True)
class TwoNetworksConfig:
    """Two whole networks: a small one for every frame as Sl, and as Sh a large one that looks at the image itself."""

    stride: int  # pixels of the image per element of F_l and F_h
    low_backbone: str  # a key of backbone.PYRAMID_BACKBONES
    low_scale: float  # size of the image that Sl sees, relative to the network's input
    low_channels: int  # of F_l
    high_backbone: str
    high_scale: float
    pyramid_bins: tuple[int, ...]  # grid sizes of both pyramid poolings
    pyramid_channels: int  # of each pooled branch


TracksConfig = SharedBackboneConfig | TwoNetworksConfig
KINDS: dict[str, type[SharedBackboneConfig] | type[TwoNetworksConfig]] = {
    "shared_backbone": SharedBackboneConfig,
    "two_networks": TwoNetworksConfig,
}


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides a network's shape. Sizes are in channels unless said otherwise.

    The paper's values stand in ``config/models/paper.yaml``, the shipped model's in ``config/models/default.yaml``.
    """

    name: str
    tracks: TracksConfig  # Sl and Sh; in YAML its ``kind`` says which of the two
    high_channels: int  # of F_h, the feature that is propagated and classified
    subpixels: int  # logits along each side of an element of F_h (1: as many logits as elements)
    kernel_size: int  # H_K, odd
    kernel_channels: int  # of the kernel predictor's inner layers
    adapt_channels: int  # of AdaptNet
    deviation: str  # how devS is predicted: "convolution" (the paper's) or "codes" (of what each place shows)
    deviation_channels: int  # of the deviation predictor
    kernels: str  # how W is predicted: "convolution" (the paper's) or "correlation"
    fusion: (
        str  # "concatenate" (the paper's) or "gated" (a correction where the key frame does not explain the current)
    )
    carrying: str  # of the key frame's logits: "none" (the paper's) or "optical_flow" (where the picture bears it out)
    input_size: tuple[int, int]  # (width, height) in pixels that the network is trained for
    mean: tuple[float, float, float]  # of RGB in 0..255, subtracted
    std: tuple[float, float, float]  # of RGB in 0..255, divided by
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]  # RGB, one a class

    def __post_init__(self) -> None:
        for part in (self, self.tracks):
            for field in fields(part):
                if field.name in RULES:
                    is_right, expected = RULES[field.name]
                    if not is_right(getattr(part, field.name)):
                        raise ConfigError(f"{field.name} is {getattr(part, field.name)!r}; expected {expected}")
        if len(self.colours) != len(self.classes):
            raise ConfigError(
                f"colours lists {len(self.colours)}; expected one for each of {len(self.classes)} classes"
            )

    @property
    def class_count(self) -> int:
        return len(self.classes)

    def to_mapping(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, as ``from_mapping`` reads them and YAML writes them."""
        kind = next(name for name, tracks in KINDS.items() if isinstance(self.tracks, tracks))
        mapping = {name: _plain(value) for name, value in asdict(self).items()}
        return {**mapping, "tracks": {"kind": kind, **{name: _plain(v) for name, v in asdict(self.tracks).items()}}}


def config_from_mapping(mapping: Mapping[str, Any]) -> ModelConfig:
    """Build a config from parsed YAML.

    Raises:
        ConfigError: a field is missing, unknown or of the wrong kind.
    """
    entries = _checked_entries(ModelConfig, mapping, "the model description")
    return ModelConfig(**{**entries, "tracks": _tracks_from_mapping(entries["tracks"])})


def _tracks_from_mapping(mapping: Any) -> TracksConfig:
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"tracks is {mapping!r}; expected a mapping with a kind")
    kind = mapping.get("kind")
    if kind not in KINDS:
        raise ConfigError(f"the kind of tracks is {kind!r}; expected one of {', '.join(KINDS)}")
    entries = {name: value for name, value in mapping.items() if name != "kind"}
    return KINDS[kind](**_checked_entries(KINDS[kind], entries, f"tracks of kind {kind}"))


def _checked_entries(target: type, mapping: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The mapping's entries as the fields of the dataclass ``target``, none missing and none too many."""
    known = {field.name for field in fields(target)}
    missing, unknown = sorted(known - set(mapping)), sorted(map(str, set(mapping) - known))
    if missing:
        raise ConfigError(f"{source} lacks {', '.join(missing)}")
    if unknown:
        raise ConfigError(f"{source} has unknown entries: {', '.join(unknown)}")
    return {name: _frozen(value) for name, value in mapping.items()}


def load_config(path: str | Path) -> ModelConfig:
    """Read a model description from a YAML file.

    Raises:
        ConfigError: the file cannot be read or does not describe a model.
    """
    try:
        mapping = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as a model description: {' '.join(str(error).split())}") from error
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{path} holds no model description; expected a YAML mapping")
    try:
        return config_from_mapping(mapping)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _is_word(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: object) -> bool:
    # YAML's true and false are ints to Python, but no number a user meant.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return _is_number(value) and isinstance(value, int) and value >= 0


def _is_positive(value: object) -> bool:
    return _is_count(value) and value != 0


def _is_colour(value: object) -> bool:
    return _are(value, lambda part: _is_count(part) and part <= 255, 3)


def _are_class_names(value: Any) -> bool:
    return _are(value, _is_word) and 1 <= len(set(value)) == len(value) <= 255


def _are(values: object, is_right: Callable[[Any], bool], count: int | None = None) -> bool:
    """Whether ``values`` is a tuple, of ``count`` members where that is given, and each is right."""
    return isinstance(values, tuple) and count in (None, len(values)) and all(map(is_right, values))


WORD = (_is_word, "a word")
POSITIVE = (_is_positive, "a positive whole number")
SCALE = (lambda scale: _is_number(scale) and 0.125 <= scale <= 4, "a number from 0.125 to 4")
# Each field's test and, for whoever fails it, what was expected.
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": WORD,
    "backbone": WORD,
    "low_backbone": WORD,
    "high_backbone": WORD,
    "split": WORD,
    "stride": (lambda stride: stride in (4, 8, 16), "4, 8 or 16"),
    "low_scale": SCALE,
    "high_scale": SCALE,
    "low_channels": POSITIVE,
    "subpixels": POSITIVE,
    "output_stride": (lambda stride: stride in (8, 16, 32), "8, 16 or 32"),
    "pyramid_bins": (lambda bins: _are(bins, _is_positive), "a list of positive whole numbers"),
    "pyramid_channels": POSITIVE,
    "skip_channels": (_is_count, "a whole number, 0 or more"),
    "high_channels": POSITIVE,
    "kernel_size": (lambda size: _is_count(size) and size % 2 == 1, "an odd number"),
    "kernel_channels": POSITIVE,
    "adapt_channels": POSITIVE,
    "deviation": (lambda deviation: deviation in ("convolution", "codes"), "'convolution' or 'codes'"),
    "deviation_channels": POSITIVE,
    "kernels": (lambda kernels: kernels in ("convolution", "correlation"), "'convolution' or 'correlation'"),
    "fusion": (lambda fusion: fusion in ("concatenate", "gated"), "'concatenate' or 'gated'"),
    "carrying": (lambda carrying: carrying in ("none", "optical_flow"), "'none' or 'optical_flow'"),
    "input_size": (lambda size: _are(size, _is_positive, 2), "a positive width and height"),
    "mean": (lambda mean: _are(mean, _is_number, 3), "three numbers"),
    "std": (lambda std: _are(std, lambda part: _is_number(part) and part > 0, 3), "three positive numbers"),
    "classes": (_are_class_names, "1 to 255 names, each once (id 255 marks unlabelled pixels)"),
    "colours": (lambda colours: _are(colours, _is_colour), "a list of [red, green, blue] from 0 to 255"),
}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value

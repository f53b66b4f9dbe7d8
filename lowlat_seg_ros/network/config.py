"""The description of a network, as written in a model's YAML file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

Colour = tuple[int, int, int]


class ConfigError(ValueError):
    """A model description that cannot be used; the message names the field and what was expected."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides a network's shape. Sizes are in channels unless said otherwise.

    The paper's values stand in ``config/models/paper.yaml``, the shipped model's in ``config/models/default.yaml``.
    """

    name: str
    backbone: str  # a key of backbone.BACKBONES
    split: str  # the last block of Sl, by its state-dict name (paper: conv4_3, here "layer3.2")
    output_stride: int  # pixels of the image per element of the backbone's last feature
    pyramid_bins: tuple[int, ...]  # grid sizes of the pyramid pooling
    pyramid_channels: int  # of each pooled branch
    skip_channels: int  # of the low-level feature that refines Sh's output; 0: Sh ends at its own stride
    high_channels: int  # of F_h, the feature that is propagated and classified
    kernel_size: int  # H_K, odd
    kernel_channels: int  # of the kernel predictor's inner layers
    adapt_channels: int  # of AdaptNet
    deviation_channels: int  # of the deviation predictor
    fusion: str  # "concatenate" (the paper's) or "residual" (its result added to the propagated feature)
    input_size: tuple[int, int]  # (width, height) in pixels that the network is trained for
    mean: tuple[float, float, float]  # of RGB in 0..255, subtracted
    std: tuple[float, float, float]  # of RGB in 0..255, divided by
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]  # RGB, one a class

    def __post_init__(self) -> None:
        for name, (is_right, expected) in RULES.items():
            if not is_right(getattr(self, name)):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected {expected}")
        if len(self.colours) != len(self.classes):
            raise ConfigError(
                f"colours lists {len(self.colours)}; expected one for each of {len(self.classes)} classes"
            )

    @property
    def class_count(self) -> int:
        return len(self.classes)

    def to_mapping(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, as ``from_mapping`` reads them and YAML writes them."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def config_from_mapping(mapping: Mapping[str, Any]) -> ModelConfig:
    """Build a config from parsed YAML.

    Raises:
        ConfigError: a field is missing, unknown or of the wrong kind.
    """
    known = {field.name for field in fields(ModelConfig)}
    missing, unknown = sorted(known - set(mapping)), sorted(map(str, set(mapping) - known))
    if missing:
        raise ConfigError(f"the model description lacks {', '.join(missing)}")
    if unknown:
        raise ConfigError(f"the model description has unknown entries: {', '.join(unknown)}")
    return ModelConfig(**{name: _frozen(value) for name, value in mapping.items()})


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
# Each field's test and, for whoever fails it, what was expected.
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": WORD,
    "backbone": WORD,
    "split": WORD,
    "output_stride": (lambda stride: stride in (8, 16, 32), "8, 16 or 32"),
    "pyramid_bins": (lambda bins: _are(bins, _is_positive), "a list of positive whole numbers"),
    "pyramid_channels": POSITIVE,
    "skip_channels": (_is_count, "a whole number, 0 or more"),
    "high_channels": POSITIVE,
    "kernel_size": (lambda size: _is_count(size) and size % 2 == 1, "an odd number"),
    "kernel_channels": POSITIVE,
    "adapt_channels": POSITIVE,
    "deviation_channels": POSITIVE,
    "fusion": (lambda fusion: fusion in ("concatenate", "residual"), "'concatenate' or 'residual'"),
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

"""The description of a network, as written in a model's YAML file."""

from __future__ import annotations

from collections.abc import Mapping
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

    The paper's values stand in ``config/models/paper.yaml``, those of the shipped model in ``config/models/default.yaml``.
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
        _check_odd("kernel_size", self.kernel_size)
        for name in ("output_stride", "pyramid_channels", "high_channels", "kernel_channels", "adapt_channels"):
            _check_positive(name, getattr(self, name))
        _check_positive("deviation_channels", self.deviation_channels)
        if self.fusion not in ("concatenate", "residual"):
            raise ConfigError(f"fusion is {self.fusion!r}; expected 'concatenate' or 'residual'")
        if not 1 <= len(self.classes) <= 255:
            raise ConfigError(f"classes lists {len(self.classes)} names; expected 1 to 255 (255 marks unlabelled)")
        if len(self.colours) != len(self.classes):
            raise ConfigError(f"colours lists {len(self.colours)} colours for {len(self.classes)} classes")
        if min(self.input_size) < 1 or len(self.input_size) != 2:
            raise ConfigError(f"input_size is {self.input_size}; expected a positive width and height")

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
    missing, unknown = sorted(known - set(mapping)), sorted(set(mapping) - known)
    if missing:
        raise ConfigError(f"the model description lacks {', '.join(missing)}")
    if unknown:
        raise ConfigError(f"the model description has unknown entries: {', '.join(map(str, unknown))}")
    try:
        return ModelConfig(**{name: _frozen(value) for name, value in mapping.items()})
    except TypeError as error:
        raise ConfigError(f"the model description has an entry of the wrong kind: {error}") from error


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


def _check_odd(name: str, value: int) -> None:
    _check_positive(name, value)
    if value % 2 == 0:
        raise ConfigError(f"{name} is {value}; expected an odd number")


def _check_positive(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} is {value!r}; expected a positive whole number")


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value

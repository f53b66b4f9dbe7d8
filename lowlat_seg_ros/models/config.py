"""The description of a network, as written in a model's YAML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lowlat_seg_ros.data.documents import is_number, read_yaml
from lowlat_seg_ros.errors import Error, printable, shown, turning_all_into

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
                        raise ConfigError(f"{field.name} is {shown(getattr(part, field.name))}; expected {expected}")
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
        raise ConfigError(f"tracks is {shown(mapping)}; expected a mapping with a kind")
    kind = mapping.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"the kind of tracks is {shown(kind)}; expected one of {', '.join(KINDS)}")
    entries = {name: value for name, value in mapping.items() if name != "kind"}
    return KINDS[kind](**_checked_entries(KINDS[kind], entries, f"tracks of kind {kind}"))


def _checked_entries(target: type, mapping: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The mapping's entries as the fields of the dataclass ``target``, none missing and none too many."""
    known = {field.name for field in fields(target)}
    missing, unknown = sorted(known - set(mapping)), sorted(printable(str(name), 80) for name in set(mapping) - known)
    if missing:
        raise ConfigError(f"{source} lacks {', '.join(missing)}")
    if unknown:
        raise ConfigError(f"{source} has unknown entries: {', '.join(unknown[:5])}")
    return {name: _frozen(value) for name, value in mapping.items()}


def load_config(path: str | Path) -> ModelConfig:
    """Read a model description from a YAML file.

    Raises:
        ConfigError: the file cannot be read or does not describe a model.
    """
    with turning_all_into(ConfigError, f"{path} cannot be read as a model description"):
        mapping = read_yaml(Path(path))
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{path} holds no model description; expected a YAML mapping")
    try:
        return config_from_mapping(mapping)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


MOST_CHANNELS = 8192  # of any layer
LARGEST_SIDE = 8192  # pixels of an input
LARGEST_BIN = 32  # cells along each side of a pooling's grid
LARGEST_KERNEL = 31
LONGEST_WORD = 200  # characters


def _is_word(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_WORD


def _is_count(value: object) -> bool:
    return is_number(value) and isinstance(value, int) and value >= 0


def _is_from(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: _is_count(value) and least <= value <= most


def _is_colour(value: object) -> bool:
    return _are(value, lambda part: _is_count(part) and part <= 255, 3)


def _are_class_names(value: Any) -> bool:
    return _are(value, _is_word) and 1 <= len(set(value)) == len(value) <= 255


def _are(values: object, is_right: Callable[[Any], bool], count: int | None = None) -> bool:
    """Whether ``values`` is a tuple, of ``count`` members where that is given, and each is right."""
    return isinstance(values, tuple) and count in (None, len(values)) and all(map(is_right, values))


WORD = (_is_word, f"a word of at most {LONGEST_WORD} letters")
CHANNELS = (_is_from(1, MOST_CHANNELS), f"a whole number from 1 to {MOST_CHANNELS}")
SCALE = (lambda scale: is_number(scale) and 0.125 <= scale <= 4, "a number from 0.125 to 4")
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
    "low_channels": CHANNELS,
    "subpixels": (_is_from(1, 16), "a whole number from 1 to 16"),
    "output_stride": (lambda stride: stride in (8, 16, 32), "8, 16 or 32"),
    "pyramid_bins": (
        lambda bins: _are(bins, _is_from(1, LARGEST_BIN)) and len(bins) <= 16,
        f"a list of at most 16 whole numbers from 1 to {LARGEST_BIN}",
    ),
    "pyramid_channels": CHANNELS,
    "skip_channels": (_is_from(0, MOST_CHANNELS), f"a whole number from 0 to {MOST_CHANNELS}"),
    "high_channels": CHANNELS,
    "kernel_size": (
        lambda size: _is_from(1, LARGEST_KERNEL)(size) and size % 2 == 1,
        f"an odd number up to {LARGEST_KERNEL}",
    ),
    "kernel_channels": CHANNELS,
    "adapt_channels": CHANNELS,
    "deviation": (lambda deviation: deviation in ("convolution", "codes"), "'convolution' or 'codes'"),
    "deviation_channels": CHANNELS,
    "kernels": (lambda kernels: kernels in ("convolution", "correlation"), "'convolution' or 'correlation'"),
    "fusion": (lambda fusion: fusion in ("concatenate", "gated"), "'concatenate' or 'gated'"),
    "carrying": (lambda carrying: carrying in ("none", "optical_flow"), "'none' or 'optical_flow'"),
    "input_size": (
        lambda size: _are(size, _is_from(1, LARGEST_SIDE), 2),
        f"a positive width and height up to {LARGEST_SIDE}",
    ),
    "mean": (lambda mean: _are(mean, is_number, 3), "three numbers"),
    "std": (lambda std: _are(std, lambda part: is_number(part) and part > 0, 3), "three positive numbers"),
    "classes": (_are_class_names, "1 to 255 names, each once (id 255 marks unlabelled pixels)"),
    "colours": (lambda colours: _are(colours, _is_colour), "a list of [red, green, blue] from 0 to 255"),
}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value

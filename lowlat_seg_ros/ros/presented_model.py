"""What the node says of its model: input size, class names and colours, as its parameters ask for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from rclpy.parameter import Parameter

from lowlat_seg_ros.errors import ParameterError, shown
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.models.config import Colour
from lowlat_seg_ros.ros.declarations import LEFT_TO_THE_MODEL, MODELS_OWN_NAMES, MODELS_OWN_SIZE
from lowlat_seg_ros.ros.parameters import Settings
from lowlat_seg_ros.slow.network import SlowNetwork

_COLOUR: Final = re.compile(r"#[0-9A-Fa-f]{6}")
_SMALLEST_INPUT: Final = 32
_LARGEST_INPUT: Final = 8192


@dataclass(frozen=True)
class PresentedModel:
    """What the node says of its model."""

    input_size: tuple[int, int]  # width, height
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]  # RGB, one a class


def presented(slow: SlowNetwork, fast: FastNetwork, settings: Settings) -> PresentedModel:
    """The model with the input size, class names and colours that the parameters ask for.

    Raises:
        ParameterError: as many names or colours as the model has classes were expected, or a size or colour is none.
    """
    class_count = len(slow.classes)
    return PresentedModel(
        input_size=asked_input_size(settings) or fast.config.input_size,
        classes=_one_a_class("class_names", settings.class_names, class_count) or slow.classes,
        colours=_colours(_one_a_class("class_colours", settings.class_colours, class_count)) or slow.colours,
    )


def parameters_of(model: PresentedModel) -> list[Parameter[Any]]:
    """What `ros2 param get` answers with while the model is in use."""
    colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in model.colours]
    in_use = (list(model.input_size), list(model.classes), colours)
    return [Parameter(name, value=value) for name, value in zip(LEFT_TO_THE_MODEL, in_use, strict=True)]


def asked_input_size(settings: Settings) -> tuple[int, int] | None:
    """(width, height), or None for the model's own; raises ParameterError for what is no size."""
    size = settings.input_size
    if list(size) == MODELS_OWN_SIZE:
        return None
    if len(size) != 2 or not all(_SMALLEST_INPUT <= length <= _LARGEST_INPUT for length in size):
        raise ParameterError(
            f"input_size is {list(size)}; expected a width and a height from {_SMALLEST_INPUT} to {_LARGEST_INPUT}, "
            "or [0, 0] for the model's own"
        )
    return size[0], size[1]


def _one_a_class(name: str, values: tuple[str, ...], class_count: int) -> tuple[str, ...]:
    if list(values) == MODELS_OWN_NAMES:
        return ()
    if len(values) != class_count:
        raise ParameterError(
            f'{name} has {len(values)} entries; expected {class_count}, one a class of the model, or [""] '
            "for the model's own"
        )
    return values


def _colours(values: Iterable[str]) -> tuple[Colour, ...]:
    return tuple(_colour(value) for value in values)


def _colour(value: str) -> Colour:
    if not _COLOUR.fullmatch(value):
        raise ParameterError(f'class_colours contains {shown(value)}; expected "#rrggbb", as in "#804080"')
    red, green, blue = bytes.fromhex(value[1:])
    return red, green, blue

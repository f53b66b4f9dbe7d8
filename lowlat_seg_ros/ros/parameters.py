"""The node's parameters: declared in one table, checked as a whole, changed while the node runs where that is possible.

`config/seg.yaml` lists the same names and defaults with comments; a test keeps the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from lowlat_seg_ros.errors import ParameterError
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.registry import AUTO, PROPAGATIONS
from lowlat_seg_ros.models.config import Colour
from lowlat_seg_ros.slow.network import SlowNetwork
from lowlat_seg_ros.stream.key_frames import (
    DEFAULT_POLICY,
    FeatureDifference,
    FixedInterval,
    KeyFramePolicy,
    PredictedDeviation,
)
from lowlat_seg_ros.stream.time_share import DEFAULT_SHARE

MODELS_OWN_NAMES: Final = [""]
MODELS_OWN_SIZE: Final = [0, 0]
"""How `class_names`, `class_colours` and `input_size` leave it to the model; of an empty list rclpy knows no type."""

LEFT_TO_THE_MODEL: Final = ("input_size", "class_names", "class_colours")
"""Unless given they are the model's, so they can be made read-only only after it has been loaded."""

_CAMERA_NAME: Final = re.compile(r"|[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
_COLOUR: Final = re.compile(r"#[0-9A-Fa-f]{6}")
_SMALLEST_INPUT: Final = 32
_LARGEST_INPUT: Final = 8192

POLICIES: Final = ("predicted_deviation", "feature_difference", "fixed_interval")


@dataclass(frozen=True)
class Declaration:
    """One parameter: what `ros2 param describe` says of it."""

    name: str
    default: Any
    description: str
    allowed_range: tuple[float, float] | None = None
    changes_at_run_time: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """What the parameter is described by while the node runs."""
        descriptor = ParameterDescriptor(description=self.description, read_only=not self.changes_at_run_time)
        if self.allowed_range is not None:
            low, high = self.allowed_range
            if isinstance(self.default, float):
                descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
            else:
                descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        return descriptor

    def expected(self) -> str:
        """What a value must be, in words."""
        kind = _KINDS[type(self.default if not isinstance(self.default, list) else self.default[0])]
        kind = f"a list, each {kind}" if isinstance(self.default, list) else kind
        return kind if self.allowed_range is None else f"{kind} from {self.allowed_range[0]} to {self.allowed_range[1]}"


_KINDS: Final = {
    bool: "true or false",
    int: "a whole number",
    float: "a number with a decimal point (1.0, not 1)",
    str: "a string",
}


DECLARATIONS: Final = (
    Declaration(
        "cameras",
        [""],
        "Names of the cameras. A camera NAME takes NAME/image and publishes ~/NAME/labels, ~/NAME/overlay and "
        "~/NAME/keyframe; the empty name stands for image, ~/labels, ~/overlay and ~/keyframe.",
    ),
    Declaration(
        "model",
        "default",
        "A shipped model's name, a checkpoint's directory or weights file, or a network of your own: a Hugging Face "
        "directory or hub id, an ONNX file, or a YAML that describes one.",
    ),
    Declaration(
        "fast_model",
        "default",
        "Whose Sl, kernels and deviation carry the labels of a model that has no fast track of its own.",
    ),
    Declaration(
        "propagation",
        AUTO,
        f"How a frame gets its labels from the key frame: {', '.join([AUTO, *sorted(PROPAGATIONS)])}. auto takes what "
        "suits the model; the log says which.",
    ),
    Declaration(
        "device",
        "auto",
        "Where the network runs: auto (CUDA where there is one, else the CPU; the log says which), cpu, cuda, cuda:N.",
    ),
    Declaration(
        "input_size",
        MODELS_OWN_SIZE,
        "Width and height in pixels that images are resized to for the network; [0, 0] takes the model's own.",
    ),
    Declaration(
        "class_names", MODELS_OWN_NAMES, 'Names of the classes in the order of their ids; [""] takes the model\'s.'
    ),
    Declaration(
        "class_colours",
        MODELS_OWN_NAMES,
        'Colours of the classes in the overlay, as "#rrggbb" in the order of their ids; [""] takes the model\'s.',
    ),
    Declaration(
        "low_latency",
        True,
        "true: a key frame's labels are propagated and its accurate feature comes later. "
        "false: key frames wait for the slow track.",
        changes_at_run_time=True,
    ),
    Declaration("fast_track_threads", 0, "CPU threads of the fast track; 0 chooses by the number of cores.", (0, 256)),
    Declaration("slow_track_threads", 0, "CPU threads of the slow track; 0 chooses by the number of cores.", (0, 256)),
    Declaration(
        "policy",
        "predicted_deviation",
        f"What makes a frame a key frame: {', '.join(POLICIES)}.",
        changes_at_run_time=True,
    ),
    Declaration(
        "deviation_threshold",
        DEFAULT_POLICY.threshold,
        "predicted_deviation: fraction of pixels with another label than in the key frame that makes a new key frame.",
        (0.0, 1.0),
        changes_at_run_time=True,
    ),
    Declaration(
        "feature_difference_threshold",
        0.5,
        "feature_difference: mean |F_l - the key frame's F_l| / mean |the key frame's F_l| that makes a new key frame.",
        (0.0, 10.0),
        changes_at_run_time=True,
    ),
    Declaration(
        "minimum_key_period",
        DEFAULT_POLICY.minimum_period,
        "predicted_deviation and feature_difference: seconds before which no key frame is due, by the images' stamps, "
        "by their arrival where the stamps stand still; 0.0: no limit.",
        (0.0, 3600.0),
        changes_at_run_time=True,
    ),
    Declaration(
        "maximum_key_period",
        DEFAULT_POLICY.maximum_period,
        "predicted_deviation and feature_difference: seconds after which a key frame is due anyway, likewise; "
        "0.0: no limit.",
        (0.0, 3600.0),
        changes_at_run_time=True,
    ),
    Declaration(
        "minimum_interval",
        DEFAULT_POLICY.minimum_interval,
        "predicted_deviation and feature_difference: fewest frames from one key frame to the next; 0: no limit.",
        (0, 10000),
        changes_at_run_time=True,
    ),
    Declaration(
        "maximum_interval",
        DEFAULT_POLICY.maximum_interval,
        "predicted_deviation and feature_difference: most frames from one key frame to the next; 0: no limit.",
        (0, 10000),
        changes_at_run_time=True,
    ),
    Declaration(
        "idle_threshold",
        DEFAULT_POLICY.idle_threshold,
        "predicted_deviation and feature_difference: what must be measured for an idle slow track to take a frame that "
        "is not due; 1.0: never.",
        (0.0, 1.0),
        changes_at_run_time=True,
    ),
    Declaration(
        "slow_track_share",
        DEFAULT_SHARE,
        "Share of the time that the slow track may be at work before it leaves out idle key frames and training. Key "
        "frames that are due are never refused.",
        (0.0, 1.0),
    ),
    Declaration(
        "interval",
        FixedInterval.interval,
        "fixed_interval: frames from one key frame to the next.",
        (1, 10000),
        changes_at_run_time=True,
    ),
    Declaration(
        "overlay_opacity",
        0.5,
        "How strongly the overlay's colours cover the image: 0 shows the image alone, 1 the colours alone.",
        (0.0, 1.0),
        changes_at_run_time=True,
    ),
    Declaration(
        "image_timeout",
        2.0,
        "Seconds without an image after which /diagnostics warns.",
        (0.1, 3600.0),
        changes_at_run_time=True,
    ),
)


@dataclass(frozen=True)
class Settings:
    """All parameters, each of the type it is used in; the comments are in DECLARATIONS."""

    cameras: tuple[str, ...]
    model: str
    fast_model: str
    propagation: str
    device: str
    input_size: tuple[int, ...]
    class_names: tuple[str, ...]
    class_colours: tuple[str, ...]
    low_latency: bool
    fast_track_threads: int
    slow_track_threads: int
    policy: str
    deviation_threshold: float
    feature_difference_threshold: float
    minimum_key_period: float
    maximum_key_period: float
    minimum_interval: int
    maximum_interval: int
    idle_threshold: float
    slow_track_share: float
    interval: int
    overlay_opacity: float
    image_timeout: float

    def __post_init__(self) -> None:
        check_camera_names(self.cameras)
        if self.policy not in POLICIES:
            raise ParameterError(f"policy is {self.policy!r}; expected one of {', '.join(POLICIES)}")
        for limit in ("interval", "key_period"):
            minimum, maximum = getattr(self, f"minimum_{limit}"), getattr(self, f"maximum_{limit}")
            if 0 < maximum < minimum:
                raise ParameterError(
                    f"minimum_{limit} is {minimum} and maximum_{limit} {maximum}; "
                    "expected the minimum not to be above the maximum"
                )

    def changed(self, values: Mapping[str, Any]) -> Settings:
        """These settings with some values replaced, checked as a whole; raises ParameterError."""
        return replace(self, **{name: _frozen(value) for name, value in values.items()})

    def key_frame_policy(self) -> KeyFramePolicy:
        """A policy of the chosen kind."""
        if self.policy == "fixed_interval":
            return FixedInterval(self.interval)
        intervals = self.minimum_interval, self.maximum_interval
        periods = self.minimum_key_period, self.maximum_key_period
        if self.policy == "feature_difference":
            return FeatureDifference(self.feature_difference_threshold, *intervals, *periods, self.idle_threshold)
        return PredictedDeviation(self.deviation_threshold, *intervals, *periods, self.idle_threshold)


_BY_NAME: Final = {declaration.name: declaration for declaration in DECLARATIONS}
SETTING_NAMES: Final = frozenset(_BY_NAME)


def declare_parameters(node: Node) -> Settings:
    """Declare every parameter of DECLARATIONS and return their values.

    Raises:
        ParameterError: a value of the wrong type, out of its range, or that does not fit another one.
    """
    values = {}
    for declaration in DECLARATIONS:
        try:
            parameter = node.declare_parameter(declaration.name, declaration.default, _first_descriptor(declaration))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            given = _given_values(node).get(declaration.name)
            raise ParameterError(f"{declaration.name} is {given!r}; expected {declaration.expected()}") from error
        values[declaration.name] = _frozen(parameter.value)
    return Settings(**values)


def unknown_parameters(node: Node) -> list[str]:
    """Names that were given at start-up but that the node does not have: misspelt ones, most likely."""
    return sorted(name for name in _given_values(node) if not node.has_parameter(name))


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
        input_size=_input_size(settings.input_size) or fast.config.input_size,
        classes=_one_a_class("class_names", settings.class_names, class_count) or slow.classes,
        colours=_colours(_one_a_class("class_colours", settings.class_colours, class_count)) or slow.colours,
    )


def show_presented(node: Node, model: PresentedModel) -> None:
    """Let `ros2 param get` answer with the names, colours and size in use, and fix them."""
    colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in model.colours]
    in_use = (list(model.input_size), list(model.classes), colours)
    for name, value in zip(LEFT_TO_THE_MODEL, in_use, strict=True):
        node.set_parameters([Parameter(name, value=value)])
        descriptor = _BY_NAME[name].descriptor()
        descriptor.type = node.describe_parameter(name).type
        node.set_descriptor(name, descriptor)


def check_camera_names(names: Sequence[str]) -> None:
    """Raise ParameterError unless every name can be part of a topic and no two are the same."""
    if not names:
        raise ParameterError('cameras is empty; expected at least one name, or [""] for one camera without a name')
    for name in names:
        if not _CAMERA_NAME.fullmatch(name):
            raise ParameterError(
                f"cameras contains {name!r}; expected letters, digits and underscores, not starting with a digit, "
                "in parts that may be separated by slashes"
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ParameterError(f"cameras contains {twice[0]!r} more than once; expected every name once")


def _first_descriptor(declaration: Declaration) -> ParameterDescriptor:
    descriptor = declaration.descriptor()
    descriptor.read_only = descriptor.read_only and declaration.name not in LEFT_TO_THE_MODEL
    return descriptor


def _given_values(node: Node) -> dict[str, Any]:
    # Public only by declaring each name, which is what has failed or not happened where this is asked.
    return {name: parameter.value for name, parameter in getattr(node, "_parameter_overrides", {}).items()}


def _input_size(size: tuple[int, ...]) -> tuple[int, int] | None:
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
        raise ParameterError(f'class_colours contains {value!r}; expected "#rrggbb", as in "#804080"')
    red, green, blue = bytes.fromhex(value[1:])
    return red, green, blue


def _frozen(value: Any) -> Any:
    return value if isinstance(value, (str, bool, int, float)) else tuple(value)

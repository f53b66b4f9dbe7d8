"""The node's parameters: declared by one table, checked as a whole, changed at run time where that is possible."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from lowlat_seg_ros.errors import ParameterError, shown
from lowlat_seg_ros.ros.declarations import BY_NAME, DECLARATIONS, IMAGE_TRANSPORTS, LEFT_TO_THE_MODEL, Declaration
from lowlat_seg_ros.ros.diagnostics import Limits
from lowlat_seg_ros.ros.endpoints import IMAGE_RELIABILITIES, given_values
from lowlat_seg_ros.stream.key_frames import POLICIES, KeyFramePolicy, policy_named
from lowlat_seg_ros.stream.key_frames import Limits as KeyFrameLimits
from lowlat_seg_ros.stream.networks import Wishes

_CAMERA_NAME: Final = re.compile(r"|[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
_LONGEST_CAMERA_NAME: Final = 100
"""Characters. DDS takes topics of 247, namespace and the node's own name included."""


@dataclass(frozen=True)
class Settings:
    """All parameters, each of the type it is used in; the comments are in `declarations.py`."""

    cameras: tuple[str, ...]
    model: str
    fast_model: str
    propagation: str
    device: str
    fast_runtime: str
    slow_runtime: str
    fast_precision: str
    slow_precision: str
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
    warn_key_age: float
    error_key_age: float
    backward_stamp_tolerance: float
    autostart: bool
    image_transport: str
    rest_without_subscribers: bool
    image_reliability: str

    def __post_init__(self) -> None:
        check_camera_names(self.cameras)
        self.wishes()
        if self.policy not in POLICIES:
            raise ParameterError(f"policy is {shown(self.policy)}; expected one of {', '.join(POLICIES)}")
        if self.image_transport not in IMAGE_TRANSPORTS:
            expected = ", ".join(IMAGE_TRANSPORTS)
            raise ParameterError(f"image_transport is {shown(self.image_transport)}; expected one of {expected}")
        if self.image_reliability not in IMAGE_RELIABILITIES:
            expected = ", ".join(IMAGE_RELIABILITIES)
            raise ParameterError(f"image_reliability is {shown(self.image_reliability)}; expected one of {expected}")
        for limit in ("interval", "key_period"):
            minimum, maximum = getattr(self, f"minimum_{limit}"), getattr(self, f"maximum_{limit}")
            if 0 < maximum < minimum:
                raise ParameterError(
                    f"minimum_{limit} is {minimum} and maximum_{limit} {maximum}; "
                    "expected the minimum not to be above the maximum"
                )
        if self.error_key_age < self.warn_key_age:
            raise ParameterError(
                f"warn_key_age is {self.warn_key_age} and error_key_age {self.error_key_age}; "
                "expected the warning not to come after the error"
            )

    def left_to_the_model(self) -> list[Parameter[Any]]:
        """What was given for the parameters that tell the model's own values while the node is configured."""
        return [Parameter(name, value=list(getattr(self, name))) for name in LEFT_TO_THE_MODEL]

    def limits(self) -> Limits:
        """From when on /diagnostics tells something."""
        return Limits(self.image_timeout, self.warn_key_age, self.error_key_age)

    def changed(self, values: Mapping[str, Any]) -> Settings:
        """These settings with some values replaced, checked as a whole; raises ParameterError."""
        return replace(self, **{name: _frozen(value) for name, value in values.items()})

    def wishes(self) -> Wishes:
        """Where the tracks are to run; raises ParameterError."""
        return Wishes.named(self.fast_runtime, self.slow_runtime, self.fast_precision, self.slow_precision)

    def key_frame_policy(self) -> KeyFramePolicy:
        """A policy of the chosen kind."""
        is_difference = self.policy == "feature_difference"
        threshold = self.feature_difference_threshold if is_difference else self.deviation_threshold
        intervals = self.minimum_interval, self.maximum_interval
        periods = self.minimum_key_period, self.maximum_key_period
        limits = KeyFrameLimits(*intervals, *periods, self.idle_threshold)
        return policy_named(self.policy, threshold, self.interval, limits)


def given_autostart(node: Node) -> bool:
    """Whether the node starts by itself; where what was given is no answer, so that its start says so and fails."""
    return given_values(node).get("autostart", True) is not False


def declare_parameters(node: Node) -> dict[str, ParameterError]:
    """Declare every one of DECLARATIONS that is not there yet, whatever was given for it.

    Returns by name what was given and cannot be used; until such a parameter is set it has its default.
    """
    unusable = {}
    for declaration in DECLARATIONS:
        if node.has_parameter(declaration.name):
            continue
        name, default, descriptor = declaration.name, declaration.default, declaration.descriptor()
        try:
            node.declare_parameter(name, default, descriptor)
        except (InvalidParameterTypeException, InvalidParameterValueException):
            unusable[name] = _wrong(declaration, given_values(node).get(name))
            node.declare_parameter(name, default, descriptor, ignore_override=True)
    return unusable


def read_settings(node: Node) -> Settings:
    """The values of the parameters, which are declared.

    Raises:
        ParameterError: a value that does not fit another one, or none.
    """
    return Settings(**{declaration.name: _frozen(_value(node, declaration)) for declaration in DECLARATIONS})


def _value(node: Node, declaration: Declaration) -> Any:
    try:
        return node.get_parameter(declaration.name).value
    except ParameterUninitializedException as error:  # a file's empty list, of which ROS knows no type
        raise _wrong(declaration, []) from error


def _wrong(declaration: Declaration, value: object) -> ParameterError:
    return ParameterError(f"{declaration.name} is {shown(value, 300)}; expected {declaration.expected()}")


def unsuitable(node: Node, parameter: Parameter[Any]) -> str:
    """A sentence on a parameter that the node does not have, or a value of another type; else empty."""
    if not node.has_parameter(parameter.name):
        return f"there is no parameter {shown(parameter.name)}"
    declaration = BY_NAME.get(parameter.name)
    if declaration is None or parameter.type_ == Parameter.Type.from_parameter_value(declaration.default):
        return ""
    return str(_wrong(declaration, parameter.value))


def check_change(settings: Settings, parameters: Sequence[Parameter[Any]], is_configured: bool) -> None:
    """Raise ParameterError where these parameters cannot be set now."""
    values = own_values(parameters)
    fixed = [name for name in values if is_configured and not BY_NAME[name].changes_at_run_time]
    if fixed:
        raise ParameterError(f"{fixed[0]} is read-only while the node is configured; clean it up first")
    settings.changed(values)


def own_values(parameters: Sequence[Parameter[Any]]) -> dict[str, object]:
    """Of our own parameters: use_sim_time and others of rclpy come through the same callbacks."""
    return {parameter.name: parameter.value for parameter in parameters if parameter.name in BY_NAME}


def unknown_parameters(node: Node) -> list[str]:
    """Names that were given at start-up but that the node does not have: misspelt ones, most likely."""
    return sorted(name for name in given_values(node) if not node.has_parameter(name))


def check_camera_names(names: Sequence[str]) -> None:
    """Raise ParameterError unless every name can be part of a topic and no two are the same."""
    if not names:
        raise ParameterError('cameras is empty; expected at least one name, or [""] for one camera without a name')
    for name in names:
        if not _CAMERA_NAME.fullmatch(name) or len(name) > _LONGEST_CAMERA_NAME:
            raise ParameterError(
                f"cameras contains {shown(name)}; expected at most {_LONGEST_CAMERA_NAME} letters, digits and "
                "underscores, not starting with a digit, in parts that may be separated by slashes"
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ParameterError(f"cameras contains {twice[0]!r} more than once; expected every name once")


def _frozen(value: Any) -> Any:
    return value if isinstance(value, (str, bool, int, float)) else tuple(value)

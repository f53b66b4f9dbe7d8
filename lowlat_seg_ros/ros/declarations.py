"""The table of the node's parameters: their names, defaults, descriptions and ranges.

`config/seg.yaml` lists the same names and defaults with comments; a test keeps the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from lowlat_seg_ros.fast.registry import AUTO, PROPAGATIONS, propagation_in_use
from lowlat_seg_ros.ros.endpoints import AUTO_RELIABILITY, IMAGE_RELIABILITIES
from lowlat_seg_ros.runtime.choice import PRECISION_NAMES, RUNTIME_NAMES
from lowlat_seg_ros.stream.engine import BACKWARD_STAMP_TOLERANCE
from lowlat_seg_ros.stream.key_frames import DEFAULT_POLICY, POLICIES, FixedInterval
from lowlat_seg_ros.stream.time_share import DEFAULT_SHARE

MODELS_OWN_NAMES: Final = [""]
MODELS_OWN_SIZE: Final = [0, 0]
"""How `class_names`, `class_colours` and `input_size` leave it to the model; of an empty list rclpy knows no type."""

LEFT_TO_THE_MODEL: Final = ("input_size", "class_names", "class_colours")
"""Unless given they are the model's, and tell its values while it is loaded."""


IMAGE_TRANSPORTS: Final = ("auto", "raw", "compressed")


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
        # Not `read_only`, which is for ever: rclpy would refuse what the node's state allows.
        constraint = "" if self.changes_at_run_time else "read-only while the node is configured"
        descriptor = ParameterDescriptor(description=self.description, additional_constraints=constraint)
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
        f"How a frame gets its labels from the key frame: {', '.join([AUTO, *sorted(PROPAGATIONS)])}. auto is "
        f"{propagation_in_use(AUTO)}.",
    ),
    Declaration(
        "device",
        "auto",
        "Where the network runs: auto (CUDA where there is one, else the CPU; the log says which), cpu, cuda, cuda:N.",
    ),
    *(
        Declaration(
            f"{track}_{kind}",
            AUTO,
            f"The {kind} of the {track} track's network: {', '.join(names)}. auto chooses by the CPU, of what is "
            "installed; the log says what and why.",
        )
        for kind, names in (
            ("runtime", RUNTIME_NAMES),
            ("precision", PRECISION_NAMES),
        )
        for track in ("fast", "slow")
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
        "true: a key frame's labels are propagated and its accurate answer comes later. "
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
        "Share of the time that the slow track may be at work before it leaves out idle key frames and learns less "
        "from each answer. Key frames that are due are never refused.",
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
        "Seconds without an image after which /diagnostics warns; after five times as many it says STALE.",
        (0.1, 3600.0),
        changes_at_run_time=True,
    ),
    Declaration(
        "warn_key_age",
        2.0,
        "Seconds for which a key frame may be due without the slow network's answer before /diagnostics warns.",
        (0.1, 3600.0),
        changes_at_run_time=True,
    ),
    Declaration(
        "error_key_age",
        10.0,
        "Likewise, before /diagnostics says ERROR. A run that takes longer, and three times as long as any before, "
        "is abandoned.",
        (0.1, 3600.0),
        changes_at_run_time=True,
    ),
    Declaration(
        "backward_stamp_tolerance",
        BACKWARD_STAMP_TOLERANCE,
        "Seconds by which an image's stamp may be before the last one's: the image is dropped. Further back, time has "
        "begun anew, as where a bag is played in a loop, and so does the stream.",
        (0.0, 3600.0),
        changes_at_run_time=True,
    ),
    Declaration(
        "autostart",
        True,
        "true: load the model and take images at once. false: wait for the lifecycle's configure and activate.",
    ),
    Declaration(
        "image_transport",
        IMAGE_TRANSPORTS[0],
        f"How images come: {', '.join(IMAGE_TRANSPORTS)}. compressed takes JPEG and PNG from the image topic's name "
        "with /compressed behind it; auto takes these where nobody sends raw images.",
    ),
    Declaration(
        "rest_without_subscribers",
        True,
        "true: no images are taken while nobody listens to labels, confidence, color, overlay or keyframe.",
        changes_at_run_time=True,
    ),
    Declaration(
        "image_reliability",
        AUTO_RELIABILITY,
        f"Reliability asked of the images' publishers: {', '.join(IMAGE_RELIABILITIES)}. auto takes what they offer.",
    ),
)

BY_NAME: Final = {declaration.name: declaration for declaration in DECLARATIONS}

"""Start the node: `ros2 launch lowlat_seg_ros seg.launch.py image:=/camera/image_raw rviz:=true`.

With several cameras: `cameras:="[front, rear]" image:="[/front/image_raw, /rear/image_raw]"`.
"""

from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, RegisterEventHandler, TimerAction
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.events.process import ProcessExited, ProcessIO
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from lowlat_seg_ros.ros.parameter_files import sections_for
from lowlat_seg_ros.ros.process_setup import profile_variable

SHARE = Path(get_package_share_directory("lowlat_seg_ros"))
READY = b"ready on"  # says the node once it takes images, at any log level
SECONDS_TO_RESPAWN = 2.0

ARGUMENTS = {
    "image": (
        "",
        "Topic of the camera's images; of several cameras a list in their order, as in [/a/image, /b/image].",
    ),
    "camera_info": ("", "Topic of the camera's CameraInfo, or a list; by default beside the images."),
    "cameras": ("", "Overrides the parameter file's cameras: a list of names, as in [front, rear]."),
    "namespace": ("", "Namespace of the node, and of every topic that does not start with a slash."),
    "name": ("lowlat_seg", "Name of the node."),
    "params_file": (str(SHARE / "config" / "seg.yaml"), "Parameter file."),
    "model": (
        "",
        "Overrides the parameter file's model: a shipped model's name, a checkpoint's path or a network of your own.",
    ),
    "device": ("", "Overrides the parameter file's device: auto, cpu, cuda or cuda:N."),
    "use_sim_time": ("", "Overrides the parameter file's use_sim_time: true takes the time from /clock."),
    "autostart": ("", "Overrides the parameter file's autostart: false leaves the lifecycle's transitions to others."),
    "log_level": ("info", "debug, info, warn, error or fatal."),
    "respawn": ("true", "true: a node that dies once it was ready is started again."),
    "rviz": ("false", "true: show camera and overlay in RViz."),
    "share_profile": (
        "false",
        "true: all that is launched after this, such as a camera's driver, gets config/fastdds.xml too.",
    ),
}


class LaunchError(RuntimeError):
    """Ends `ros2 launch` with this sentence and a code other than 0."""


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` asks for."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The processes, once the arguments' values are known."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    node = full_name(value, context.launch_configurations.get("ros_namespace", ""))
    cameras = camera_names(value, node)
    remappings = remapped(cameras, value)
    if is_true(value, "share_profile"):
        context.environment.setdefault(profile_variable(), str(SHARE / "config" / "fastdds.xml"))
    is_true(value, "respawn")  # said now, and not when the node has died
    outputs = f"{node}/{cameras[0]}".rstrip("/")
    shown = [rviz(outputs, cameras[0], value, dict(remappings))] if is_true(value, "rviz") else []
    return [*shown, *supervised(value, remappings)]


def supervised(
    value: dict[str, str], remappings: list[tuple[str, str]], was_ready: bool = False
) -> list[LaunchDescriptionEntity]:
    """The node, started again when it dies once it or one before it was ready; until then its end is the launch's.

    launch's own `respawn` would start a node with a misspelt parameter again for ever.
    """
    node = segmentation_node(value, remappings)

    def note_output(event: ProcessIO) -> None:
        nonlocal was_ready
        was_ready = was_ready or READY in event.text

    def after_exit(event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        if event.returncode == 0 or context.is_shutdown:
            return None
        if not was_ready:
            raise LaunchError(f"seg_node ended with code {event.returncode} before it was ready; its log says why")
        if not is_true(value, "respawn"):
            raise LaunchError(f"seg_node ended with code {event.returncode}; its log says why")
        return [TimerAction(period=SECONDS_TO_RESPAWN, actions=supervised(value, remappings, was_ready=True))]

    output = OnProcessIO(target_action=node, on_stdout=note_output, on_stderr=note_output)
    return [
        RegisterEventHandler(output),
        RegisterEventHandler(OnProcessExit(target_action=node, on_exit=after_exit)),
        node,
    ]


def segmentation_node(value: dict[str, str], remappings: list[tuple[str, str]]) -> Node:
    """The node's process."""
    # An argument that was not given must not hide what the parameter file says.
    overrides: dict[str, Any] = {name: value[name] for name in ("model", "device") if value[name]}
    overrides |= {name: is_true(value, name) for name in ("use_sim_time", "autostart") if value[name]}
    if value["cameras"]:
        overrides["cameras"] = as_list("cameras", value["cameras"])
    return Node(
        package="lowlat_seg_ros",
        executable="seg_node",
        name=value["name"],
        namespace=value["namespace"],
        parameters=[value["params_file"], overrides],
        remappings=remappings,
        arguments=["--ros-args", "--log-level", value["log_level"]],
        output="screen",
    )


def full_name(value: dict[str, str], pushed_namespace: str) -> str:
    """The node's, with the namespace of a launch file that includes this one before it."""
    own = value["namespace"]
    namespace = own if own.startswith("/") else f"{pushed_namespace}/{own}"
    return "/".join(["", *(part for part in namespace.split("/") if part), value["name"]])


def camera_names(value: dict[str, str], node: str) -> list[str]:
    """Of the argument, else of the parameter file's sections for the node; the file must exist and be read."""
    file = Path(value["params_file"])
    try:
        sections = yaml.safe_load(file.read_text()) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise LaunchError(f"params_file {str(file)!r} cannot be read: {' '.join(str(error).split())}") from error
    if value["cameras"]:
        if not as_list("cameras", value["cameras"]):
            raise LaunchError("cameras names no camera; expected one, or several in brackets, as in [front, rear]")
        return as_list("cameras", value["cameras"])
    names = [""]
    for parameters in sections_for(sections, node):
        given = parameters.get("cameras") if isinstance(parameters, dict) else None
        names = given if isinstance(given, list) else names  # what is none ends the node, which says why
    return names


def remapped(cameras: list[str], value: dict[str, str]) -> list[tuple[str, str]]:
    """Each camera's image and camera_info to the topics that were given for them."""
    images, infos = (as_list(name, value[name]) for name in ("image", "camera_info"))
    for name, topics in (("image", images), ("camera_info", infos)):
        if topics and len(topics) != len(cameras):
            known = ", ".join(camera or "one without a name" for camera in cameras)
            raise LaunchError(
                f"{name} names {len(topics)} topic(s) for {len(cameras)} camera(s) ({known}); expected one each, "
                f'as in {name}:="[/a/{name}, /b/{name}]"'
            )
    infos = infos or [beside(image) for image in images]
    pairs = [*zip(image_names(cameras, "image"), images, strict=False)]  # none where no topic was given
    return [*pairs, *zip(image_names(cameras, "camera_info"), infos, strict=False)]


def image_names(cameras: list[str], topic: str) -> list[str]:
    """What the node calls that topic of each camera."""
    return [f"{camera}/{topic}".lstrip("/") for camera in cameras]


def beside(image: str) -> str:
    """Where a driver publishes CameraInfo with the images of that topic."""
    namespace, slash, _ = image.rpartition("/")
    return f"{namespace}{slash}camera_info"


def rviz(outputs: str, camera: str, value: dict[str, str], remappings: dict[str, str]) -> Node:
    """RViz with its displays on one camera's topics, what is published of it being below `outputs`."""
    if not has_package("rviz2"):
        raise LaunchError("rviz is true, and there is no package rviz2; expected it to be installed, or rviz:=false")
    image = f"{camera}/image".lstrip("/")
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=value["namespace"],
        arguments=["-d", str(SHARE / "rviz" / "seg.rviz")],
        remappings=[
            ("/image", remappings.get(image, image)),
            ("/lowlat_seg/overlay", f"{outputs}/overlay"),
        ],
    )


def has_package(name: str) -> bool:
    """Whether a package is installed."""
    try:
        get_package_prefix(name)
    except PackageNotFoundError:
        return False
    return True


def is_true(value: dict[str, str], name: str) -> bool:
    """As launch's own conditions read it."""
    word = value[name].strip().lower()
    if word not in ("true", "1", "false", "0"):
        raise LaunchError(f"{name} is {value[name]!r}; expected true or false")
    return word in ("true", "1")


def as_list(name: str, text: str) -> list[str]:
    """One value, or several in brackets; none of an empty text."""
    try:
        read = yaml.safe_load(text) if text.strip().startswith("[") else [text] if text else []
    except yaml.YAMLError:
        read = None
    if not isinstance(read, list) or not all(isinstance(each, str) for each in read):
        raise LaunchError(f"{name} is {text!r}; expected a name, or several in brackets, as in [a, b]")
    return read

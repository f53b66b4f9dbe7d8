"""Start the node: `ros2 launch lowlat_seg_ros seg.launch.py image:=/camera/image_raw rviz:=true`."""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("lowlat_seg_ros"))

ARGUMENTS = {
    "image": ("image", "Topic of the camera's images (sensor_msgs/msg/Image)."),
    "namespace": ("", "Namespace of the node, and of every topic that does not start with a slash."),
    "params_file": (str(SHARE / "config" / "seg.yaml"), "Parameter file."),
    "model": (
        "",
        "Overrides the parameter file's model: a shipped model's name, a checkpoint's path or a network of your own.",
    ),
    "device": ("", "Overrides the parameter file's device: auto, cpu, cuda or cuda:N."),
    "log_level": ("info", "debug, info, warn, error or fatal."),
    "rviz": ("false", "true: show camera and overlay in RViz."),
}


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
    use_transport_profile(context)
    # An argument that was not given must not hide what the parameter file says.
    overrides = {name: value[name] for name in ("model", "device") if value[name]}
    node = Node(
        package="lowlat_seg_ros",
        executable="seg_node",
        namespace=value["namespace"],
        parameters=[value["params_file"], overrides],
        remappings=[("image", value["image"])],
        arguments=["--ros-args", "--log-level", value["log_level"]],
        output="screen",
    )
    return [node, rviz(value["namespace"], value["image"])] if value["rviz"] == "true" else [node]


def use_transport_profile(context: LaunchContext) -> None:
    """Give every process started here the shared-memory segment that images need, unless the user chose a profile."""
    older = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    chosen = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
    if not any(name in context.environment for name in chosen):
        context.environment[chosen[1 if older else 0]] = str(SHARE / "config" / "fastdds.xml")


def rviz(namespace: str, image: str) -> Node:
    """RViz with its two displays on this node's topics."""
    node = f"/{namespace}/lowlat_seg".replace("//", "/")
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=namespace,
        arguments=["-d", str(SHARE / "rviz" / "seg.rviz")],
        remappings=[
            ("/image", image),
            ("/lowlat_seg/overlay", f"{node}/overlay"),
        ],
    )

"""Three cameras, one node: `ros2 launch lowlat_seg_ros three_cameras.launch.py`.

An example to copy: labels come on /vehicle/lowlat_seg/front/labels, …/left/labels and …/right/labels.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

IMAGES = {"front": "/front/image_raw", "left": "/left/image_raw", "right": "/right/image_raw"}


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` asks for."""
    seg = Path(get_package_share_directory("lowlat_seg_ros"), "launch", "seg.launch.py")
    arguments = {
        "namespace": "vehicle",
        "cameras": f"[{', '.join(IMAGES)}]",
        "image": f"[{', '.join(IMAGES.values())}]",
    }
    return LaunchDescription(
        [IncludeLaunchDescription(PythonLaunchDescriptionSource(str(seg)), launch_arguments=arguments.items())]
    )

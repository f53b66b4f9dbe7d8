"""The classes as `vision_msgs/LabelInfo`: what Nav2's semantic segmentation layer reads beside the labels."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.ros.endpoints import latched, publisher
from lowlat_seg_ros.ros.outputs import joined

UNLABELLED_NAME = "unlabelled"


def publish_label_info(node: Node, cameras: tuple[str, ...], classes: tuple[str, ...]) -> list[Publisher[Any]]:
    """Once on `~/label_info` and each `~/NAME/label_info`, for whoever comes later; nothing without vision_msgs.

    Returns the publishers, which keep what was published.
    """
    try:
        from vision_msgs.msg import LabelInfo, VisionClass
    except ImportError:
        node.get_logger().info("vision_msgs is not installed: ~/label_info is not published, ~/classes tells the same")
        return []
    named = [*enumerate(classes), (UNLABELLED, UNLABELLED_NAME)]
    message = LabelInfo(class_map=[VisionClass(class_id=number, class_name=name) for number, name in named])
    message.header.stamp = node.get_clock().now().to_msg()
    topics = sorted({joined("~", name, "label_info") for name in ("", *cameras)})
    publishers = [publisher(node, LabelInfo, topic, latched()) for topic in topics]
    for each in publishers:
        each.publish(message)
    return publishers

"""What may be the cause where no image comes."""

from __future__ import annotations

from typing import Final

from rclpy.node import Node

IMAGE: Final = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE: Final = "sensor_msgs/msg/CompressedImage"
MOST_NAMED: Final = 5


def what_is_on(node: Node, topic: str, expected: str = IMAGE) -> str:
    """In a sentence: who publishes on the topic, and of what type, or which topics carry images instead."""
    types = sorted({endpoint.topic_type for endpoint in node.get_publishers_info_by_topic(topic)})
    if types and types != [expected]:
        return f"what is published there is {', '.join(types)}; expected {expected}"
    if types:
        return f"there is a publisher of {expected}, which sends nothing or cannot reach this node"
    return f"nobody publishes there; {_topics_with_images(node, expected)}"


def _topics_with_images(node: Node, expected: str) -> str:
    own = node.get_fully_qualified_name()
    topics = [
        name
        for name, types in node.get_topic_names_and_types()
        if expected in types and not name.startswith(f"{own}/") and node.count_publishers(name)
    ]
    if not topics:
        return f"no topic carries {expected}"
    more = ", …" if len(topics) > MOST_NAMED else ""
    return f"images are on {', '.join(topics[:MOST_NAMED])}{more}"

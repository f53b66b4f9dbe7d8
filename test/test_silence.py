"""What is said where no image comes, over real DDS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy")

from node_setup import TestBench, own_namespace
from sensor_msgs.msg import CompressedImage, Image

from lowlat_seg_ros.ros.silence import what_is_on


@pytest.fixture
def bench() -> Iterator[TestBench]:
    bench = TestBench(own_namespace("silence"))
    yield bench
    bench.close()


def said(bench: TestBench, words: str) -> bool:
    return words in what_is_on(bench.node, f"{bench.namespace}/image")


def test_another_type_on_the_topic_is_named(bench: TestBench) -> None:
    bench.node.create_publisher(CompressedImage, "image", 1)
    sentence = "what is published there is sensor_msgs/msg/CompressedImage; expected sensor_msgs/msg/Image"
    bench.spin_until(lambda: said(bench, sentence), sentence)


def test_a_publisher_that_sends_nothing_is_told(bench: TestBench) -> None:
    bench.node.create_publisher(Image, "image", 1)
    bench.spin_until(lambda: said(bench, "there is a publisher of sensor_msgs/msg/Image"), "it")


def test_topics_that_carry_images_are_named(bench: TestBench) -> None:
    bench.spin_until(lambda: said(bench, "nobody publishes there"), "that nobody does")
    bench.node.create_publisher(Image, "other/image_raw", 1)
    bench.spin_until(lambda: said(bench, f"images are on {bench.namespace}/other/image_raw"), "where images are")

"""QoS from the parameter file, and image subscriptions that fit their publishers, over the real middleware."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from node_setup import PATIENCE, own_namespace
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from lowlat_seg_ros.errors import ParameterError
from lowlat_seg_ros.ros.endpoints import ImageSubscription, infos, output, overrides_of, publisher, subscription
from lowlat_seg_ros.ros.losses import Arrival
from lowlat_seg_ros.ros.parameters import unknown_parameters

NAMESPACE = own_namespace("endpoints")
IMAGE, LABELS = f"{NAMESPACE}/image", f"{NAMESPACE}/lowlat_seg/labels"
RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


class Ends:
    """A node with endpoints and one in a camera's place."""

    def __init__(self, overrides: dict[str, Any]) -> None:
        self._context = rclpy.Context()
        self._context.init(args=[])
        given = [Parameter(f"qos_overrides.{name}", value=value) for name, value in overrides.items()]
        options = {"namespace": NAMESPACE, "context": self._context}
        self.node = Node("lowlat_seg", parameter_overrides=given, **options)
        self.driver = Node("driver", **options)
        self._executor = SingleThreadedExecutor(context=self._context)
        for each in (self.node, self.driver):
            self._executor.add_node(each)
        self.arrived: list[int] = []

    def subscribe(self, image_reliability: str = "auto") -> ImageSubscription:
        return ImageSubscription(self.node, Image, "image", self._on_image, image_reliability)

    def publish_with(self, reliability: ReliabilityPolicy) -> Publisher[Image]:
        return self.driver.create_publisher(Image, "image", QoSProfile(depth=5, reliability=reliability))

    def spin_until(self, condition: Callable[[], bool]) -> None:
        end = self.node.get_clock().now().nanoseconds + PATIENCE * 1e9
        while not condition():
            assert self.node.get_clock().now().nanoseconds < end, "it did not come about"
            self._executor.spin_once(timeout_sec=0.05)

    def assert_heard(self, subscription: ImageSubscription, images: Publisher[Image], stamp: int) -> None:
        self.spin_until(lambda: subscription.publisher_count > 0 and images.get_subscription_count() > 0)
        message = Image()
        message.header.stamp.sec = stamp
        images.publish(message)
        self.spin_until(lambda: stamp * 1_000_000_000 in self.arrived)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self.driver.destroy_node()
        self._context.try_shutdown()

    def _on_image(self, message: Image, arrival: Arrival) -> None:
        self.arrived.append(arrival.stamp)


@pytest.fixture
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    ends = Ends(getattr(request, "param", {}))
    yield ends
    ends.close()


@pytest.mark.parametrize("reliability", [RELIABLE, BEST_EFFORT])
@pytest.mark.parametrize("camera_first", [True, False])
def test_auto_takes_what_the_camera_offers_whichever_starts_first(
    ends: Ends, reliability: ReliabilityPolicy, camera_first: bool
) -> None:
    images = ends.publish_with(reliability) if camera_first else None
    if images is not None:
        ends.spin_until(lambda: len(ends.node.get_publishers_info_by_topic(IMAGE)) == 1)
    subscription = ends.subscribe()
    ends.assert_heard(subscription, images or ends.publish_with(reliability), stamp=1)
    assert (subscription.reliability, subscription.trouble) == (reliability, "")


def test_auto_follows_cameras_that_come_and_go(ends: Ends) -> None:
    subscription = ends.subscribe()
    reliable = ends.publish_with(RELIABLE)
    ends.assert_heard(subscription, reliable, stamp=1)
    best_effort = ends.publish_with(BEST_EFFORT)
    ends.assert_heard(subscription, best_effort, stamp=2)
    ends.assert_heard(subscription, reliable, stamp=3)
    assert subscription.reliability == BEST_EFFORT
    ends.driver.destroy_publisher(best_effort)

    def is_reliable_again() -> bool:
        subscription.fit()  # as the node does once a second
        return subscription.reliability == RELIABLE

    ends.spin_until(is_reliable_again)
    ends.assert_heard(subscription, reliable, stamp=4)


def test_a_publisher_that_is_not_heard_is_a_trouble(ends: Ends) -> None:
    subscription = ends.subscribe("reliable")
    images = ends.publish_with(BEST_EFFORT)
    ends.spin_until(lambda: subscription.trouble != "")
    assert "1 publisher(s) of" in subscription.trouble
    assert "do not offer the reliability reliable" in subscription.trouble
    assert subscription.trouble.endswith("set image_reliability to auto")
    ends.driver.destroy_publisher(images)
    ends.spin_until(lambda: subscription.trouble == "")


@pytest.mark.parametrize(
    "ends",
    [{f"{IMAGE}.subscription.reliability": "best_effort", f"{IMAGE}.subscription.depth": 7}],
    indirect=True,
)
def test_an_override_of_the_image_goes_before_auto(ends: Ends) -> None:
    subscription = ends.subscribe()
    ends.assert_heard(subscription, ends.publish_with(RELIABLE), stamp=1)
    assert subscription.reliability == BEST_EFFORT
    assert subscription._subscription.qos_profile.depth == 7
    subscription.close()
    assert ends.subscribe().reliability == BEST_EFFORT  # when the node is activated again


@pytest.mark.parametrize(
    "ends",
    [{f"{LABELS}.publisher.reliability": "best_effort", f"{LABELS}.publisher.durability": "transient_local"}],
    indirect=True,
)
def test_every_publisher_can_be_overridden_and_no_other_one_changes(ends: Ends) -> None:
    publisher(ends.node, Image, "~/labels", output())
    publisher(ends.node, Image, "~/overlay", output())
    ends.spin_until(lambda: len(ends.driver.get_publishers_info_by_topic(LABELS)) == 1)
    (labels,) = ends.driver.get_publishers_info_by_topic(LABELS)
    (overlay,) = ends.driver.get_publishers_info_by_topic(f"{NAMESPACE}/lowlat_seg/overlay")
    assert labels.qos_profile.reliability == BEST_EFFORT
    assert labels.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert overlay.qos_profile.reliability == RELIABLE


@pytest.mark.parametrize(
    "ends",
    [
        {f"{LABELS}.publisher.reliability": "sometimes"},
        {f"{LABELS}.publisher.depth": -3},
        {f"{LABELS}.publisher.depth": "deep"},
    ],
    indirect=True,
)
def test_an_override_that_cannot_be_used_is_a_sentence(ends: Ends) -> None:
    with pytest.raises(ParameterError, match=f"^qos_overrides of {LABELS} cannot be used: "):
        publisher(ends.node, Image, "~/labels", output())


COMPRESSED = f"{IMAGE}/compressed"


@pytest.mark.parametrize("ends", [{f"{COMPRESSED}.subscription.depth": 7}], indirect=True)
def test_the_overrides_of_a_subscription_are_known_before_it_is_made(ends: Ends) -> None:
    """For the topic that a camera's images may yet come from."""
    assert set(unknown_parameters(ends.node)) <= overrides_of(COMPRESSED)
    made = subscription(ends.node, CompressedImage, COMPRESSED, lambda message: None, infos())
    assert made.qos_profile.depth == 7
    assert unknown_parameters(ends.node) == []
    assert all(ends.node.has_parameter(name) for name in overrides_of(COMPRESSED))

"""Publishers and subscriptions whose QoS the parameter file can set (`qos_overrides`), and images from any camera.

/**:
  ros__parameters:
    qos_overrides:
      /camera/image_raw:
        subscription: {depth: 2}
      /lowlat_seg/labels:
        publisher: {reliability: best_effort}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from rclpy.utilities import get_rmw_implementation_identifier

from lowlat_seg_ros.errors import ParameterError
from lowlat_seg_ros.ros.loss_causes import Circumstances
from lowlat_seg_ros.ros.losses import Arrival

AUTO_RELIABILITY: Final = "auto"
IMAGE_RELIABILITIES: Final = (AUTO_RELIABILITY, "reliable", "best_effort")

OVERRIDABLE: Final = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)


def newest_only(reliability: ReliabilityPolicy = ReliabilityPolicy.BEST_EFFORT) -> QoSProfile:
    """Never holds an image that a newer one has overtaken."""
    return QoSProfile(depth=1, reliability=reliability)  # a new one each time: rclpy writes overrides into it


def output() -> QoSProfile:
    """Reaches reliable subscribers (RViz' default) and best-effort ones; a slow one does not hold the node up."""
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


def infos() -> QoSProfile:
    """Of a camera's calibration: from every publisher, and some kept until the image of their stamp is labelled."""
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def latched() -> QoSProfile:
    """Kept for whoever comes later."""
    return QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def publisher(
    node: Node,
    message_type: type[Any],
    topic: str,
    profile: QoSProfile,
    on_listener: Callable[[], None] = lambda: None,
) -> Publisher[Any]:
    """A publisher with `qos_overrides`; ``on_listener`` is called whenever a subscriber comes or goes.

    Raises:
        ParameterError: an override cannot be used.
    """
    with _naming_bad_overrides(node, topic):
        return node.create_publisher(
            message_type,
            topic,
            profile,
            qos_overriding_options=QoSOverridingOptions(OVERRIDABLE),
            event_callbacks=PublisherEventCallbacks(matched=lambda event: on_listener()),
        )


def subscription(
    node: Node, message_type: type[Any], topic: str, callback: Callable[[Any], None], profile: QoSProfile
) -> Subscription[Any]:
    """A subscription with `qos_overrides`; an image's is an ImageSubscription.

    Raises:
        ParameterError: an override cannot be used.
    """
    with _naming_bad_overrides(node, topic):
        overridable = QoSOverridingOptions(OVERRIDABLE)
        return node.create_subscription(message_type, topic, callback, profile, qos_overriding_options=overridable)


def overrides_of(topic: str) -> set[str]:
    """Names of the parameters that set a subscription's QoS."""
    return {f"qos_overrides.{topic}.subscription.{qos_policy_name_from_kind(kind).lower()}" for kind in OVERRIDABLE}


def given_values(node: Node) -> dict[str, Any]:
    """What was given at start-up, by parameter files and on the command line."""
    # Public only by declaring each name, which is what has failed or not happened where this is asked.
    return {name: parameter.value for name, parameter in getattr(node, "_parameter_overrides", {}).items()}


class ImageSubscription:
    """The newest image of a topic, with the reliability that its publishers offer.

    A reliable subscription never hears a best-effort publisher, and a best-effort one loses most images of a reliable
    publisher whose shared memory is smaller than an image. Which of them are there is looked up whenever a publisher
    comes or is found incompatible, and by `fit` once a second.
    """

    def __init__(
        self,
        node: Node,
        message_type: type[Any],
        topic: str,
        on_image: Callable[[Any, Arrival], None],
        image_reliability: str,
    ) -> None:
        """
        Args:
            node: that the subscription belongs to.
            message_type: one with a header.
            topic: relative ones are resolved.
            on_image: called with each image and what is known of its arrival.
            image_reliability: the parameter; a `qos_overrides` of the topic's reliability goes before.

        Raises:
            ParameterError: an override cannot be used.
        """
        self.topic = node.resolve_topic_name(topic)
        self._node = node
        self._message_type = message_type
        self._on_image = on_image
        override = f"qos_overrides.{self.topic}.subscription.reliability"
        self._is_overridden = override in given_values(node)
        self._fits_itself = image_reliability == AUTO_RELIABILITY and not self._is_overridden
        self._reliability = ReliabilityPolicy.RELIABLE  # a best-effort publisher will then be found incompatible
        self._reliability = (
            self._offered() if image_reliability == AUTO_RELIABILITY else ReliabilityPolicy[image_reliability.upper()]
        )
        self._incompatible_policy = ""
        self._image_bytes = 0
        self._subscription = self._subscribe()

    @property
    def publisher_count(self) -> int:
        """How many publishers it hears."""
        return self._subscription.get_publisher_count()

    @property
    def reliability(self) -> ReliabilityPolicy:
        """What it asks for now."""
        return self._subscription.qos_profile.reliability

    @property
    def trouble(self) -> str:
        """A sentence while publishers are not heard for their QoS; else empty."""
        if not self._incompatible_policy or not self._unheard_count():
            return ""
        policy = self._incompatible_policy
        asked = getattr(self._subscription.qos_profile, policy, None)
        remedy = "image_reliability to auto" if policy == "reliability" and not self._is_overridden else "qos_overrides"
        return (
            f"{self._unheard_count()} publisher(s) of {self.topic} are not heard: they do not offer the {policy} "
            f"{str(getattr(asked, 'name', asked)).lower()} that this node asks for; set {remedy}"
        )

    def circumstances(self, busy_share: float) -> Circumstances:
        """Under which its images are lost, for `remedy`."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        own = self._node.get_publishers_info_by_topic("/diagnostics")
        identity = [bytes(each.endpoint_gid) for each in own if each.node_name == self._node.get_name()]
        reliable = all(each.qos_profile.reliability == ReliabilityPolicy.RELIABLE for each in publishers)
        return Circumstances(
            busy_share,
            self._image_bytes,
            get_rmw_implementation_identifier(),
            fixed_best_effort=reliable and self.reliability == ReliabilityPolicy.BEST_EFFORT,
            own_identity=identity[0] if identity else b"",
            publishers=[bytes(each.endpoint_gid) for each in publishers],
        )

    def fit(self) -> None:
        """Subscribe anew if the publishers have come to offer another reliability."""
        self._ask_for(self._offered())

    def close(self) -> None:
        """No image comes afterwards."""
        self._node.destroy_subscription(self._subscription)

    def _ask_for(self, reliability: ReliabilityPolicy) -> None:
        if self._fits_itself and reliability != self._reliability:
            self._reliability = reliability
            self._incompatible_policy = ""
            self.close()
            self._subscription = self._subscribe()

    def _subscribe(self) -> Subscription[Any]:
        kinds = [kind for kind in OVERRIDABLE if kind != QoSPolicyKind.RELIABILITY or self._is_overridden]
        events = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible, matched=lambda event: self.fit())
        with _naming_bad_overrides(self._node, self.topic):
            return self._node.create_subscription(
                self._message_type,
                self.topic,
                self._on_message,
                newest_only(self._reliability),
                qos_overriding_options=QoSOverridingOptions(kinds),
                event_callbacks=events,
            )

    def _on_message(self, message: Any, information: Any) -> None:
        stamp = message.header.stamp
        self._image_bytes = len(message.data)
        self._on_image(message, Arrival.of(information, stamp.sec * 1_000_000_000 + stamp.nanosec))

    def _on_incompatible(self, event: Any) -> None:
        self._incompatible_policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        if self._incompatible_policy == "reliability":
            self._ask_for(ReliabilityPolicy.BEST_EFFORT)  # on CycloneDDS the graph may not show the publisher yet
        if self.trouble:
            self._node.get_logger().warning(self.trouble)

    def _offered(self) -> ReliabilityPolicy:
        """Reliable if every publisher is; what was asked for last while there is none."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        best_effort = any(each.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for each in publishers)
        if not publishers:
            return self._reliability
        return ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE

    def _unheard_count(self) -> int:
        return len(self._node.get_publishers_info_by_topic(self.topic)) - self.publisher_count


@contextmanager
def _naming_bad_overrides(node: Node, topic: str) -> Iterator[None]:
    resolved = node.resolve_topic_name(topic)
    try:
        yield
    except Exception as error:  # of rclpy's parameters, its enumerations, or the RMW: each has types of its own
        if not any(name.startswith(f"qos_overrides.{resolved}.") for name in given_values(node)):
            raise
        words = " ".join(str(error).split())
        raise ParameterError(f"qos_overrides of {resolved} cannot be used: {words}") from error

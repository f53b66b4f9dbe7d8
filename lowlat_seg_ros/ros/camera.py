"""One camera's chain: an image message in, a label image out."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.subscription import Subscription
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lowlat_seg_ros.data.compressed_image import compressed_image_to_rgb
from lowlat_seg_ros.data.image_message import BadImage, image_to_rgb
from lowlat_seg_ros.errors import printable
from lowlat_seg_ros.ros.boundary import Fatal, Faults, describe
from lowlat_seg_ros.ros.conversions import (
    NANOSECONDS_A_SECOND,
    ChainTimes,
    age_seconds,
    key_frame_message,
)
from lowlat_seg_ros.ros.diagnostics import CameraHealth, Health, Load, SlowTrackHealth
from lowlat_seg_ros.ros.endpoints import ImageSubscription, infos, overrides_of, subscription
from lowlat_seg_ros.ros.loss_causes import remedy, segment_trouble
from lowlat_seg_ros.ros.losses import Arrival
from lowlat_seg_ros.ros.outputs import Outputs, joined
from lowlat_seg_ros.ros.parameters import Settings
from lowlat_seg_ros.ros.presented_model import PresentedModel
from lowlat_seg_ros.ros.repeated_warnings import LONGEST, RepeatedWarnings
from lowlat_seg_ros.ros.silence import COMPRESSED_IMAGE, IMAGE, what_is_on
from lowlat_seg_ros.runtime.device import cuda_context_is_lost
from lowlat_seg_ros.stream.engine import NO_ANSWER_YET, StreamEngine
from lowlat_seg_ros.stream.result import SegmentationResult

COMPRESSED: Final = "compressed"  # what image_transport appends to the topic, and a value of the parameter of its name

RESTING: Final = "resting: nobody listens"

LOST_IMAGES_REPEAT_SECONDS: Final = 60.0
"""A node that is slower than its camera loses images all the time; whoever wants to be told so has /diagnostics."""


class Camera:
    """Subscribes to one camera's images and publishes what its stream engine makes of them."""

    def __init__(
        self, node: Node, name: str, engine: StreamEngine, settings: Settings, model: PresentedModel, load: Load
    ) -> None:
        """Only publishes; `subscribe` starts the stream. `load` is the node's, which all cameras add to."""
        self._node = node
        self._engine = engine
        self._settings = settings
        self.name = name
        self.raw_topic = node.resolve_topic_name(joined(name, "image"))
        self._compressed_topic = joined(self.raw_topic, COMPRESSED)
        self.topic = self._compressed_topic if settings.image_transport == COMPRESSED else self.raw_topic
        self._outputs = Outputs(node, name, model.colours, self._wake)
        self._warnings = RepeatedWarnings(self._log_warning, time.monotonic)
        self._lost_image_warnings = RepeatedWarnings(self._log_warning, time.monotonic, LOST_IMAGES_REPEAT_SECONDS)
        self._load = load
        self._health = CameraHealth(self.topic, time.monotonic(), load)
        self.faults = Faults(self._log_error)
        self._subscription: ImageSubscription | None = None
        self._infos: Subscription[CameraInfo] | None = None
        self._is_active = False
        self._is_resting = False  # it may still be subscribed: whoever left may be back in a moment
        self._has_told_silence = False
        self._last_result: SegmentationResult | None = None
        self._segment_trouble = ""

    @property
    def later_overrides(self) -> set[str]:
        """Names of the `qos_overrides` that count once images are taken from the camera's other topic."""
        others = {self.raw_topic, self._compressed_topic} - {self.topic}
        return set().union(*map(overrides_of, others)) if self._settings.image_transport == "auto" else set()

    def subscribe(self) -> None:
        """Accept images from now on; the stream begins with the next one."""
        self._segment_trouble = segment_trouble(get_rmw_implementation_identifier())  # stays so: looked up once
        if self._segment_trouble:
            self._log_warning(self._segment_trouble)
        self._begin()
        self._is_active = True

    def _begin(self) -> None:
        self._is_resting = False
        self._engine.forget()
        self._health.begin(time.monotonic())
        self._subscription = self._subscription_to(self.topic)
        self._infos = subscription(
            self._node, CameraInfo, joined(self.name, "camera_info"), self._outputs.pass_on, infos()
        )

    def _subscription_to(self, topic: str) -> ImageSubscription:
        message_type = Image if topic == self.raw_topic else CompressedImage
        return ImageSubscription(self._node, message_type, topic, self._on_image, self._settings.image_reliability)

    def _choose_transport(self) -> None:
        """Take compressed images where nobody sends others, and these as soon as somebody does."""
        if self._settings.image_transport != "auto" or self._subscription is None:
            return
        compressed = self._compressed_topic
        has_raw, has_compressed = (self._node.count_publishers(topic) > 0 for topic in (self.raw_topic, compressed))
        topic = compressed if has_compressed and not has_raw else self.raw_topic
        if topic != self.topic and (has_raw or has_compressed):
            self._node.get_logger().info(f"taking images from {topic}")
            former, self._subscription = self._subscription, self._subscription_to(topic)
            former.close()
            self.topic = topic
            self._health.topic_changed(topic)

    def unsubscribe(self) -> None:
        """Accept no images."""
        self._is_active = False
        self._end()

    def _end(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        if self._infos is not None:
            self._node.destroy_subscription(self._infos)
            self._infos = None

    def close(self) -> None:
        """End the engine's thread and all topics."""
        self.unsubscribe()
        self._engine.close()
        self._outputs.close()

    def apply(self, settings: Settings) -> None:
        """Take over parameters that changed while the node runs."""
        self._engine.policy = settings.key_frame_policy()
        self._engine.low_latency = settings.low_latency
        self._settings = settings

    def report(self) -> Health:
        """How this camera fares since the last report."""
        self._wake()
        if self._is_resting and self._may_rest:
            self._end()
        self._choose_transport()
        connections = {
            "image publishers": self._publisher_count(),
            **self._outputs.subscriber_counts(),
        }
        now = time.monotonic()
        if self._subscription is None:
            summary = RESTING if self._is_active else "inactive: no images are taken"
            health = self._health.report_inactive(now, connections, summary, self._slow_track_health())
            return replace(health, values={**health.values, "resting": str(self._is_active).lower()})
        self._subscription.fit()
        trouble = self._subscription.trouble or self._segment_trouble
        limits, slow_track = self._settings.limits(), self._slow_track_health()
        health = self._health.report(now, connections, limits, slow_track, trouble)
        if health.dropped:
            advice = remedy(self._subscription.circumstances(health.busy_share))
            self._lost_image_warnings.warn(f"{health.dropped} images on {self.topic} were lost: {advice}")
        self._tell_silence(health)
        resting = str(self._is_resting).lower()
        values = {**health.values, "image topic": self.topic, "resting": resting, **_worth_of_labels(self._last_result)}
        is_calm = self._is_resting and not health.troubles
        self._is_resting = self._may_rest
        return replace(health, values=values, summary=RESTING if is_calm else health.summary)

    def _slow_track_health(self) -> SlowTrackHealth:
        ages, counts = self._engine.answer_ages(), self._engine.slow_lane.counts()
        return SlowTrackHealth(ages.key_age, ages.overdue, counts.restarts, counts.given_up)

    def _tell_silence(self, health: Health) -> None:
        """Once for each silence, with what may be its cause."""
        if health.is_silent and not self._has_told_silence:
            cause = what_is_on(self._node, self.topic, COMPRESSED_IMAGE if self.topic != self.raw_topic else IMAGE)
            self._log_warning(printable(f"no image has come on {self.topic}: {cause}", LONGEST))
        self._has_told_silence = health.is_silent

    def _on_image(self, message: Image | CompressedImage, arrival: Arrival) -> None:
        began, segmented = time.monotonic(), self._health.segmented
        try:
            self._segment(message, arrival)
        except Exception as error:
            if cuda_context_is_lost(self._engine.device):
                raise Fatal(f"the CUDA context is lost: {describe(error)}") from error
            are_labels_out = self._health.segmented > segmented
            if not are_labels_out:
                self._health.image_failed(time.monotonic())
            what = "what goes with the labels of" if are_labels_out else "an image on"
            self.faults.note(f"{what} {self.topic}", error)
        finally:
            self._load.seconds += time.monotonic() - began

    def _segment(self, message: Image | CompressedImage, arrival: Arrival) -> None:
        """An image's whole way."""
        entry = time.perf_counter()
        stamp = arrival.stamp
        age = age_seconds(stamp, self._node.get_clock().now().nanoseconds)
        self._health.image_arrived(time.monotonic(), arrival, self._publisher_count())
        if self._rests():
            return
        frame = None if self._is_out_of_order(stamp) else self._decode(message)
        if frame is None:
            return
        decoded = time.perf_counter()
        result = self._engine.segment(frame, stamp)
        segmented = time.perf_counter()
        has_failed = result.unlabelled_reason not in ("", NO_ANSWER_YET)
        if has_failed and cuda_context_is_lost(self._engine.device):
            raise Fatal(f"the CUDA context is lost: {result.unlabelled_reason}")
        self._last_result = replace(result, evidence=None)  # megabytes that the next frame can use
        self._outputs.publish_labels(result.labels, message.header)
        published = time.perf_counter()

        times = ChainTimes(age, decode=decoded - entry, publish=published - segmented, total=published - entry)
        failures, restarts = result.slow_track.failed, self._engine.restart_count
        now = time.monotonic()
        self._health.image_segmented(now, times.total * 1000, failures, restarts, has_failed=has_failed)
        self._outputs.labels_are_out(result.labels, message.header)
        if self._outputs.wants("keyframe"):
            told = key_frame_message(result, message.header, times, self._health.frames_dropped)
            self._outputs.publish_key_frame(told)
        self._outputs.publish_pictures(frame, result, message.header, self._settings.overlay_opacity)
        for warning in result.warnings:
            self._warnings.warn(warning)

    @property
    def _may_rest(self) -> bool:
        return self._settings.rest_without_subscribers and not self._outputs.are_wanted

    def _wake(self) -> None:
        """Take images again as soon as somebody listens."""
        if self._is_active and self._subscription is None and not self._may_rest:
            self._begin()

    def _rests(self) -> bool:
        """Whether nobody listens. The next stream begins with the first image that somebody waits for."""
        was_resting, self._is_resting = self._is_resting, self._may_rest
        if self._is_resting:
            self._health.image_left_out(time.monotonic())
            if not was_resting:
                self._engine.forget()
        return self._is_resting

    def _is_out_of_order(self, stamp: int) -> bool:
        tolerance = self._settings.backward_stamp_tolerance
        if not self._engine.is_out_of_order(stamp, round(tolerance * NANOSECONDS_A_SECOND)):
            return False
        self._health.image_out_of_order()
        self._warnings.warn(f"skipping an image on {self.topic} whose stamp is before the last one's")
        return True

    def _publisher_count(self) -> int:
        """Of those that it hears; while it rests, of those that there are."""
        if self._subscription is not None:
            return self._subscription.publisher_count
        return self._node.count_publishers(self.topic) if self._is_active else 0

    def _decode(self, message: Image | CompressedImage) -> NDArray[np.uint8] | None:
        notes: list[str] = []
        try:
            frame = compressed_image_to_rgb(message, notes) if _is_compressed(message) else image_to_rgb(message)
        except BadImage as error:
            self._health.image_refused()
            self._warnings.warn(f"skipping an image on {self.topic}: {error}")
            return None
        if notes:
            self._health.image_damaged()
        for note in notes:
            self._warnings.warn(f"an image on {self.topic} {note}")
        return frame

    def _log_error(self, lines: str) -> None:
        self._node.get_logger().error(lines)

    def _log_warning(self, sentence: str) -> None:
        self._node.get_logger().warning(f"camera {self.name}: {sentence}" if self.name else sentence)


def _worth_of_labels(result: SegmentationResult | None) -> dict[str, str]:
    """What /diagnostics says of how the newest labels came about."""
    if result is None:
        return {}
    return {
        "propagation": result.propagation,
        "unlabelled because": result.unlabelled_reason,
        "classifier agreement": f"{result.classifier_agreement:.3f}",
        "classifier age (ms)": f"{result.classifier_age_ms:.0f}",
    }


def _is_compressed(message: Image | CompressedImage) -> bool:
    return hasattr(message, "format")

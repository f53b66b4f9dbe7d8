"""One camera's chain: an image message in, a label image out."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import MessageInfo, Subscription
from sensor_msgs.msg import Image

from lowlat_seg_ros.data.drawing import overlay
from lowlat_seg_ros.data.image_message import BadImage, image_to_rgb
from lowlat_seg_ros.errors import printable
from lowlat_seg_ros.models.config import Colour
from lowlat_seg_ros.msg import KeyFrameDiagnostics
from lowlat_seg_ros.ros.boundary import Fatal, Faults, describe
from lowlat_seg_ros.ros.conversions import (
    NANOSECONDS_A_SECOND,
    ChainTimes,
    age_seconds,
    image_message,
    key_frame_message,
    nanoseconds,
)
from lowlat_seg_ros.ros.diagnostics import CameraHealth, Health, SlowTrackHealth
from lowlat_seg_ros.ros.parameters import Settings
from lowlat_seg_ros.ros.presented_model import PresentedModel
from lowlat_seg_ros.ros.repeated_warnings import LONGEST, RepeatedWarnings
from lowlat_seg_ros.ros.silence import what_is_on
from lowlat_seg_ros.runtime.device import cuda_context_is_lost
from lowlat_seg_ros.stream.engine import NO_ANSWER_YET, StreamEngine
from lowlat_seg_ros.stream.result import SegmentationResult

NEWEST_IMAGE_ONLY: Final = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Takes from every publisher, and never holds an image that a newer one has overtaken."""

OUTPUT: Final = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
"""Reaches reliable subscribers (RViz' default) and best-effort ones; a slow one does not hold the node up."""

LOST_IMAGES_REPEAT_SECONDS: Final = 60.0
"""A node that is slower than its camera loses images all the time; whoever wants to be told so has /diagnostics."""


class Camera:
    """Subscribes to one camera's images and publishes what its stream engine makes of them."""

    def __init__(self, node: Node, name: str, engine: StreamEngine, settings: Settings, model: PresentedModel) -> None:
        """Only publishes; `subscribe` starts the stream."""
        self._node = node
        self._engine = engine
        self._settings = settings
        self._colours_bgr: list[Colour] = [(blue, green, red) for red, green, blue in model.colours]
        self.name = name
        self.topic = node.resolve_topic_name(_joined(name, "image"))
        self._labels = node.create_publisher(Image, _joined("~", name, "labels"), OUTPUT)
        self._overlay = node.create_publisher(Image, _joined("~", name, "overlay"), OUTPUT)
        self._key_frames = node.create_publisher(KeyFrameDiagnostics, _joined("~", name, "keyframe"), OUTPUT)
        self._warnings = RepeatedWarnings(self._log_warning, time.monotonic)
        self._lost_image_warnings = RepeatedWarnings(self._log_warning, time.monotonic, LOST_IMAGES_REPEAT_SECONDS)
        self._health = CameraHealth(self.topic, time.monotonic())
        self.faults = Faults(self._log_error)
        self._subscription: Subscription[Image] | None = None
        self._has_told_silence = False
        self._last_result: SegmentationResult | None = None

    def subscribe(self) -> None:
        """Accept images from now on; the stream begins with the next one."""
        self._engine.forget()
        self._health.begin(time.monotonic())
        self._subscription = self._node.create_subscription(
            Image, _joined(self.name, "image"), self._on_image, NEWEST_IMAGE_ONLY
        )

    def unsubscribe(self) -> None:
        """Accept no images."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def close(self) -> None:
        """End the engine's thread and all topics."""
        self.unsubscribe()
        self._engine.close()
        for publisher in (self._labels, self._overlay, self._key_frames):
            self._node.destroy_publisher(publisher)

    def apply(self, settings: Settings) -> None:
        """Take over parameters that changed while the node runs."""
        self._engine.policy = settings.key_frame_policy()
        self._engine.low_latency = settings.low_latency
        self._settings = settings

    def report(self) -> Health:
        """How this camera fares since the last report."""
        connections = {
            "image publishers": 0 if self._subscription is None else self._subscription.get_publisher_count(),
            "labels subscribers": self._labels.get_subscription_count(),
            "keyframe subscribers": self._key_frames.get_subscription_count(),
        }
        now = time.monotonic()
        if self._subscription is None:
            return self._health.report_inactive(now, connections)
        health = self._health.report(now, connections, self._settings.limits(), self._slow_track_health())
        if health.advice:
            self._lost_image_warnings.warn(health.advice)
        self._tell_silence(health)
        return replace(health, values={**health.values, **_worth_of_labels(self._last_result)})

    def _slow_track_health(self) -> SlowTrackHealth:
        ages, counts = self._engine.answer_ages(), self._engine.slow_lane.counts()
        return SlowTrackHealth(ages.key_age, ages.overdue, counts.restarts, counts.given_up)

    def _tell_silence(self, health: Health) -> None:
        """Once for each silence, with what may be its cause."""
        if health.is_silent and not self._has_told_silence:
            cause = what_is_on(self._node, self.topic)
            self._log_warning(printable(f"no image has come on {self.topic}: {cause}", LONGEST))
        self._has_told_silence = health.is_silent

    def _on_image(self, message: Image, information: MessageInfo) -> None:
        segmented = self._health.segmented
        try:
            self._segment(message, information)
        except Exception as error:
            if cuda_context_is_lost(self._engine.device):
                raise Fatal(f"the CUDA context is lost: {describe(error)}") from error
            are_labels_out = self._health.segmented > segmented
            if not are_labels_out:
                self._health.image_failed(time.monotonic())
            what = "what goes with the labels of" if are_labels_out else "an image on"
            self.faults.note(f"{what} {self.topic}", error)

    def _segment(self, message: Image, information: MessageInfo) -> None:
        """An image's whole way."""
        entry = time.perf_counter()
        stamp = nanoseconds(message.header.stamp)
        age = age_seconds(stamp, self._node.get_clock().now().nanoseconds)
        self._note_arrival(information)
        frame = None if self._is_out_of_order(stamp) else self._decode(message)
        if frame is None:
            return
        decoded = time.perf_counter()
        result = self._engine.segment(frame, stamp)
        segmented = time.perf_counter()
        if result.unlabelled_reason not in ("", NO_ANSWER_YET) and cuda_context_is_lost(self._engine.device):
            raise Fatal(f"the CUDA context is lost: {result.unlabelled_reason}")
        self._last_result = result
        self._labels.publish(image_message(result.labels, "mono8", message.header))
        published = time.perf_counter()

        times = ChainTimes(age, decode=decoded - entry, publish=published - segmented, total=published - entry)
        failures, restarts = result.slow_track.failed, self._engine.restart_count
        self._health.image_segmented(time.monotonic(), times.total * 1000, failures, restarts)
        self._key_frames.publish(key_frame_message(result, message.header, times, self._health.frames_dropped))
        self._publish_overlay(frame, result.labels, message)
        for warning in result.warnings:
            self._warnings.warn(warning)

    def _is_out_of_order(self, stamp: int) -> bool:
        tolerance = self._settings.backward_stamp_tolerance
        if not self._engine.is_out_of_order(stamp, round(tolerance * NANOSECONDS_A_SECOND)):
            return False
        self._health.image_out_of_order()
        self._warnings.warn(f"skipping an image on {self.topic} whose stamp is before the last one's")
        return True

    def _note_arrival(self, information: MessageInfo) -> None:
        publisher = information["publisher_gid"]["data"]
        self._health.image_arrived(time.monotonic(), publisher, information["publication_sequence_number"])

    def _decode(self, message: Image) -> NDArray[np.uint8] | None:
        try:
            return image_to_rgb(message)
        except BadImage as error:
            self._health.image_refused()
            self._warnings.warn(f"skipping an image on {self.topic}: {error}")
            return None

    def _publish_overlay(self, frame: NDArray[np.uint8], labels: NDArray[np.uint8], message: Image) -> None:
        if self._overlay.get_subscription_count() == 0:
            return
        picture = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)
        blended = overlay(picture, labels, self._colours_bgr, self._settings.overlay_opacity)
        self._overlay.publish(image_message(blended, "bgr8", message.header))

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


def _joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)

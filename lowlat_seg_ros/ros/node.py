"""The node `lowlat_seg`: parameters, one network, one slow track, and a chain for each camera."""

from __future__ import annotations

import json
from typing import Any, Final

import cv2
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from lowlat_seg_ros.errors import ParameterError
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.registry import propagation_in_use
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.ros.camera import Camera
from lowlat_seg_ros.ros.parameters import SETTING_NAMES, declare_parameters, unknown_parameters
from lowlat_seg_ros.ros.presented_model import PresentedModel, presented, show_presented
from lowlat_seg_ros.runtime.device import choose_device, in_words
from lowlat_seg_ros.runtime.threads import thread_counts
from lowlat_seg_ros.slow.registry import load_model
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

NODE_NAME: Final = "lowlat_seg"
DIAGNOSTICS_PERIOD_SECONDS: Final = 1.0
SLOW_TRACK_SECONDS_TO_END: Final = 0.2


class SegmentationNode(Node):
    """Segments the images of one or several cameras.

    Made in two steps, so that a start-up that fails can say so in the node's own log: `SegmentationNode()` only makes
    the node, `start()` does all the work.
    """

    def __init__(self, **options: Any) -> None:
        """`options` are those of rclpy's Node (context, parameter_overrides, …)."""
        super().__init__(NODE_NAME, **options)
        self._cameras: list[Camera] = []
        self._slow_track: ThreadedSlowTrack | None = None
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def start(self) -> None:
        """Load the model, warm up, and then subscribe to the cameras.

        Raises:
            ParameterError: a parameter's value cannot be used.
            Error: the model cannot be loaded, or the propagation cannot carry what it gives.
        """
        self._settings = declare_parameters(self)
        for name in unknown_parameters(self):
            self.get_logger().warning(f"there is no parameter {name!r}; its value is ignored")
        self._device = choose_device(self._settings.device)
        self._threads = thread_counts(self._settings.fast_track_threads, self._settings.slow_track_threads)
        torch.set_num_threads(self._threads.fast)
        cv2.setNumThreads(self._threads.fast)  # it takes every core otherwise, the slow track's too
        slow = load_model(self._settings.model, self._device)
        fast = slow.own_fast_network or load_checkpoint(self._settings.fast_model, self._device)
        model = presented(slow, fast, self._settings)
        show_presented(self, model)
        self._slow_track = ThreadedSlowTrack(
            slow, self._device, intra_op_threads=self._threads.slow, share=self._settings.slow_track_share
        )
        for name in self._settings.cameras:
            self._cameras.append(self._camera(name, self._slow_track, fast, model))
        self._publish_classes(model)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        for camera in self._cameras:
            camera.subscribe()
        # On a steady clock: simulated time may stand still, and diagnostics are then wanted most.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_SECONDS, self._publish_diagnostics, clock=steady)
        self._log_ready(model, propagation_in_use(self._settings.propagation, slow))

    def stop(self) -> bool:
        """Stop both tracks; returns whether the slow one's thread ended, which it does between two operators of Sh."""
        for camera in self._cameras:
            camera.close()
        return self._slow_track is None or self._slow_track.close(timeout=SLOW_TRACK_SECONDS_TO_END)

    def _camera(self, name: str, slow_track: ThreadedSlowTrack, fast: FastNetwork, model: PresentedModel) -> Camera:
        engine = StreamEngine(
            fast,
            slow_track,
            self._settings.key_frame_policy(),
            propagation=self._settings.propagation,
            device=self._device,
            low_latency=self._settings.low_latency,
            input_size=model.input_size,
            owns_frames=True,  # each is read from a message of its own
        )
        engine.warm_up(model.input_size)
        return Camera(self, name, engine, self._settings, model)

    def _log_ready(self, model: PresentedModel, propagation: str) -> None:
        width, height = model.input_size
        topics = ", ".join(camera.topic for camera in self._cameras)
        self.get_logger().info(
            f"ready on {in_words(self._device)} ({self._threads.fast} + {self._threads.slow} threads): "
            f"model {self._settings.model} at {width}x{height}, {len(model.classes)} classes, "
            f"policy {self._settings.policy}, propagation {propagation}, "
            f"images from {topics}"
        )

    def _publish_classes(self, model: PresentedModel) -> None:
        """Once, for whoever comes later: a mask without class names is worth little, in a bag above all."""
        named = zip(model.classes, model.colours, strict=True)
        classes = [{"id": number, "name": name, "colour": colour} for number, (name, colour) in enumerate(named)]
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_publisher(String, "~/classes", latched).publish(String(data=json.dumps(classes)))

    def _check_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            self._settings.changed(_values(parameters))
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply_parameters(self, parameters: list[Parameter]) -> None:
        self._settings = self._settings.changed(_values(parameters))
        for camera in self._cameras:
            camera.apply(self._settings)

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [self._status(camera) for camera in self._cameras]
        self._diagnostics.publish(message)

    def _status(self, camera: Camera) -> DiagnosticStatus:
        health = camera.report()
        threads = {"fast-track threads": str(self._threads.fast), "slow-track threads": str(self._threads.slow)}
        values = {**health.values, **threads}
        return DiagnosticStatus(
            level=DiagnosticStatus.WARN if health.troubles else DiagnosticStatus.OK,
            name=f"{self.get_fully_qualified_name()}: {camera.topic}",
            message=health.summary,
            hardware_id=in_words(self._device),
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )


def _values(parameters: list[Parameter]) -> dict[str, object]:
    """Of our own parameters: use_sim_time and others of rclpy come through the same callbacks."""
    return {parameter.name: parameter.value for parameter in parameters if parameter.name in SETTING_NAMES}

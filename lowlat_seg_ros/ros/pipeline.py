"""What a configured node has: the networks, one slow track, and a chain for each camera."""

from __future__ import annotations

import json
from typing import Any, Final

import cv2
import torch
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import String

from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.registry import propagation_in_use
from lowlat_seg_ros.ros.camera import Camera
from lowlat_seg_ros.ros.diagnostics import Load
from lowlat_seg_ros.ros.endpoints import latched, publisher
from lowlat_seg_ros.ros.label_info import publish_label_info
from lowlat_seg_ros.ros.parameters import Settings
from lowlat_seg_ros.ros.presented_model import PresentedModel, asked_input_size, presented
from lowlat_seg_ros.runtime.device import choose_device, in_words
from lowlat_seg_ros.runtime.threads import thread_counts
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.networks import load_networks, load_slow
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

SLOW_TRACK_SECONDS_TO_END: Final = 0.2


class Pipeline:
    """Made when the node is configured, closed when it is cleaned up; in between it takes images or does not."""

    def __init__(self, node: Node, settings: Settings) -> None:
        """Load the model and warm up; takes no images yet.

        Raises:
            ParameterError: a parameter's value cannot be used.
            Error: the model cannot be loaded, or the propagation cannot carry what it gives.
            RuntimeError: the slow network fails on a black frame.
        """
        self._node = node
        self._settings = settings
        self.cameras: list[Camera] = []
        self._latched: list[Publisher[Any]] = []
        self._load = Load()
        self._device = choose_device(settings.device)
        self.hardware = in_words(self._device)
        self.threads = thread_counts(settings.fast_track_threads, settings.slow_track_threads)
        torch.set_num_threads(self.threads.fast)
        cv2.setNumThreads(self.threads.fast)  # it takes every core otherwise, the slow track's too
        wishes, size = settings.wishes(), asked_input_size(settings)
        networks = load_networks(settings.model, settings.fast_model, self._device, wishes, size)
        slow, fast = networks.slow, networks.fast
        for sentence in networks.in_words():
            node.get_logger().info(sentence)
        self.model = presented(slow, fast, settings)
        self._propagation = propagation_in_use(settings.propagation)
        self._slow_track = ThreadedSlowTrack(
            slow,
            self._device,
            intra_op_threads=self.threads.slow,
            share=settings.slow_track_share,
            renew=lambda: load_slow(settings.model, wishes.slow, self._device, size),
        )
        try:
            for name in settings.cameras:
                self.cameras.append(self._camera(name, fast))
            self._publish_classes()
        except BaseException:  # a signal to stop, too
            self.close()
            raise
        self._slow_track.hang_seconds = settings.error_key_age  # only now: a first run may take any time

    def subscribe(self) -> None:
        """Take images from now on, of all cameras or, where one cannot, of none."""
        try:
            for camera in self.cameras:
                camera.subscribe()
        except BaseException:
            self.unsubscribe()
            raise

    def unsubscribe(self) -> None:
        """Take no images."""
        for camera in self.cameras:
            camera.unsubscribe()

    def apply(self, settings: Settings) -> None:
        """Take over parameters that changed at run time."""
        self._settings = settings
        self._slow_track.hang_seconds = settings.error_key_age
        for camera in self.cameras:
            camera.apply(settings)

    def close(self) -> bool:
        """End both tracks; returns whether the slow one's thread ended, which it does between two operators of Sh."""
        for camera in self.cameras:
            camera.close()
        for each in self._latched:
            self._node.destroy_publisher(each)
        return self._slow_track.close(timeout=SLOW_TRACK_SECONDS_TO_END)

    def in_words(self) -> str:
        """For the log, once images are taken."""
        width, height = self.model.input_size
        topics = ", ".join(camera.topic for camera in self.cameras)
        return (
            f"ready on {self.hardware} ({self.threads.fast} + {self.threads.slow} threads): "
            f"model {self._settings.model} at {width}x{height}, {len(self.model.classes)} classes, "
            f"policy {self._settings.policy}, propagation {self._propagation}, "
            f"images from {topics}"
        )

    def _camera(self, name: str, fast: FastNetwork) -> Camera:
        engine = StreamEngine(
            fast,
            self._slow_track,
            self._settings.key_frame_policy(),
            propagation=self._settings.propagation,
            device=self._device,
            low_latency=self._settings.low_latency,
            input_size=self.model.input_size,
            owns_frames=True,  # each is read from a message of its own
        )
        try:
            engine.warm_up(self.model.input_size)
            return Camera(self._node, name, engine, self._settings, self.model, self._load)
        except BaseException:
            engine.close()
            raise

    def _publish_classes(self) -> None:
        """Once, for whoever comes later: a mask without class names is worth little, in a bag above all."""
        classes = publisher(self._node, String, "~/classes", latched())
        self._latched.append(classes)
        self._latched += publish_label_info(self._node, self._settings.cameras, self.model.classes)
        classes.publish(String(data=json.dumps(_classes(self.model))))


def _classes(model: PresentedModel) -> list[dict[str, object]]:
    named = zip(model.classes, model.colours, strict=True)
    return [{"id": number, "name": name, "colour": colour} for number, (name, colour) in enumerate(named)]

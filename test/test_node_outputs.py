"""What the node says to its neighbours over real DDS, wired as Nav2's semantic segmentation layer is; its rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("rclpy")

from bag_parts import encoded
from lowlat_seg_ros.msg import KeyFrameDiagnostics
from node_setup import STEP, FakeCamera, NodeProcess, TestBench, own_namespace, running_node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header, String
from stream_setup import stream_network
from test_node_stream import picture

from lowlat_seg_ros.data.jpeg import DAMAGED
from lowlat_seg_ros.ros.conversions import nanoseconds, set_data, stamp_of
from lowlat_seg_ros.ros.outputs import scaled

LATCHED = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""As nav2::qos::LatchedSubscriptionQoS(5)."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Iterator[NodeProcess]:
    parameters = {"model": checkpoint, "device": "cpu", "policy": "fixed_interval", "interval": 3}
    with running_node(tmp_path_factory.mktemp("log") / "node.log", own_namespace("outputs"), parameters) as process:
        yield process


@pytest.fixture(scope="module")
def bench(node: NodeProcess) -> Iterator[TestBench]:
    bench = TestBench(own_namespace("outputs"))
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def camera(bench: TestBench) -> FakeCamera:
    return FakeCamera(bench).connect()


class Listener:
    """Messages of one topic by stamp, wired as a sensor's are."""

    def __init__(
        self, bench: TestBench, message_type: type[Any], topic: str, profile: QoSProfile = qos_profile_sensor_data
    ) -> None:
        self.by_stamp: dict[int, Any] = {}
        self._bench = bench
        self._topic = topic
        self._subscription = bench.node.create_subscription(message_type, topic, self._take, profile)

    def _take(self, message: Any) -> None:
        header = getattr(message, "header", None)
        self.by_stamp[0 if header is None else nanoseconds(header.stamp)] = message

    def connect(self) -> Listener:
        self._bench.spin_until(lambda: self._subscription.get_publisher_count() > 0, f"a publisher of {self._topic}")
        return self

    def wait_for(self, stamp: int) -> Any:
        self._bench.spin_until(lambda: stamp in self.by_stamp, self._topic)
        return self.by_stamp[stamp]

    def close(self) -> None:
        self._bench.node.destroy_subscription(self._subscription)


def pixels(message: Image, channels: int) -> NDArray[np.uint8]:
    array = np.frombuffer(message.data, np.uint8)
    return array.reshape((message.height, message.width, channels) if channels > 1 else (message.height, message.width))


def segment_until(camera: FakeCamera, listeners: list[Listener], **more: Any) -> int:
    """Send images until one has an accurate key frame and all that is listened to; returns its stamp."""
    while True:
        stamp = camera.segment(picture(3), **more)
        for each in listeners:
            each.wait_for(stamp)
        if camera.key_frames[stamp].key_is_accurate:
            return stamp


def test_confidence_colours_and_overlays_belong_to_the_labels_of_their_stamp(
    camera: FakeCamera, bench: TestBench
) -> None:
    topics = {"confidence": Image, "color": Image, "overlay": Image, "overlay/compressed": CompressedImage}
    listeners = {name: Listener(bench, kind, f"lowlat_seg/{name}").connect() for name, kind in topics.items()}
    classes = Listener(bench, String, "lowlat_seg/classes", LATCHED).connect()
    stamp = segment_until(camera, list(listeners.values()))
    labels, messages = camera.label_ids(stamp), {name: each.by_stamp[stamp] for name, each in listeners.items()}
    assert all(message.header.frame_id == "front_camera" for message in messages.values())
    assert [messages[name].encoding for name in ("confidence", "color", "overlay")] == ["mono8", "rgb8", "bgr8"]
    confidence = pixels(messages["confidence"], 1)
    assert confidence.shape == labels.shape
    assert abs(confidence.mean() / 255 - camera.key_frames[stamp].confidence) < 0.02 and confidence.any()
    bench.spin_until(lambda: bool(classes.by_stamp), "the classes")
    colours = np.array([each["colour"] for each in json.loads(classes.by_stamp[0].data)], np.uint8)
    assert np.array_equal(pixels(messages["color"], 3), colours[labels])
    assert messages["overlay/compressed"].format == "bgr8; jpeg compressed bgr8"
    decoded: Any = cv2.imdecode(np.frombuffer(messages["overlay/compressed"].data, np.uint8), cv2.IMREAD_COLOR)
    expected: Any = cv2.imdecode(cv2.imencode(".jpg", pixels(messages["overlay"], 3))[1], cv2.IMREAD_COLOR)
    assert np.array_equal(decoded, expected)
    for each in (*listeners.values(), classes):
        each.close()


def test_a_consumer_wired_as_nav2s_layer_gets_names_labels_and_confidence(camera: FakeCamera, bench: TestBench) -> None:
    """ros-navigation/semantic_segmentation_layer b269885: mono8 by sensor-data QoS, a latched LabelInfo."""
    vision_msgs = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed: docs/topics.md")
    labels = Listener(bench, Image, "lowlat_seg/labels").connect()
    confidence = Listener(bench, Image, "lowlat_seg/confidence").connect()
    info = Listener(bench, vision_msgs.LabelInfo, "lowlat_seg/label_info", LATCHED).connect()
    bench.spin_until(lambda: bool(info.by_stamp), "the latched label info")
    names = {each.class_id: each.class_name for message in info.by_stamp.values() for each in message.class_map}
    stamp = segment_until(camera, [labels, confidence])
    mask, sure = labels.by_stamp[stamp], confidence.by_stamp[stamp]
    assert (mask.width, mask.height, len(mask.data)) == (sure.width, sure.height, len(sure.data)) == (96, 72, 96 * 72)
    assert {names[number] for number in np.unique(pixels(mask, 1))} <= set(names.values())
    assert names[255] == "unlabelled" and len(names) == len(stream_network().classes) + 1
    for each in (labels, confidence, info):
        each.close()


def test_without_vision_msgs_one_line_says_so_and_the_rest_goes_on(node: NodeProcess) -> None:
    try:
        import vision_msgs.msg  # noqa: F401
    except ImportError:
        assert len(node.lines_with("vision_msgs is not installed")) == 1
    else:
        assert not node.lines_with("vision_msgs is not installed")


@pytest.mark.parametrize("comes_first", ["calibration", "image"])
def test_the_calibration_is_passed_on_with_the_labels_stamp(
    comes_first: str, camera: FakeCamera, bench: TestBench
) -> None:
    passed_on = Listener(bench, CameraInfo, "lowlat_seg/camera_info").connect()
    publisher = bench.node.create_publisher(CameraInfo, "camera_info", 5)
    bench.spin_until(lambda: publisher.get_subscription_count() > 0, "the node at camera_info")
    stamp = camera.stamp + STEP
    k = [100.0, 0.0, 96.0, 0.0, 100.0, 72.0, 0.0, 0.0, 1.0]
    info = CameraInfo(header=Header(stamp=stamp_of(stamp), frame_id="front_camera"), width=192, height=144, k=k)
    if comes_first == "calibration":
        publisher.publish(info)
    assert camera.segment(picture(4)) == stamp
    if comes_first == "image":
        publisher.publish(info)

    def has_passed_on() -> bool:
        publisher.publish(info)  # again: best effort, and the node may have found this publisher only now
        return stamp in passed_on.by_stamp

    bench.spin_until(has_passed_on, "the calibration")
    found = passed_on.by_stamp[stamp]
    assert (found.width, found.height, found.header.frame_id) == (96, 72, "front_camera")
    assert list(found.k) == [50.0, 0.0, 48.0, 0.0, 50.0, 36.0, 0.0, 0.0, 1.0]
    bench.node.destroy_publisher(publisher)
    passed_on.close()


def test_a_calibration_of_the_pictures_own_size_stays_as_it_is_and_a_regions_becomes_the_pictures() -> None:
    k = [100.0, 0.0, 320.0, 0.0, 100.0, 240.0, 0.0, 0.0, 1.0]
    p = [100.0, 0.0, 320.0, 7.0, 0.0, 100.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    info = CameraInfo(width=640, height=480, k=k, p=p, binning_x=2, binning_y=2)
    assert scaled(info, (320, 240)) is info
    info.roi = RegionOfInterest(x_offset=20, y_offset=40, width=600, height=400)
    assert scaled(info, (300, 200)) is info
    half = scaled(info, (150, 100))
    assert list(half.k) == [25.0, 0.0, 75.0, 0.0, 25.0, 50.0, 0.0, 0.0, 1.0]
    assert list(half.p) == [25.0, 0.0, 75.0, 1.75, 0.0, 25.0, 50.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert (half.binning_x, half.roi.width) == (0, 0)


def test_while_nobody_listens_the_node_rests_and_is_back_within_one_key_frame(
    node: NodeProcess, camera: FakeCamera, bench: TestBench
) -> None:
    before = bench.status()
    assert before["resting"] == "false"
    camera.stop_listening()
    bench.spin_until(lambda: bench.newest_status("image")["labels subscribers"] == "0", "nobody")
    for _ in range(3):
        camera.send(picture(5))
        resting = bench.status()
    assert (resting["resting"], resting["message"]) == ("true", "resting: nobody listens")
    bench.spin_until(lambda: camera.subscriber_count == 0, "the end of the subscription: images cost nothing any more")
    camera.send(picture(5))
    resting = bench.status()
    assert (resting["resting"], resting["message"]) == ("true", "resting: nobody listens")
    assert resting["image publishers"] == "1"
    lost = {before["images dropped"], "0"}  # by gaps between stamps nothing is known of a camera's first images
    assert resting["level"] == "0" and resting["images dropped"] in lost
    assert resting["images segmented"] == before["images segmented"]
    camera.listen()
    camera.connect()
    first = camera.segment(picture(5))
    assert camera.key_frames[first].is_key_frame and camera.key_frames[first].key_reason == "first frame"
    told = camera.key_frames[first].frames_dropped
    assert told == KeyFrameDiagnostics.FRAMES_DROPPED_NOT_KNOWN or str(told) in lost
    while not camera.key_frames[camera.segment(picture(5))].key_is_accurate:
        pass
    assert bench.status()["resting"] == "false"


def test_a_node_that_may_not_rest_works_for_nobody(camera: FakeCamera, bench: TestBench) -> None:
    assert bench.set_parameters(rest_without_subscribers=False).successful
    camera.stop_listening()
    bench.spin_until(lambda: bench.newest_status("image")["labels subscribers"] == "0", "nobody")
    before = int(bench.status()["images segmented"])
    bench.spin_until(lambda: camera.subscriber_count > 0, "the node at image")
    camera.send(picture(6))
    bench.spin_until(lambda: int(bench.newest_status("image")["images segmented"]) == before + 1, "an image segmented")
    assert bench.status()["resting"] == "false"
    assert bench.set_parameters(rest_without_subscribers=True).successful
    camera.listen()
    camera.connect()


def test_compressed_images_are_taken_where_nobody_sends_others(
    node: NodeProcess, camera: FakeCamera, bench: TestBench
) -> None:
    """As PNG, JPEG and compressed mosaic; raw images are taken again as soon as somebody sends them.

    A JPEG that lost data is labelled as far as it goes, told of and counted.
    """
    camera.stop_sending()
    publisher = bench.node.create_publisher(CompressedImage, "image/compressed", 1)
    bench.spin_until(lambda: publisher.get_subscription_count() > 0, "the node at image/compressed")
    frame = picture(7)
    pattern = np.tile(np.array([[0, 1], [1, 2]]), (36, 48))
    mosaic = np.take_along_axis(frame, pattern[..., None], axis=2)[..., 0]
    jpeg = encoded(frame[..., ::-1], ".jpg")
    sent = {
        "bgr8; png compressed bgr8": encoded(frame[..., ::-1], ".png"),
        "bayer_rggb8; png compressed ": encoded(mosaic, ".png"),
        "bgr8; jpeg compressed bgr8": jpeg,
        "jpeg": jpeg[:-400] + jpeg[-2:],
    }
    stamps = {}
    for message_format, content in sent.items():
        assert not node.lines_with(DAMAGED)
        camera.stamp += STEP
        stamps[message_format] = camera.stamp
        header = Header(stamp=stamp_of(camera.stamp), frame_id="front_camera")
        message = CompressedImage(header=header, format=message_format)
        set_data(message, np.frombuffer(content, np.uint8))
        publisher.publish(message)
        bench.spin_until(lambda: camera.stamp in camera.labels, f"labels of {message_format}")
    assert all(camera.labels[stamp].width == 96 for stamp in stamps.values())
    node.wait_until_logged(f"an image on {bench.namespace}/image/compressed {DAMAGED}")
    bench.spin_until(lambda: bench.status()["images damaged"] == "1", "the count")
    assert bench.status()["image topic"] == f"{bench.namespace}/image/compressed"  # the status keeps its name
    bench.node.destroy_publisher(publisher)
    camera.start_sending()
    bench.spin_until(lambda: camera.subscriber_count > 0, "the node at image")

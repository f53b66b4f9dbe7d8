"""One camera's chain in this process, over real DDS, with a network that gives NaN or fails on demand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

import torch
from lowlat_seg_ros.msg import KeyFrameDiagnostics
from node_setup import FakeCamera, TestBench, own_namespace
from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier
from std_msgs.msg import Header
from stream_setup import GatedSlowNetwork, moving_frames, stream_network
from test_parameters import settings
from torch import Tensor

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.models.segmentation_network import LowFeatures, Propagated
from lowlat_seg_ros.ros.boundary import Fatal
from lowlat_seg_ros.ros.camera import Camera
from lowlat_seg_ros.ros.conversions import image_message, stamp_of
from lowlat_seg_ros.ros.diagnostics import ERROR, OK, WARN, Load, SlowTrackHealth
from lowlat_seg_ros.ros.presented_model import presented
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack


class NanOnDemand:
    """The real fast network, whose propagated feature is NaN while `gives_nan`."""

    def __init__(self) -> None:
        self._network = stream_network()
        self.config, self.stride, self.classes = self._network.config, self._network.stride, self._network.classes
        self.gives_nan = False

    def low_features(self, image: Tensor) -> LowFeatures:
        return self._network.low_features(image)

    def classify_low(self, low: Tensor) -> Tensor:
        return self._network.classify_low(low)

    def predicted_deviation(self, key: LowFeatures, current: LowFeatures) -> Tensor:
        return self._network.predicted_deviation(key, current)

    def propagate(self, key_high: Tensor, key: LowFeatures, current: LowFeatures) -> Propagated:
        propagated = self._network.propagate(key_high, key, current)
        return Propagated(torch.full_like(propagated.high, torch.nan), None) if self.gives_nan else propagated

    def move(self, picture: Tensor, key: LowFeatures, current: LowFeatures) -> tuple[Tensor, Tensor]:
        moved, doubt = self._network.move(picture, key, current)
        return (torch.full_like(moved, torch.nan) if self.gives_nan else moved), doubt


@dataclass
class Chain:
    fast_network: NanOnDemand
    slow_network: GatedSlowNetwork
    camera: Camera
    fake: FakeCamera
    log: list[str]


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """Both ends in one context; what the node would log is collected."""
    bench = TestBench(own_namespace("chain"))
    node = Node("lowlat_seg", namespace=bench.namespace, context=bench.context)
    bench.executor.add_node(node)
    log: list[str] = []
    monkeypatch.setattr(type(node.get_logger()), "warning", lambda self, line: log.append(line))
    fast, slow = NanOnDemand(), GatedSlowNetwork(stream_network())
    engine = StreamEngine(fast, InlineSlowTrack(slow), FixedInterval(2))
    camera = Camera(node, "", engine, settings(), presented(slow, fast, settings()), Load())
    camera.subscribe()
    fake = FakeCamera(bench)
    bench.spin_until(lambda: fake.subscriber_count > 0, "a subscriber")
    ends = ("labels subscribers", "keyframe subscribers")
    bench.spin_until(lambda: all(camera.report().values[end] != "0" for end in ends), "somebody who listens")
    yield Chain(fast, slow, camera, fake, log)
    bench.executor.remove_node(node)
    node.destroy_node()
    bench.close()


def test_nan_from_the_fast_track_gives_an_unlabelled_image_and_the_next_frame_its_labels(chain: Chain) -> None:
    first, second, third = moving_frames(3)
    chain.fake.segment(first)
    chain.fast_network.gives_nan = True
    assert (chain.fake.label_ids(chain.fake.segment(second)) == UNLABELLED).all()
    chain.fast_network.gives_nan = False
    assert (chain.fake.label_ids(chain.fake.segment(third)) != UNLABELLED).all()
    (line,) = chain.log
    assert "the fast track failed" in line and "nan" in line
    health = chain.camera.report()
    assert (health.level, health.values["images unlabelled"], health.values["images segmented"]) == (WARN, "1", "3")
    assert "images that the fast track failed on, published unlabelled since the last report: 1" in health.troubles


def test_a_report_tells_of_a_slow_track_that_is_given_up_also_while_no_images_are_taken(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = SlowTrackHealth(restarts=1, given_up="Sh has hung")
    monkeypatch.setattr(chain.camera, "_slow_track_health", lambda: given_up)
    chain.camera.unsubscribe()
    health = chain.camera.report()
    assert (health.level, health.summary) == (ERROR, "Sh has hung; inactive: no images are taken")
    assert health.values["slow-track restarts"] == "1"


@pytest.mark.parametrize("kind", ["nan", "an exception"])
def test_a_failing_sh_is_reported_and_the_fast_track_goes_on(chain: Chain, kind: str) -> None:
    frames = moving_frames(4)
    for frame in frames[:2]:
        chain.fake.segment(frame)
    if kind == "nan":
        chain.slow_network.gives_nan = True
    else:
        chain.slow_network.failure = RuntimeError("out of memory")
    stamps = [chain.fake.segment(frame) for frame in frames[2:]]
    assert all((chain.fake.label_ids(stamp) != UNLABELLED).all() for stamp in stamps)
    assert chain.fake.key_frames[stamps[-1]].slow_track_failed == 1
    assert len(chain.log) == 1
    assert "slow-track failures since the last report: 1" in chain.camera.report().summary


def test_where_sh_fails_on_first_frames_they_are_labelled_all_the_same(chain: Chain) -> None:
    chain.slow_network.failure = RuntimeError("out of memory")
    stamps = [chain.fake.segment(frame) for frame in moving_frames(3)]
    assert all((chain.fake.label_ids(stamp) != UNLABELLED).all() for stamp in stamps)
    assert [chain.fake.key_frames[stamp].key_reason for stamp in stamps] == ["first frame"] * 3
    assert chain.fake.key_frames[stamps[-1]].slow_track_failed == 2


def test_images_lost_on_the_way_are_counted_and_explained(chain: Chain) -> None:
    """Two images at once: the subscription keeps the newer one."""
    first, lost, third = moving_frames(3)
    chain.fake.segment(first)
    chain.fake.send(lost)
    stamp = chain.fake.segment(third)
    told = chain.fake.key_frames[stamp].frames_dropped
    if get_rmw_implementation_identifier() == "rmw_cyclonedds_cpp":  # without sequence numbers, after three images
        assert told == KeyFrameDiagnostics.FRAMES_DROPPED_NOT_KNOWN
        assert chain.camera.report().values["images dropped"] == "not known"
        return
    assert told == 1
    health = chain.camera.report()
    assert health.values["images dropped"] == "1"
    (line,) = chain.log
    assert "1 images on" in line and "were lost: " in line


@pytest.mark.parametrize(
    "information",
    [
        {},  # no RMW at all
        dict.fromkeys(("publication_sequence_number", "reception_sequence_number", "publisher_gid")),  # CycloneDDS
        {"publication_sequence_number": 1},  # Jazzy: no publisher_gid
    ],
)
def test_an_image_is_labelled_whatever_the_middleware_tells_of_it(chain: Chain, information: dict[str, Any]) -> None:
    """As rclpy hands it on, beside the message that has just come."""
    (frame,) = moving_frames(1)
    message = image_message(frame, "rgb8", Header(stamp=stamp_of(7_000_000_000)))
    subscription = chain.camera._subscription
    assert subscription is not None
    subscription._on_message(message, information)
    chain.fake.bench.spin_until(lambda: 7_000_000_000 in chain.fake.key_frames, "the key-frame message")
    dropped = chain.fake.key_frames[7_000_000_000].frames_dropped
    not_known = KeyFrameDiagnostics.FRAMES_DROPPED_NOT_KNOWN
    assert dropped == (0 if information.get("publication_sequence_number") else not_known)
    assert not chain.log


def test_the_published_labels_are_the_engines(chain: Chain) -> None:
    frames = moving_frames(5, (96, 72))
    slow = GatedSlowNetwork(stream_network())
    alone = StreamEngine(NanOnDemand(), InlineSlowTrack(slow), FixedInterval(2))
    for frame in frames:
        stamp = chain.fake.segment(frame)
        assert np.array_equal(chain.fake.label_ids(stamp), alone.segment(frame, stamp).labels)


def test_a_slow_network_that_hangs_is_a_warning_and_then_an_error_while_labels_go_on(chain: Chain) -> None:
    slow = GatedSlowNetwork(stream_network())
    frames = moving_frames(4)
    with ThreadedSlowTrack(slow) as track:
        try:
            engine = StreamEngine(stream_network(), track, FixedInterval(1))
            chain.camera._engine, chain.camera._settings = engine, settings(warn_key_age=0.3, error_key_age=0.6)
            track.hang_seconds = 0.6
            slow.shut()
            levels: list[int] = []
            deadline = time.monotonic() + 30
            while levels[-1:] != [ERROR] and time.monotonic() < deadline:
                stamp = chain.fake.segment(frames[len(levels) % 4])
                assert (chain.fake.label_ids(stamp) != UNLABELLED).all()
                levels.append(chain.camera.report().level)
            assert set(levels) == {OK, WARN, ERROR} and levels == sorted(levels)
            for frame in frames:
                chain.fake.segment(frame)
            health = chain.camera.report()
            assert health.level == ERROR and "the fast track goes on alone" in health.summary
            assert any("has hung" in line for line in chain.log)
        finally:
            slow.let_through(100)


@pytest.mark.parametrize(("step", "failed"), [("outputs.image_message", "1"), ("camera.key_frame_message", "0")])
def test_an_image_that_the_node_fails_on_is_counted_once_and_the_next_one_labelled(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, step: str, failed: str
) -> None:
    """Whose labels are out is not lost, whatever fails afterwards."""
    lines: list[str] = []
    monkeypatch.setattr(type(chain.camera._node.get_logger()), "error", lambda self, line: lines.append(line))
    first, second, third = moving_frames(3)
    chain.fake.segment(first)
    with monkeypatch.context() as broken:
        broken.setattr(f"lowlat_seg_ros.ros.{step}", lambda *_: 1 / 0)
        chain.fake.send(second)
        chain.fake.bench.spin_until(lambda: chain.camera.faults.count == 1, "the fault")
    chain.fake.segment(third)
    health = chain.camera.report()
    assert (health.values["images segmented"], health.values["images failed"]) == (str(3 - int(failed)), failed)
    assert ("images that the node failed on" in health.summary) == (failed == "1")
    assert "Traceback" in lines[0] and "ZeroDivisionError" in lines[0] and len(lines) == 1


@pytest.mark.parametrize("step", ["the fast track", "the publishing"])
def test_a_lost_cuda_context_passes_the_cameras_boundary(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    chain.fake.segment(moving_frames(1)[0])
    monkeypatch.setattr("lowlat_seg_ros.ros.camera.cuda_context_is_lost", lambda device: True)
    if step == "the fast track":
        chain.fast_network.gives_nan = True
    else:
        monkeypatch.setattr("lowlat_seg_ros.ros.outputs.image_message", lambda *_: 1 / 0)
    chain.fake.send(moving_frames(1)[0])
    with pytest.raises(Fatal, match="the CUDA context is lost"):
        chain.fake.bench.spin_until(lambda: False, "the end")

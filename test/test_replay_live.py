"""Bags replayed live: the real node in its own process over DDS, and the same figures as offline."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from json_schema import violations
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from stream_setup import stream_network
from test_replay_report import SCHEMA

from lowlat_seg_ros.data.bag_writer import START, write_bag
from lowlat_seg_ros.data.labelled_clips import LabelledFrame
from lowlat_seg_ros.data.synthetic_street import SyntheticStreet
from lowlat_seg_ros.evaluation.replay.jobs import Failure, Job
from lowlat_seg_ros.evaluation.replay.profile import Profile
from lowlat_seg_ros.evaluation.replay.replay import Model, Outcome, load_model, replay_bag
from lowlat_seg_ros.evaluation.replay.report import json_text
from lowlat_seg_ros.evaluation.replay.settings import PolicySettings, ReplaySettings
from lowlat_seg_ros.network.checkpoint import save_checkpoint
from lowlat_seg_ros.ros.conversions import nanoseconds
from lowlat_seg_ros.ros.live_performance import LiveOptions, policy_parameters
from lowlat_seg_ros.ros.replay_live import replay_bag_live, run_live

FRAME_COUNT = 9
RATE_HZ = 10.0
ROUNDS = 2
END = START + round(FRAME_COUNT / RATE_HZ * 1_000_000_000)

# Every third frame a key frame, and Sh done before the next frame comes: so it is in the node when it has the time.
EVERY_THIRD = ReplaySettings(PolicySettings("fixed_interval", interval=3))
UNHURRIED = Profile("unhurried", fast_ms=10, key_frame_ms=10, slow_ms=50, full_ms=60, single_ms=10)
AT_LEISURE = 0.5  # of the drive's speed: 200 ms from frame to frame


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("live")
    street = SyntheticStreet(size=(96, 72), frame_count=FRAME_COUNT, rate_hz=RATE_HZ)
    shots = (street[number] for number in range(FRAME_COUNT))
    write_bag(folder / "street", (LabelledFrame(shot.image, shot.labels) for shot in shots), RATE_HZ)
    save_checkpoint(stream_network(), folder / "model", "For tests.")
    return Job(folder / "street", str(folder / "model"), EVERY_THIRD, UNHURRIED)


@pytest.fixture(scope="module")
def model(job: Job) -> Model:
    return load_model(job.model)


class NodeClock:
    """The stamps of the diagnostics that the node publishes, by its own clock."""

    def __init__(self, node: Node) -> None:
        self.times: list[int] = []
        node.create_subscription(DiagnosticArray, "/diagnostics", self._keep, 10)

    def _keep(self, message: DiagnosticArray) -> None:
        self.times.append(nanoseconds(message.header.stamp))


@contextmanager
def listening() -> Iterator[NodeClock]:
    context = rclpy.Context()
    context.init(args=[])
    node = Node("listener", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    clock = NodeClock(node)
    thread = threading.Thread(target=_spin, args=(executor,))
    thread.start()
    try:
        yield clock
    finally:
        context.try_shutdown()
        thread.join()
        node.destroy_node()


def _spin(executor: SingleThreadedExecutor) -> None:
    with suppress(ExternalShutdownException):
        executor.spin()


@pytest.fixture(scope="module")
def replayed(job: Job, model: Model) -> tuple[Outcome, list[int]]:
    """The bag played twice in a row, and the node's clock meanwhile. Leaves no process behind."""
    children = child_processes()
    with listening() as clock:
        outcome = replay_bag_live(job, model, LiveOptions(AT_LEISURE, ROUNDS))
    assert child_processes() == children
    return outcome, clock.times


def child_processes() -> set[str]:
    """Those of this process, dead ones that nobody waited for included."""
    return {child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()}


def test_every_frame_is_labelled_or_counted_as_dropped(replayed: tuple[Outcome, list[int]]) -> None:
    (camera,) = replayed[0].report.cameras
    live = camera.systems[0]
    assert live.name == "two tracks, live"
    assert live.counts.frames_in == camera.frames == ROUNDS * FRAME_COUNT
    assert live.counts.labelled + live.counts.dropped == live.counts.frames_in
    assert not any("have no labels" in problem for problem in camera.problems)
    assert live.latency_ms.all_frames.count == live.counts.labelled
    assert live.latency_ms.all_frames.max is not None


def test_stamps_that_jump_back_start_the_stream_again_and_it_goes_on(replayed: tuple[Outcome, list[int]]) -> None:
    (camera,) = replayed[0].report.cameras
    reasons = camera.systems[0].timeline["key_reason"]
    assert [number for number, reason in enumerate(reasons) if reason == "first frame"] == [0, FRAME_COUNT]
    assert "interval" in reasons[FRAME_COUNT:]
    assert "the stream began again 1 times, as where stamps go back" in " ".join(camera.problems)


def test_the_node_lives_by_the_drives_clock(replayed: tuple[Outcome, list[int]]) -> None:
    _, times = replayed
    under_way = [time for time in times if time > 0]
    assert under_way
    assert all(START - 1_000_000_000 <= time <= END for time in under_way)


def test_live_and_offline_agree(job: Job, model: Model, replayed: tuple[Outcome, list[int]]) -> None:
    live = replayed[0].report.cameras[0].systems
    offline = replay_bag(job.bag, model, job.settings, job.profile).report.cameras[0].systems
    assert live[0].counts.dropped == offline[0].counts.dropped == 0
    for here, there in zip(live[:2], offline[:2], strict=True):  # the two tracks, the full network
        assert here.scores is not None
        assert there.scores is not None
        assert here.scores.mean_iou == pytest.approx(there.scores.mean_iou, abs=0.01)
        assert here.scores.pixel_accuracy == pytest.approx(there.scores.pixel_accuracy, abs=0.01)


def test_a_live_report_is_one_of_the_documented_kind(replayed: tuple[Outcome, list[int]]) -> None:
    document = json.loads(json_text(replayed[0].report.to_mapping()))
    assert list(violations(document, SCHEMA, SCHEMA)) == []
    assert document["settings"]["live"] == {"rate": AT_LEISURE, "rounds": ROUNDS}


def test_a_bag_that_cannot_be_read_stops_no_other(tmp_path: Path, job: Job) -> None:
    missing = Job(tmp_path / "missing", job.model, job.settings, job.profile)
    ((_, ending),) = run_live([missing], LiveOptions(), lambda *frames: None)
    assert isinstance(ending, Failure)
    assert "missing" in ending.reason


def test_the_node_gets_the_replays_policy() -> None:
    assert policy_parameters(PolicySettings("feature_difference", threshold=1)) == {
        "policy": "feature_difference",
        "feature_difference_threshold": "1.0",
        "minimum_interval": "1",
        "maximum_interval": "5",
    }
    assert policy_parameters(PolicySettings())["deviation_threshold"] == "0.1"
    assert policy_parameters(PolicySettings("fixed_interval", 7)) == {"policy": "fixed_interval", "interval": "7"}

"""Bags replayed live: the real node in its own process over DDS, and the same figures as offline."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from bag_parts import Recorded, image, labels, stamp_of, write_bag_of
from diagnostic_msgs.msg import DiagnosticArray
from json_schema import violations
from node_setup import children_of
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from stream_setup import stream_network
from test_replay_report import SCHEMA

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data.labelled_clips import LabelledFrame
from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.models.checkpoint import save_checkpoint
from lowlat_seg_ros.replay.bag_writer import START, write_bag
from lowlat_seg_ros.replay.jobs import Failure, Job
from lowlat_seg_ros.replay.live import policy_parameters, replay_bag_live, run_live
from lowlat_seg_ros.replay.live_two_tracks import LiveOptions
from lowlat_seg_ros.replay.markdown import report_markdown
from lowlat_seg_ros.replay.profile import Profile, reference_profile
from lowlat_seg_ros.replay.replay import Model, Outcome, load_model, replay_bag
from lowlat_seg_ros.replay.settings import PolicySettings, ReplaySettings
from lowlat_seg_ros.ros.conversions import nanoseconds
from lowlat_seg_ros.ros.harness import Played
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

FRAME_COUNT = 9
RATE_HZ = 10.0
ROUNDS = 2
END = START + round(FRAME_COUNT / RATE_HZ * 1_000_000_000)

# Every third frame a key frame, and Sh done before the next frame comes: so it is in the node when it has the time.
EVERY_THIRD = ReplaySettings(PolicySettings("fixed_interval", interval=3))
UNHURRIED = Profile("unhurried", fast_ms=10, key_frame_ms=10, slow_ms=50, full_ms=60, single_ms=10)
AT_LEISURE = 0.25  # of the drive's speed: 400 ms from frame to frame, for Sh on a busy machine, too

CHECKOUT = Path(__file__).parents[1]
PATIENCE = 150.0  # seconds until a test that waits for a condition fails
TOLERANCE = 0.01  # of the mIoU, between live and offline


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
    return load_model(job.model, job.settings)


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
    children = children_of("self")
    with listening() as clock:
        outcome = replay_bag_live(job, model, LiveOptions(AT_LEISURE, ROUNDS))
    assert children_of("self") == children
    return outcome, clock.times


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
    timeline = camera.systems[0].timeline
    for part in (slice(0, FRAME_COUNT), slice(FRAME_COUNT, None)):
        assert timeline["key_reason"][part].count("first frame") == 1
        assert sum(status != "dropped" for status in timeline["status"][part]) > 1
    assert "the stream began again 1 times, as where stamps go back" in " ".join(camera.problems)


def test_the_node_lives_by_the_drives_clock(replayed: tuple[Outcome, list[int]]) -> None:
    _, times = replayed
    under_way = [time for time in times if time > 0]
    assert any(later < earlier for earlier, later in pairwise(under_way)), "the second round begins where the first did"
    assert all(START - 1_000_000_000 <= time <= END for time in under_way)


def test_live_and_offline_agree(job: Job, model: Model, replayed: tuple[Outcome, list[int]]) -> None:
    live = replayed[0].report.cameras[0].systems
    offline = replay_bag(job.bag, model, job.settings, job.profile).report.cameras[0].systems
    assert live[0].counts.dropped == offline[0].counts.dropped == 0
    assert [system.name for system in live] == ["two tracks, live", *(system.name for system in offline)]
    for here, there in zip((live[0], *live[1:3]), (offline[0], *offline[:2]), strict=True):
        assert here.scores is not None
        assert there.scores is not None
        assert here.scores.mean_iou == pytest.approx(there.scores.mean_iou, abs=TOLERANCE)
        assert here.scores.pixel_accuracy == pytest.approx(there.scores.pixel_accuracy, abs=TOLERANCE)


def test_the_simulated_tracks_take_the_time_that_the_node_took(replayed: tuple[Outcome, list[int]]) -> None:
    live, simulated = replayed[0].report.cameras[0].systems[:2]
    assert live.slow_track is not None
    assert live.slow_track.delay_ms.p50 is not None
    assert f"Sh {round(live.slow_track.delay_ms.p50, 3):g} ms" in simulated.description
    if live.counts.dropped == simulated.counts.dropped == 0:
        assert simulated.counts.key_frames == live.counts.key_frames


def test_a_live_report_is_one_of_the_documented_kind(replayed: tuple[Outcome, list[int]]) -> None:
    document = json.loads(json_text(replayed[0].report.to_mapping()))
    assert list(violations(document, SCHEMA, SCHEMA)) == []
    assert document["settings"]["live"] == {"rate": AT_LEISURE, "rounds": ROUNDS}


def test_a_bag_that_cannot_be_read_stops_no_other(tmp_path: Path, job: Job) -> None:
    missing = Job(tmp_path / "missing", job.model, job.settings, job.profile)
    ((_, ending),) = run_live([missing], LiveOptions(), lambda *frames: None)
    assert isinstance(ending, Failure)
    assert "missing" in ending.reason


# --- From the command, with the bags that there are ------------------------------------------------------------------


def drive(camera: str, count: int, without: tuple[int, ...] = (), laps_of: int | None = None) -> list[Recorded]:
    """A camera's frames with their truth; with ``laps_of`` without, and the stamps go back after that many frames."""
    truth = camera.rpartition("/")[0] + "/labels_truth"
    messages = []
    for number in range(count):
        stamp = stamp_of(number % laps_of if laps_of else number)
        seen = [image(number, camera, stamp=stamp, size=(64, 48))]
        if laps_of is None:
            seen.append(labels(number, truth, size=(64, 48)))
        messages += [] if number in without else seen
    return messages


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, job: Job) -> Path:
    """Three bags played twice each by the command: two cameras with gaps and laps, one cut short, one of a robot
    without cameras."""
    drives, out = tmp_path_factory.mktemp("drives"), tmp_path_factory.mktemp("reports") / "fleet"
    far_off = image(99, "/right/image", time=stamp_of(99) + 10**18, size=(64, 48))  # received 31 years later
    gaps = [*drive("/left/image", 20, without=(7, 13)), *drive("/right/image", 20, laps_of=12), far_off]
    write_bag_of(drives / "gaps", sorted(gaps, key=lambda message: message.time))
    cut = write_bag_of(drives / "cut", drive("/image", 20))
    (file,) = cut.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    speech = Recorded("/speech", "std_msgs/msg/String", 1, b"\x00\x01\x00\x00\x02\x00\x00\x00a\x00")
    write_bag_of(drives / "robot", [speech])
    options = [
        "--live",
        "--loop",
        "2",
        "--rate",
        "2",
        "--policy",
        "fixed_interval",
        "--interval",
        "3",
        "--model",
        job.model,
    ]
    assert main(["replay", str(drives), "--out", str(out), *options]) == 0
    return out


def document(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def first_frames(camera: dict[str, Any]) -> list[int]:
    reasons = camera["systems"][0]["timeline"]["key_reason"]
    return [number for number, reason in enumerate(reasons) if reason == "first frame"]


def test_two_cameras_with_lost_messages_and_laps_are_played_together(fleet: Path) -> None:
    report = document(fleet / "gaps" / "report.json")
    assert list(violations(report, SCHEMA, SCHEMA)) == []
    assert any("/left/image has lost about 2 of 20 frames" in problem for problem in report["bag"]["problems"])
    left, right = report["cameras"]
    assert [(each["topic"], each["frames"]) for each in (left, right)] == [("/left/image", 36), ("/right/image", 42)]
    for camera in (left, right):
        counts = camera["systems"][0]["counts"]
        assert counts["labelled"] + counts["dropped"] == counts["frames_in"] == camera["frames"]
        assert not any("have no labels" in problem for problem in camera["problems"])


def test_nobody_waits_for_a_frame_that_a_damaged_time_puts_decades_away(fleet: Path) -> None:
    problems = document(fleet / "gaps" / "report.json")["bag"]["problems"]
    assert any("pauses of more than 5 s between frames" in problem for problem in problems)


def test_every_jump_back_of_the_clock_starts_the_stream_again_in_the_camera_that_jumps(fleet: Path) -> None:
    left, right = document(fleet / "gaps" / "report.json")["cameras"]
    for camera, jumps in ((left, [0, 18]), (right, [0, 12, 21, 33])):
        if not camera["systems"][0]["counts"]["dropped"]:  # else the frame after a jump may be one that was dropped
            assert first_frames(camera) == jumps
        assert len(first_frames(camera)) == len(jumps)


def test_a_bag_that_is_cut_in_a_chunk_is_played_as_far_as_it_goes(fleet: Path) -> None:
    report = document(fleet / "cut" / "report.json")
    (camera,) = report["cameras"]
    assert 2 <= camera["frames"] // 2 < 20
    assert any("cut short" in problem for problem in report["bag"]["problems"])
    assert camera["systems"][0]["counts"]["labelled"] > 0


def test_a_bag_without_cameras_is_named_and_stops_no_other(fleet: Path) -> None:
    bags = {bag["name"]: bag for bag in document(fleet / "fleet.json")["bags"]}
    assert bags.keys() == {"cut", "gaps", "robot"}
    assert "holds no camera images" in bags["robot"]["error"]
    assert bags["cut"]["error"] is None
    assert not (fleet / "robot").exists()


@pytest.mark.slow
def test_the_trained_network_scores_live_as_it_does_offline(tmp_path: Path) -> None:
    """The shipped model, on a street played as slowly as every machine can follow."""
    street = SyntheticStreet(frame_count=12, rate_hz=RATE_HZ)
    shots = (street[number] for number in range(street.frame_count))
    write_bag(tmp_path / "street", (LabelledFrame(shot.image, shot.labels) for shot in shots), RATE_HZ)
    job = Job(tmp_path / "street", "default", EVERY_THIRD, reference_profile())
    report = replay_bag_live(job, load_model(job.model, job.settings), LiveOptions(rate=0.1)).report
    live, simulated, *_ = report.cameras[0].systems
    assert live.scores is not None
    assert simulated.scores is not None
    assert live.scores.mean_iou is not None
    assert live.scores.mean_iou == pytest.approx(simulated.scores.mean_iou, abs=TOLERANCE)
    assert live.scores.mean_iou > 0.2, "a network that has learnt nothing agrees with everything"
    (sentence,) = (line for line in report_markdown(report.to_mapping()).splitlines() if "Live and simulated" in line)
    assert float(sentence.split()[-1].rstrip(".")) <= TOLERANCE


def test_a_killed_live_replay_takes_node_and_player_with_it(tmp_path: Path, job: Job) -> None:
    command = [sys.executable, "-m", "lowlat_seg_ros.cli", "replay", str(job.bag), "--live", "--model", job.model]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])}
    running = subprocess.Popen([*command, "--out", str(tmp_path / "out")], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(children_of(running.pid)) == 2, "node and player")
        children = children_of(running.pid)
        wait_for(lambda: all(is_tied(child) for child in children), "that they are tied to their parent")
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    wait_for(lambda: not any(is_alive(child) for child in children), "their end")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {PATIENCE:g} seconds"
        time.sleep(0.05)


def is_tied(process: str) -> bool:
    """Whether it has come as far as loading the package, which it does after it has asked to be told."""
    with suppress(OSError):
        return "numpy" in Path(f"/proc/{process}/maps").read_text()
    return False


def is_alive(process: str) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_player_that_waits_for_a_recordings_pause_to_end_is_no_silent_one() -> None:
    played = Played()
    first = {"camera": "/image", "stamp": 1, "sent": 2}
    for event in (first, {"waiting": 9}):
        played.take(event)
        assert (played.sent, played.end) == ([first], None)
    played.take({"longest_delay": 3, "put_off": 0, "left_out": 0})
    assert played.end is not None and played.end["longest_delay"] == 3
    assert played.stamps == [1]


def test_the_node_gets_the_replays_policy() -> None:
    assert policy_parameters(PolicySettings("feature_difference", threshold=1)) == {
        "policy": "feature_difference",
        "feature_difference_threshold": "1.0",
        "minimum_interval": "0",
        "maximum_interval": "0",
        "minimum_key_period": "0.25",
        "maximum_key_period": "0.5",
        "idle_threshold": "0.03",
    }
    assert policy_parameters(PolicySettings())["deviation_threshold"] == "0.105"
    assert policy_parameters(PolicySettings("fixed_interval", 7)) == {"policy": "fixed_interval", "interval": "7"}

"""A camera's images through the node over real DDS: what comes out, what bad images do, what changes at run time."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("rclpy")

from lowlat_seg_ros.msg import KeyFrameDiagnostics
from node_setup import STEP, FakeCamera, NodeProcess, TestBench, own_namespace, running_node
from std_msgs.msg import Header
from stream_setup import stream_network

from lowlat_seg_ros.ros.conversions import stamp_of

CLASSES = 11


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Iterator[NodeProcess]:
    log = tmp_path_factory.mktemp("log") / "node.log"
    parameters = {"model": checkpoint, "device": "cpu", "policy": "fixed_interval", "interval": 3}
    parameters["backward_stamp_tolerance"] = 0.0  # any step back begins a stream
    with running_node(log, own_namespace("stream"), parameters) as process:
        yield process


@pytest.fixture(scope="module")
def bench(node: NodeProcess) -> Iterator[TestBench]:
    bench = TestBench(own_namespace("stream"))
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def camera(bench: TestBench) -> FakeCamera:
    return FakeCamera(bench).connect()


def picture(number: int = 0, width: int = 96, height: int = 72, channels: int = 3) -> NDArray[np.uint8]:
    """Coarse blocks of colour, another for every number."""
    blocks = np.random.default_rng(number).integers(0, 256, (height // 12 + 1, width // 12 + 1, channels), np.uint8)
    return np.ascontiguousarray(blocks.repeat(12, axis=0).repeat(12, axis=1)[:height, :width])


def test_the_example_that_watches_says_what_comes(camera: FakeCamera) -> None:
    example = Path(__file__).parents[1] / "examples" / "watch_labels.py"
    command = [sys.executable, str(example), f"{own_namespace('stream')}/lowlat_seg", "--seconds", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        while watching.poll() is None:
            camera.segment(picture())
        assert watching.stdout is not None
        lines = watching.stdout.read().splitlines()
    assert watching.returncode == 0
    assert any("labels a second, the newest in" in line and "%" in line for line in lines), lines


def test_labels_carry_the_images_header_and_size(camera: FakeCamera) -> None:
    stamp = camera.segment(picture())
    message = camera.labels[stamp]
    assert message.header.frame_id == "front_camera"
    assert (message.width, message.height, message.step) == (96, 72, 96)
    assert message.encoding == "mono8"
    assert set(np.unique(camera.label_ids(stamp))) <= set(range(CLASSES))


def test_the_same_pixels_give_the_same_labels_in_every_encoding(camera: FakeCamera) -> None:
    """Each is a first frame (its stamp goes back), so no frame knows of the one before."""
    rgb = picture(1)
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    opaque = np.full((72, 96, 1), 255, np.uint8)
    padded = np.concatenate([bgr, np.full((72, 8, 3), 77, np.uint8)], axis=1)
    big_endian = (rgb.astype(">u2") * 257).view(np.uint8)
    expected = camera.label_ids(camera.segment(rgb, stamp=9_000))
    assert len(np.unique(expected)) > 1
    sent = {
        "bgr8": camera.segment(bgr, "bgr8", stamp=8_000),
        "rgba8": camera.segment(np.concatenate([rgb, opaque], axis=2), "rgba8", stamp=7_000),
        "bgra8": camera.segment(np.concatenate([bgr, opaque], axis=2), "bgra8", stamp=6_000),
        "bgr8 with padded rows": camera.segment(padded, "bgr8", width=96, stamp=5_000),
        "big-endian rgb16": camera.segment(big_endian, "rgb16", width=96, is_bigendian=1, stamp=4_000),
    }
    for encoding, stamp in sent.items():
        assert np.array_equal(camera.label_ids(stamp), expected), encoding


def begin_stream(camera: FakeCamera, stamp: int) -> list[KeyFrameDiagnostics]:
    """Send images from ``stamp`` on, which goes back, until one has a key frame: that is the first one then."""
    messages = [camera.key_frames[camera.segment(picture(), stamp=stamp)]]
    while not messages[-1].key_is_accurate:
        messages.append(camera.key_frames[camera.segment(picture())])
    return messages


def until_key_frame(camera: FakeCamera) -> list[KeyFrameDiagnostics]:
    """Send images until one becomes a key frame: one that is due is put off while Sh still works on the last."""
    messages = [camera.key_frames[camera.segment(picture(5))]]
    while not messages[-1].is_key_frame:
        messages.append(camera.key_frames[camera.segment(picture(5))])
    return messages


def test_every_third_frame_is_a_key_frame_or_the_next_that_sh_is_free_for(camera: FakeCamera) -> None:
    messages = begin_stream(camera, stamp=1_000)
    while sum(message.is_key_frame for message in messages) < 4:
        messages += until_key_frame(camera)
    numbers = [number for number, message in enumerate(messages) if message.is_key_frame]
    assert min(np.diff(numbers[1:])) >= 3
    assert [messages[number].key_reason for number in numbers] == ["first frame"] + ["interval"] * (len(numbers) - 1)
    assert set(np.diff([message.sequence for message in messages])) == {1}
    assert not any(message.waited_for_slow_track for message in messages)
    assert all(message.total_ms >= message.decode_ms + message.publish_ms > 0 for message in messages)


def test_labels_say_which_key_frame_they_came_from(camera: FakeCamera) -> None:
    *early, labelled = begin_stream(camera, stamp=2_000)
    assert [message.key_reason for message in early] == ["first frame"] + [""] * (len(early) - 1)
    for message in early:  # by Sl alone
        assert (message.key_age_frames, message.key_is_accurate) == (0, False)
        assert message.key_stamp == message.header.stamp
    assert labelled.key_stamp.nanosec == 2_000
    assert labelled.key_age_frames == labelled.sequence - early[0].sequence == len(early)


def test_policy_and_threshold_change_at_run_time(camera: FakeCamera, bench: TestBench) -> None:
    long = {"minimum_key_period": 0.0, "maximum_key_period": 0.0, "idle_threshold": 1.0}
    assert bench.set_parameters(policy="predicted_deviation", deviation_threshold=1.0, **long).successful
    begin_stream(camera, stamp=3_000)
    quiet = camera.key_frames[camera.segment(picture(5))]
    assert (quiet.is_key_frame, quiet.threshold) == (False, 1.0)
    assert 0 <= quiet.predicted_deviation <= 1
    assert bench.set_parameters(deviation_threshold=0.0).successful
    assert until_key_frame(camera)[-1].key_reason == "deviation"
    assert bench.set_parameters(policy="fixed_interval", interval=1).successful
    assert until_key_frame(camera)[-1].key_reason == "interval"
    assert bench.set_parameters(
        interval=3, minimum_key_period=0.25, maximum_key_period=0.5, idle_threshold=0.03
    ).successful


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"policy": "every_full_moon"}, "policy is 'every_full_moon'; expected one of predicted_deviation, "),
        ({"minimum_interval": 9, "maximum_interval": 3}, "minimum_interval is 9 and maximum_interval 3"),
        ({"minimum_key_period": 0.6}, "minimum_key_period is 0.6 and maximum_key_period 0.5"),
        ({"maximum_key_period": -1.0}, "maximum_key_period out of range"),
        ({"deviation_threshold": 1.5}, "deviation_threshold out of range"),
        ({"deviation_threshold": float("nan")}, "deviation_threshold out of range"),
        ({"interval": 0}, "interval out of range"),
        ({"model": "other"}, "model is read-only while the node is configured"),
        ({"class_names": ["a"]}, "class_names is read-only while the node is configured"),
        ({"overlay_opacity": "half"}, "overlay_opacity is 'half'; expected a number with a decimal point"),
        ({"image_timeout": 3}, "image_timeout is 3; expected a number with a decimal point (1.0, not 1)"),
        ({"deviation_treshold": 0.5}, "there is no parameter 'deviation_treshold'"),
        ({"": 0.5}, "there is no parameter ''"),
    ],
)
def test_a_change_that_cannot_be_made_says_why(bench: TestBench, values: dict[str, object], reason: str) -> None:
    names = "policy", "interval", "minimum_interval", "maximum_interval", "minimum_key_period", "maximum_key_period"
    before = bench.parameters(*names)
    result = bench.set_parameters(**values)
    assert not result.successful
    assert reason in result.reason
    assert bench.parameters(*names) == before


def test_classes_can_be_asked_for(bench: TestBench) -> None:
    config = stream_network().config
    names, colours, size = bench.parameters("class_names", "class_colours", "input_size")
    assert tuple(names) == config.classes
    assert colours[0] == "#{:02x}{:02x}{:02x}".format(*config.colours[0])
    assert tuple(size) == config.input_size


BAD_IMAGES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown encoding": ({"encoding": "smell8"}, "the encoding 'smell8' is not known"),
    "depth image": ({"encoding": "32FC1"}, "the encoding 32FC1 says nothing of colours"),
    "short rows": ({"step": 100}, "step is 100 bytes; expected 288 or more"),
    "short data": ({"height": 100}, "the data are 20736 bytes; expected 28800"),
    "no rows": ({"height": 0}, "the image is 96x0"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_gets_one_line_and_the_next_good_one_its_labels(
    camera: FakeCamera, node: NodeProcess, kind: str
) -> None:
    changes, sentence = BAD_IMAGES[kind]
    bad = [camera.send(picture(), **changes)]
    node.wait_until_logged(sentence)
    bad.append(camera.send(picture(), **changes))  # one that the next image may overtake
    camera.segment(picture())
    assert not set(bad) & set(camera.labels)
    assert len(node.lines_with(sentence)) == 1


def test_a_change_of_size_starts_the_stream_again(camera: FakeCamera, node: NodeProcess) -> None:
    camera.segment(picture())
    stamp = camera.segment(picture(width=50, height=41))
    assert camera.label_ids(stamp).shape == (41, 50)
    assert camera.key_frames[stamp].key_reason == "first frame"
    node.wait_until_logged("size changed from (96, 72) to (50, 41)")


def test_a_stamp_that_goes_back_starts_the_stream_again(camera: FakeCamera) -> None:
    """As a bag does that is played in a loop."""
    camera.segment(picture())
    stamp = camera.segment(picture(), stamp=500)
    assert camera.key_frames[stamp].key_reason == "first frame"
    assert camera.key_frames[camera.segment(picture(), stamp=600)].key_stamp.nanosec in (500, 600)  # 600: by Sl alone


def test_one_image_in_five_out_of_order_costs_that_image_and_not_the_stream(
    camera: FakeCamera, bench: TestBench
) -> None:
    assert bench.set_parameters(backward_stamp_tolerance=0.5).successful
    sent, late = [camera.segment(picture())], list[int]()
    before = bench.status()
    for _ in range(2):
        for step in (-STEP // 2, *[STEP] * 4):
            stamp = max(sent) + step
            (late if step < 0 else sent).append(stamp)
            if step < 0:
                camera.send(picture(), stamp=stamp)
                bench.spin_until(lambda: out_of_order(bench) - int(before["images out of order"]) == len(late), "it")
            else:
                camera.segment(picture(), stamp=stamp)
    after = bench.status()
    assert not set(late) & set(camera.labels), "what comes too late gets no labels"
    assert not any(camera.key_frames[stamp].key_reason == "first frame" for stamp in sent[1:])
    assert after["stream restarts"] == before["stream restarts"]
    assert bench.set_parameters(backward_stamp_tolerance=0.0).successful


def out_of_order(bench: TestBench) -> int:
    return int(bench.status()["images out of order"])


def test_a_restart_of_the_stream_is_counted_and_warned_of(camera: FakeCamera, bench: TestBench) -> None:
    before = int(bench.status()["stream restarts"])
    camera.segment(picture(), stamp=800)
    camera.segment(picture(), stamp=700)
    bench.spin_until(lambda: int(bench.newest_status("image")["stream restarts"]) == before + 2, "the count")
    assert "stream restarts since the last report" in bench.newest_status("image")["message"]
    assert bench.newest_status("image")["level"] == "1"


@pytest.mark.parametrize("stamp", [0, 1, 100 * STEP, (2**31 - 1) * 10**9])
def test_an_age_is_told_only_where_stamp_and_clock_say_one(camera: FakeCamera, stamp: int) -> None:
    """A stamp that nobody set, one since boot, one of an old drive and one of 2038."""
    assert math.isnan(camera.key_frames[camera.segment(picture(), stamp=stamp)].age_ms)
    now = time.time_ns()
    assert 0 <= camera.key_frames[camera.segment(picture(), stamp=now)].age_ms < 60_000


def test_equal_stamps_are_no_break(camera: FakeCamera) -> None:
    """Some drivers stamp nothing."""
    camera.segment(picture(), stamp=0)
    again = camera.key_frames[camera.segment(picture(), stamp=0)]
    assert again.key_reason == ""


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (3840, 2160)])
def test_any_size_is_segmented(camera: FakeCamera, size: tuple[int, int]) -> None:
    width, height = size
    stamp = camera.segment(picture(width=width, height=height))
    assert camera.label_ids(stamp).shape == (height, width)


@pytest.mark.parametrize("frame_id", ["", "vörne", "\x1b[31m\n", "x" * 100_000])
def test_a_frame_id_comes_back_as_it_was_sent(camera: FakeCamera, frame_id: str) -> None:
    header = Header(stamp=stamp_of(camera.stamp + STEP), frame_id=frame_id)
    assert camera.labels[camera.segment(picture(), header=header)].header == header


def test_a_camera_that_dies_and_returns_is_taken_up_again(camera: FakeCamera, bench: TestBench) -> None:
    lost = bench.status()["images dropped"]
    camera.segment(picture())
    camera.stop_sending()
    bench.spin_until(lambda: bench.status()["image publishers"] == "0", "its end")
    camera.start_sending()
    camera.connect().segment(picture(1))
    assert bench.status()["images dropped"] == lost


def test_the_overlay_is_worked_out_only_while_somebody_listens(camera: FakeCamera, bench: TestBench) -> None:
    assert bench.set_parameters(overlay_opacity=1.0).successful
    camera.segment(picture())
    camera.listen_to_overlay()
    bench.spin_until(lambda: camera.segment(picture(3)) is not None and bool(camera.overlays), "an overlay")
    stamp, overlay = next(iter(camera.overlays.items()))
    bgr = np.frombuffer(overlay.data, np.uint8).reshape(72, 96, 3)
    colours = np.array(stream_network().config.colours, np.uint8)
    assert np.array_equal(bgr[..., ::-1], colours[camera.label_ids(stamp)])
    assert (overlay.encoding, overlay.header.frame_id) == ("bgr8", "front_camera")
    camera.stop_listening_to_overlay()


def test_diagnostics_tell_rate_latency_and_device(camera: FakeCamera, bench: TestBench) -> None:
    before = bench.status()
    camera.segment(picture())
    bench.spin_until(
        lambda: int(bench.status()["images segmented"]) == int(before["images segmented"]) + 1, "the count"
    )
    status = bench.status()
    assert status["hardware_id"] == "cpu"
    assert float(status["latency p50 (ms)"]) <= float(status["latency max (ms)"])
    assert int(status["images refused"]) >= len(BAD_IMAGES)
    assert status["slow-track failures"] == "0"


def test_diagnostics_warn_of_silence(camera: FakeCamera, bench: TestBench) -> None:
    assert bench.set_parameters(image_timeout=0.1).successful
    bench.spin_until(lambda: "no image on" in bench.status()["message"], "a warning")
    bench.spin_until(lambda: bench.status()["level"] == "3", "STALE")
    assert bench.set_parameters(image_timeout=2.0).successful

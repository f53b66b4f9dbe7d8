"""Bags are written whole or not at all, with what `ros2 bag` needs, and hold exactly the frames and labels given."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
import yaml
from bag_parts import label_map, picture
from numpy.typing import NDArray

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data.camvid import DataError
from lowlat_seg_ros.data.clips import open_clip
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS
from lowlat_seg_ros.data.label_classes import numbered_classes
from lowlat_seg_ros.data.label_file import read_labels
from lowlat_seg_ros.data.labelled_clips import LabelledFrame, labelled_frames
from lowlat_seg_ros.replay.bag_writer import START, Compression, Storage, WrittenBag, write_bag
from lowlat_seg_ros.replay.bags import BagError, open_bag
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

CHECKOUT = Path(__file__).parents[1]
COUNT = 8


def frames(count: int = COUNT) -> Iterator[LabelledFrame]:
    """Pictures, of which every second has labels."""
    return (LabelledFrame(picture(number), None if number % 2 else label_map(number)) for number in range(count))


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- What is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_frames_and_labels_are_written_as_they_are(tmp_path: Path, storage: Storage, compression: Compression) -> None:
    written = write_bag(tmp_path / "bag", frames(), 12.5, storage=storage, compression=compression, frame_id="front")
    assert written == WrittenBag(COUNT, COUNT // 2)
    assert names_in(tmp_path) == {"bag"}
    with open_bag(tmp_path / "bag") as bag:
        found = list(bag.frames("/image"))
        [unscored] = bag.problems
    assert f"{COUNT // 2} of {COUNT} frames" in unscored
    assert [frame.stamp for frame in found] == [START + number * 80_000_000 for number in range(COUNT)]
    for number, (frame, expected) in enumerate(zip(found, frames(), strict=True)):
        assert (frame.received, frame.frame_id) == (frame.stamp, "front")
        assert np.array_equal(frame.image, expected.image)
        assert (frame.labels is None) == (number % 2 == 1)
        assert frame.labels is None or np.array_equal(frame.labels, label_map(number))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_compression_makes_a_bag_of_labels_smaller(tmp_path: Path, storage: Storage) -> None:
    flat = [LabelledFrame(np.zeros((100, 100, 3), np.uint8), np.zeros((100, 100), np.uint8))] * 20
    sizes = {}
    for compression in get_args(Compression):
        write_bag(tmp_path / compression, flat, 10, storage=storage, compression=compression)
        sizes[compression] = sum(file.stat().st_size for file in (tmp_path / compression).iterdir())
    assert sizes["zstd"] < sizes["none"] / 5


def test_the_same_frames_make_the_same_bag(tmp_path: Path) -> None:
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        write_bag(tmp_path / run / "bag", frames(), 15)
    assert (tmp_path / "first/bag/bag.mcap").read_bytes() == (tmp_path / "second/bag/bag.mcap").read_bytes()


def test_metadata_say_what_ros2_bag_asks_for(tmp_path: Path) -> None:
    """The fields of rosbag2's metadata version 9 (rosbag2_storage/yaml.hpp in Jazzy and Kilted)."""
    write_bag(tmp_path / "bag", frames(), 10)
    metadata = yaml.safe_load((tmp_path / "bag/metadata.yaml").read_text())["rosbag2_bagfile_information"]
    period = 100_000_000
    assert metadata["version"] == 9
    assert metadata["storage_identifier"] == "mcap"
    assert metadata["relative_file_paths"] == [metadata["files"][0]["path"]] == ["bag.mcap"]
    assert metadata["duration"] == metadata["files"][0]["duration"] == {"nanoseconds": (COUNT - 1) * period}
    assert metadata["starting_time"] == {"nanoseconds_since_epoch": START}
    assert metadata["message_count"] == metadata["files"][0]["message_count"] == COUNT + COUNT // 2
    assert (metadata["compression_format"], metadata["compression_mode"]) == ("", "")
    topics = {topic["topic_metadata"]["name"]: topic for topic in metadata["topics_with_message_count"]}
    assert {name: topic["message_count"] for name, topic in topics.items()} == {"/image": 8, "/labels_truth": 4}
    for topic in topics.values():
        described = topic["topic_metadata"]
        assert (described["type"], described["serialization_format"]) == ("sensor_msgs/msg/Image", "cdr")
        assert described["type_description_hash"].startswith("RIHS01_")
        (qos,) = described["offered_qos_profiles"]
        assert (qos["reliability"], qos["durability"]) == ("reliable", "volatile")
        assert (qos["history"], qos["depth"], qos["liveliness"]) == ("keep_last", 10, "automatic")


def test_an_sqlite_bag_has_rosbag2_s_tables(tmp_path: Path) -> None:
    """Those of rosbag2_storage_sqlite3's schema version 4, with the message's definition for players without ROS."""
    write_bag(tmp_path / "bag", frames(), 10, storage="sqlite3")
    database = sqlite3.connect(tmp_path / "bag/bag.db3")
    columns = {
        table: [column[1] for column in database.execute(f"PRAGMA table_info({table})")]
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    (definition,) = database.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
    database.close()
    assert columns["schema"] == ["schema_version", "ros_distro"]
    assert columns["metadata"] == ["id", "metadata_version", "metadata"]
    assert columns["messages"] == ["id", "topic_id", "timestamp", "data"]
    assert columns["topics"][:5] == ["id", "name", "type", "serialization_format", "offered_qos_profiles"]
    assert definition[:2] == ("sensor_msgs/msg/Image", "ros2msg")
    assert "MSG: std_msgs/Header" in definition[2] and "MSG: builtin_interfaces/Time" in definition[2]


# --- Whole or not at all ----------------------------------------------------------------------------------------------


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "precious").write_text("data")
    with pytest.raises(BagError, match="bag exists already; give another name, or remove it first"):
        write_bag(tmp_path / "bag", frames(), 15)
    assert names_in(tmp_path / "bag") == {"precious"}


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="The folder of the bag .* does not exist"):
        write_bag(tmp_path / "nothing" / "bag", frames(), 15)


def test_no_frame_makes_no_bag(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="The bag bag was given no frame"):
        write_bag(tmp_path / "bag", iter(()), 15)
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_an_exception_leaves_nothing_behind(tmp_path: Path, storage: Storage) -> None:
    def failing() -> Iterator[LabelledFrame]:
        yield from frames()
        assert names_in(tmp_path) == {".bag.part"}
        raise DataError("The next picture is damaged.")

    with pytest.raises(DataError, match="The next picture is damaged"):
        write_bag(tmp_path / "bag", failing(), 15, storage=storage)
    assert names_in(tmp_path) == set()


WRITES_AND_WAITS = """
import sys, time
sys.path[:0] = sys.argv[2:]
from lowlat_seg_ros.replay.bag_writer import write_bag
from lowlat_seg_ros.data.labelled_clips import LabelledFrame
from bag_parts import label_map, picture
def endless():
    for number in range(100):
        yield LabelledFrame(picture(number), label_map(number))
    print("half way", flush=True)
    time.sleep(1000)
write_bag(sys.argv[1], endless(), 15)
"""


def test_a_killed_run_leaves_no_bag_and_does_not_disturb_the_next(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITES_AND_WAITS, str(tmp_path / "bag"), str(CHECKOUT), str(CHECKOUT / "test")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half way\n"
        with pytest.raises(BagError, match="Another program is writing"):
            write_bag(tmp_path / "bag", frames(), 15)
        writer.send_signal(signal.SIGKILL)
    assert not (tmp_path / "bag").exists()
    write_bag(tmp_path / "bag", frames(), 15)
    assert names_in(tmp_path) == {"bag"}
    with open_bag(tmp_path / "bag") as bag:
        assert len(list(bag.frames())) == COUNT


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BagError, match="cannot be written: .*Permission denied"):
        write_bag(tmp_path / "bag", frames(), 15)


# --- Labels -----------------------------------------------------------------------------------------------------------


def test_labels_belong_to_the_pictures_of_their_names(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        write_png(tmp_path / "pictures" / f"frame{number}.bmp", picture(number))
    for number in (2, 10):
        write_png(tmp_path / "labels" / f"frame{number}.png", label_map(number))
    found = list(labelled_frames(open_clip(tmp_path / "pictures"), tmp_path / "labels"))
    assert [frame.labels is not None for frame in found] == [False, True, True]
    for frame, number in zip(found[1:], (2, 10), strict=True):
        assert np.array_equal(frame.image, picture(number))
        assert frame.labels is not None and np.array_equal(frame.labels, label_map(number))


def test_the_street_brings_its_labels_along() -> None:
    street = SyntheticStreet(size=(64, 48), frame_count=3)
    for index, frame in enumerate(labelled_frames(street)):
        assert frame.labels is not None and np.array_equal(frame.labels, street[index].labels)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (16, 12))
    for number in range(4):
        writer.write(picture(number))
    writer.release()
    return path


def test_a_video_s_labels_are_counted_off(tmp_path: Path, video: Path) -> None:
    for number in range(4):
        write_png(tmp_path / "labels" / f"{number + 8}.png", label_map(number))
    for number, frame in enumerate(labelled_frames(open_clip(video), tmp_path / "labels")):
        assert frame.labels is not None and np.array_equal(frame.labels, label_map(number))


@pytest.mark.parametrize(("count", "sentence"), [(3, "has more frames"), (5, "has only 4 frames")])
def test_a_video_needs_a_label_file_for_each_frame(tmp_path: Path, video: Path, count: int, sentence: str) -> None:
    for number in range(count):
        write_png(tmp_path / "labels" / f"{number}.png", label_map(number))
    with pytest.raises(DataError, match=f"There are {count} label files, but clip.avi {sentence}; expected one"):
        list(labelled_frames(open_clip(video), tmp_path / "labels"))


@pytest.mark.parametrize(
    ("void", "stored", "expected"),
    [(None, [0, 10, 11, 255], [0, 10, 255, 255]), (0, [0, 18, 11, 255], [255, 18, 11, 255])],
)
def test_void_becomes_unlabelled(tmp_path: Path, void: int | None, stored: list[int], expected: list[int]) -> None:
    write_png(tmp_path / "labels.png", np.array([stored], np.uint8))
    classes = CAMVID_LABELS if void is None else numbered_classes(19, void)
    assert read_labels(tmp_path / "labels.png", classes).tolist() == [expected]


def test_ids_that_camvid_does_not_have_are_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "labels.png", np.array([[3, 18]], np.uint8))
    with pytest.raises(DataError, match="hold the id 18, but CamVid's ids end at 11"):
        read_labels(tmp_path / "labels.png", CAMVID_LABELS)


def test_labels_that_do_not_fit_their_frame_are_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "pictures" / "a.png", picture(0))
    clip = open_clip(tmp_path / "pictures")
    with pytest.raises(DataError, match="The folder of labels .* does not exist"):
        list(labelled_frames(clip, tmp_path / "labels"))
    write_png(tmp_path / "labels" / "b.png", label_map(0))
    with pytest.raises(DataError, match="labels for none of the pictures; expected names such as a.png"):
        list(labelled_frames(clip, tmp_path / "labels"))
    write_png(tmp_path / "labels" / "a.png", label_map(0, (8, 6)))
    with pytest.raises(DataError, match="are 8 x 6 but their picture is 16 x 12"):
        list(labelled_frames(clip, tmp_path / "labels"))


# --- The command ------------------------------------------------------------------------------------------------------


def test_the_command_makes_a_bag_and_lists_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        write_png(tmp_path / "pictures" / f"{number}.png", picture(number))
        write_png(tmp_path / "labels" / f"{number}.png", label_map(number))
    made = ["bag", "make", tmp_path / "pictures", tmp_path / "bag", "--labels", tmp_path / "labels", "--rate", "10"]
    assert main([str(argument) for argument in [*made, "--format", "sqlite3", "--compression", "zstd"]]) == 0
    assert "3 frames at 10 Hz, 3 of them with labels" in capsys.readouterr().out
    assert main(["bag", "info", str(tmp_path / "bag")]) == 0
    listed = capsys.readouterr().out
    assert "6 messages in 0.200 s, from 2001-09-09 01:46:40 UTC" in listed
    assert "/image  sensor_msgs/msg/Image  3 messages" in listed
    camera = "/image  16x12 bgr8, 10.00 Hz by the header stamps, 3 frames, about 0 lost, frame_id 'camera'"
    assert f"{camera}, truth on /labels_truth" in listed
    assert "none found" in listed


def test_the_command_lists_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bag(tmp_path / "bag", frames(), 15)
    (tmp_path / "bag/metadata.yaml").unlink()
    assert main(["bag", "info", str(tmp_path / "bag")]) == 0
    assert "metadata.yaml is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["info", "NOWHERE"], "The bag NOWHERE does not exist."),
        (["make", "NOWHERE", "bag"], "The clip NOWHERE does not exist"),
        (["make", "street", "bag", "--rate", "0"], "The rate of a clip must be more than 0"),
        (["make", "street", "NOWHERE/bag"], "The folder of the bag NOWHERE/bag does not exist."),
    ],
)
def test_the_command_says_in_a_line_what_is_wrong(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bag", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"lowlat-seg: {sentence}") and error.count("\n") == 1

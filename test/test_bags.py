"""Bags deliver the frames that were recorded, however they are stored; the bags here are whole."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_parts import (
    PERIOD,
    SIZE,
    Recorded,
    chunk_record,
    compressed,
    definitions,
    encoded,
    image,
    label_map,
    labels,
    mcap,
    message_record,
    picture,
    stamp_of,
    write_bag_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import Reader
from rosbags.rosbag2 import Reader as RosbagsReader

from lowlat_seg_ros.replay.bags import BagError, BagFrame, open_bag, truth_topic
from lowlat_seg_ros.replay.messages import IMAGE, Header, serialized_image

STORED = [("mcap", "none"), ("mcap", "storage"), ("sqlite3", "none")]
STORED += [(storage, mode) for storage in ("mcap", "sqlite3") for mode in ("message", "file")]

COUNT = 12
DRIVE = [recorded for number in range(COUNT) for recorded in (image(number), labels(number))]


def assert_is_drive(frames: list[BagFrame]) -> None:
    """All frames of DRIVE, in order, with their labels."""
    assert [frame.stamp for frame in frames] == [stamp_of(number) for number in range(COUNT)]
    for number, frame in enumerate(frames):
        assert (frame.received, frame.frame_id) == (stamp_of(number), "front")
        assert np.array_equal(frame.image, picture(number))
        assert frame.labels is not None and np.array_equal(frame.labels, label_map(number))


@pytest.mark.parametrize(("storage", "compression"), STORED)
def test_what_was_recorded_is_delivered(tmp_path: Path, storage: str, compression: str) -> None:
    path = write_bag_of(tmp_path / "drive", DRIVE, storage, compression)
    with open_bag(path) as bag:
        assert [tuple(topic) for topic in bag.topics] == [("/image", IMAGE, COUNT), ("/labels_truth", IMAGE, COUNT)]
        assert bag.camera_topics == ("/image",)
        assert bag.time_range == (stamp_of(0), stamp_of(COUNT - 1))
        assert_is_drive(list(bag.frames()))
        assert_is_drive(list(bag.frames("image")))  # again, and without the slash
        assert bag.problems == []


@pytest.mark.parametrize(("storage", "compression"), STORED)
def test_messages_are_those_that_rosbags_reads(tmp_path: Path, storage: str, compression: str) -> None:
    path = write_bag_of(tmp_path / "drive", DRIVE, storage, compression)
    with Reader(path) as reader:
        expected = sorted((time, connection.topic, bytes(data)) for connection, time, data in reader.messages())
    with open_bag(path) as bag:
        assert sorted((message.received, message.topic, message.data) for message in bag.messages()) == expected


@pytest.mark.parametrize(("storage", "suffix"), [("mcap", ".mcap"), ("sqlite3", ".db3")])
@pytest.mark.parametrize("compression", ["none", "message", "file"])
def test_a_bare_file_is_a_bag(tmp_path: Path, storage: str, suffix: str, compression: str) -> None:
    folder = write_bag_of(tmp_path / "drive", DRIVE, storage, compression)
    (file,) = folder.glob(f"*{suffix}*")
    with open_bag(file) as bag:
        assert_is_drive(list(bag.frames()))
        assert bag.problems == []


def test_a_split_recording_is_one_bag(tmp_path: Path) -> None:
    """Ten files, so that natural order matters; metadata.yaml is missing, as after a kill."""
    for part in range(10, 0, -1):
        content = definitions(["/image"]) + message_record(1, image(part))
        (tmp_path / f"drive_{part}.mcap").write_bytes(mcap(content))
    with open_bag(tmp_path) as bag:
        assert [frame.stamp for frame in bag.frames()] == [stamp_of(part) for part in range(1, 11)]
        (problem,) = bag.problems
        assert problem.endswith("stopped by force; its 10 files are read as one recording.")


@pytest.mark.parametrize("compression", ["", "lz4", "zstd"])
def test_mcap_without_indexes_or_summary_is_read(tmp_path: Path, compression: str) -> None:
    """As other recorders than rosbag2 write it: chunked without indexes, and a message outside of all chunks."""
    path = tmp_path / "drive.mcap"
    chunks = b"".join(
        chunk_record((definitions(["/image"]) if number == 0 else b"") + message_record(1, image(number)), compression)
        for number in range(3)
    )
    path.write_bytes(mcap(chunks + message_record(1, image(3))))
    with open_bag(path) as bag:
        assert [frame.stamp for frame in bag.frames()] == [stamp_of(number) for number in range(4)]
        assert bag.problems == []


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_messages_come_in_the_order_of_their_receive_times(tmp_path: Path, storage: str) -> None:
    order = [3, 0, 1, 5, 2, 4]
    path = write_bag_of(tmp_path / "drive", [image(number) for number in order], storage)
    with open_bag(path) as bag:
        assert [frame.stamp for frame in bag.frames()] == [stamp_of(number) for number in range(6)]
        assert bag.problems == ["/image is stored out of order; it is read in the order of its receive times."]


# --- Cameras ----------------------------------------------------------------------------------------------------------


def test_cameras_are_chosen_by_name(tmp_path: Path) -> None:
    drive = [image(0, "/left/image_raw"), image(1, "/right/image_raw"), image(2, "/left/image_raw")]
    with open_bag(write_bag_of(tmp_path / "drive", drive)) as bag:
        assert bag.camera_topics == ("/left/image_raw", "/right/image_raw")
        assert [frame.stamp for frame in bag.frames("/left/image_raw")] == [stamp_of(0), stamp_of(2)]
        assert [frame.stamp for frame in bag.frames("/right/image_raw")] == [stamp_of(1)]
        with pytest.raises(BagError, match="has images on /left/image_raw, /right/image_raw; name one of them"):
            bag.frames()
        with pytest.raises(BagError, match="no images on a topic /rear; it has them on /left/image_raw, /right"):
            bag.frames("/rear")


def test_a_camera_is_summed_up(tmp_path: Path) -> None:
    drive = [image(number) for number in range(20) if number not in (4, 10, 11)]
    with open_bag(write_bag_of(tmp_path / "drive", drive)) as bag:
        summary = bag.camera_summary("/image")
    assert summary[:4] == ("/image", SIZE, "rgb8", "front")
    assert summary.rate_hz is not None and math.isclose(summary.rate_hz, 1e9 / PERIOD)
    assert (summary.frame_count, summary.lost_frames) == (17, 3)


@pytest.mark.parametrize(
    ("suffix", "picture_format", "tolerance"),
    [(".png", "png", 0), (".png", "rgb8; png compressed bgr8", 0), (".jpg", "jpeg", 30)],
)
def test_compressed_images_are_decoded(tmp_path: Path, suffix: str, picture_format: str, tolerance: int) -> None:
    smooth = np.dstack([*np.meshgrid(np.arange(48), np.arange(32)), np.full((32, 48), 200)]).astype(np.uint8)
    drive = [compressed(0, encoded(smooth, suffix), picture_format)]
    with open_bag(write_bag_of(tmp_path / "drive", drive)) as bag:
        (frame,) = bag.frames()
        assert np.abs(frame.image.astype(int) - smooth).max() <= tolerance
        assert bag.camera_summary(frame.topic).encoding == picture_format
        assert bag.problems == []


def test_compressed_rgb_means_exchanged_colours(tmp_path: Path) -> None:
    """image_transport compresses rgb8 as if it were bgr8, and says so in the format."""
    drive = [compressed(0, encoded(picture(0)[..., ::-1], ".png"), "rgb8; png compressed rgb8")]
    with open_bag(write_bag_of(tmp_path / "drive", drive)) as bag:
        (frame,) = bag.frames()
        assert np.array_equal(frame.image, picture(0))


# --- Truth ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("camera", "truth"),
    [
        ("/image", "/labels_truth"),
        ("/left/image_raw", "/left/labels_truth"),
        ("/left/image_raw/compressed", "/left/labels_truth"),
    ],
)
def test_the_truth_is_named_beside_its_camera(camera: str, truth: str) -> None:
    assert truth_topic(camera) == truth


def test_labels_are_paired_by_stamp(tmp_path: Path) -> None:
    """Labels recorded long after their frame, before it, and of only some frames."""
    drive = [image(number) for number in range(6)]
    drive += [labels(1, time=stamp_of(5)), labels(3, time=stamp_of(0)), labels(4, time=stamp_of(5) + 1)]
    with open_bag(write_bag_of(tmp_path / "drive", sorted(drive, key=lambda recorded: recorded.time))) as bag:
        found = {frame.stamp: frame.labels for frame in bag.frames()}
    for number in range(6):
        paired = found[stamp_of(number)]
        if number in (1, 3, 4):
            assert paired is not None and np.array_equal(paired, label_map(number))
        else:
            assert paired is None


def test_another_label_topic_can_be_named(tmp_path: Path) -> None:
    drive = [image(0), labels(0, "/annotations")]
    with open_bag(write_bag_of(tmp_path / "drive", drive)) as bag:
        (without,) = bag.frames("/image")
        (with_labels,) = bag.frames("/image", labels="/annotations")
        assert without.labels is None
        assert with_labels.labels is not None and np.array_equal(with_labels.labels, label_map(0))
        with pytest.raises(BagError, match="no label images on a topic /truth"):
            bag.frames("/image", labels="/truth")


def test_labels_that_do_not_fit_are_left_out(tmp_path: Path) -> None:
    colours = Recorded(
        "/labels_truth", IMAGE, stamp_of(1), serialized_image(picture(1), "rgb8", Header(stamp_of(1), ""))
    )
    drive = [image(0), labels(0, size=(8, 6)), image(1), colours, image(2), labels(2)]
    with open_bag(write_bag_of(tmp_path / "drive", drive)) as bag:
        assert [frame.labels is not None for frame in bag.frames()] == [False, False, True]
        assert bag.problems == [
            "/labels_truth has labels of 8x6 for a frame of 16x12; they are left out.",
            "/labels_truth has a message that is left out: the encoding is 'rgb8'; "
            "expected class ids as mono8 or 8UC1.",
        ]


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (["a.mcap", "b.mcap"], []),
        (["b.mcap", "a.mcap"], ["/image is stored out of order; it is read in the order of its receive times."]),
        (["a.mcap"], ["metadata.yaml does not name b.mcap, which is beside it; it is not read."]),
        ([], ["metadata.yaml is damaged, as a recorder leaves it that was stopped by force; its 2 files are read as "
              "one recording."]),
    ],
)  # fmt: skip
def test_files_that_metadata_order_otherwise_or_forget_are_named(
    listed: list[str], said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "drive").mkdir()
    for name, numbers in (("a", range(3)), ("b", range(3, 6))):
        part = write_bag_of(tmp_path / name, [image(number) for number in numbers])
        next(part.glob("*.mcap")).rename(tmp_path / "drive" / f"{name}.mcap")
    (tmp_path / "drive" / "._a.mcap").write_bytes(b"a Mac's")
    topic = {"topic_metadata": {"name": "/image"}, "message_count": 3 * max(1, len(listed))}
    information = {"relative_file_paths": listed, "topics_with_message_count": [topic]}
    (tmp_path / "drive" / "metadata.yaml").write_text(json.dumps({"rosbag2_bagfile_information": information}))
    with open_bag(tmp_path / "drive") as bag:
        stamps = [frame.stamp for frame in bag.frames()]
        assert stamps == [stamp_of(number) for number in range(3 if listed == ["a.mcap"] else 6)]
        assert bag.problems == said


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    stored=st.sampled_from([("mcap", "none"), ("mcap", "storage"), ("mcap", "file"), ("sqlite3", "none"),
                            ("sqlite3", "message"), ("sqlite3", "file")]),
    count=st.integers(2, 9),
    off_by=st.integers(-PERIOD // 3, PERIOD // 3),
    burst=st.sampled_from([1, 4]),
    unlabelled=st.sets(st.integers(0, 8)),
    shuffled=st.randoms(use_true_random=False),
)  # fmt: skip
def test_a_bag_s_frames_have_their_own_stamps_and_truth(
    stored: tuple[str, str],
    count: int,
    off_by: int,
    burst: int,
    unlabelled: set[int],
    shuffled: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Truth is paired with the nearest frame, whatever order it was written in; what rosbags reads is read alike."""
    frames = [image(number, time=stamp_of(number // burst * burst + burst - 1)) for number in range(count)]
    truths = []
    for number in set(range(count)) - unlabelled:
        ids = serialized_image(label_map(number), "mono8", Header(stamp_of(number) + off_by, "front"))
        truths.append(Recorded("/labels_truth", IMAGE, stamp_of(number), ids))
    shuffled.shuffle(truths)
    bag = write_bag_of(tmp_path_factory.mktemp("bag") / "drive", [*frames, *truths], *stored)
    with open_bag(bag) as opened, RosbagsReader(bag) as reader:
        theirs = sorted((each.topic, time, bytes(data)) for each, time, data in reader.messages())
        assert sorted((each.topic, each.received, each.data) for each in opened.messages()) == theirs
        found = list(opened.frames())
        said = " ".join(opened.problems)
    assert [frame.stamp for frame in found] == [stamp_of(number) for number in range(count)]
    for number, frame in enumerate(found):
        assert np.array_equal(frame.image, picture(number))
        if number in unlabelled:
            assert frame.labels is None
        else:
            assert frame.labels is not None and np.array_equal(frame.labels, label_map(number))
    left = len(unlabelled & set(range(count)))
    assert (f"{left} of {count} frames on /image have no labels" in said) == (0 < left < count)

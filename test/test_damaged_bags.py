"""Of a damaged, foreign or hostile bag the good part is delivered, and one line a defect says what was wrong."""

from __future__ import annotations

import random
import sqlite3
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from bag_parts import (
    MAGIC,
    Recorded,
    chunk_record,
    compressed,
    definitions,
    encoded,
    image,
    labels,
    mcap,
    message_record,
    picture,
    record,
    stamp_of,
    text,
    write_bag_of,
)

from lowlat_seg_ros.replay import mcap_file
from lowlat_seg_ros.replay.bags import BagError, BagFrame, open_bag
from lowlat_seg_ros.replay.decompression import zstd
from lowlat_seg_ros.replay.messages import IMAGE

COUNT = 40
BIG = (160, 120)  # so that a chunk holds some of the frames, and the bag some chunks
DRIVE = [image(number, size=BIG) for number in range(COUNT)]

CUT_MCAP = "cut short, or its recorder was stopped by force; what is whole of it is read."
TOO_SHORT = "a record is too short for what it should hold"


def read(path: Path, camera: str | None = None) -> tuple[list[BagFrame], list[str]]:
    with open_bag(path) as bag:
        return list(bag.frames(camera)), bag.problems


def assert_are_true(frames: list[BagFrame], size: tuple[int, int] = BIG) -> list[int]:
    """Each frame is one that was recorded, unchanged and in order; returns their numbers."""
    numbers = [frame.stamp // stamp_of(-9) - 10 for frame in frames]
    assert numbers == sorted(set(numbers))
    for number, frame in zip(numbers, frames, strict=True):
        assert np.array_equal(frame.image, picture(number, size))
    return numbers


def storage_file(bag: Path) -> Path:
    (file,) = (file for file in bag.iterdir() if file.name != "metadata.yaml")
    return file


# --- Cut short --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("storage", "compression", "share", "whole"),
    [
        *[("mcap", compression, 0.5, 20) for compression in ("none", "storage")],
        *[("mcap", compression, 0.77, 30) for compression in ("none", "storage")],
        *[("mcap", compression, 0.999, 39) for compression in ("none", "storage")],
        *[("sqlite3", "none", share, whole) for share, whole in ((0.5, 19), (0.77, 30), (0.999, 39))],
    ],
)
def test_what_is_whole_of_a_cut_bag_is_delivered(
    tmp_path: Path, storage: str, compression: str, share: float, whole: int
) -> None:
    bag = write_bag_of(tmp_path / "drive", DRIVE, storage, compression)
    content = storage_file(bag).read_bytes()
    storage_file(bag).write_bytes(content[: int(len(content) * share)])
    frames, problems = read(bag)
    assert assert_are_true(frames) == list(range(whole))
    assert problems == [
        f"drive.mcap is {CUT_MCAP}" if storage == "mcap" else "drive.db3 is cut short; what is whole of it is read."
    ]


def test_a_bag_of_which_nothing_is_whole_says_why(tmp_path: Path) -> None:
    bag = write_bag_of(tmp_path / "drive", DRIVE, "sqlite3")
    storage_file(bag).write_bytes(storage_file(bag).read_bytes()[:100_000])
    with (
        open_bag(bag) as opened,
        pytest.raises(BagError, match=r"no messages at all \(drive.db3 is cut short"),
    ):
        opened.frames()


@pytest.mark.parametrize("compression", ["", "lz4", "zstd"])
def test_the_whole_messages_of_a_cut_chunk_are_delivered(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "drive.mcap"
    content = definitions(["/image"]) + b"".join(message_record(1, recorded) for recorded in DRIVE)
    chunk = chunk_record(content, compression)
    path.write_bytes((MAGIC + record(1, text("ros2") + text("")) + chunk)[: len(chunk) * 3 // 4])
    frames, problems = read(path)
    assert assert_are_true(frames) == list(range(29))
    assert problems == [f"drive.mcap is {CUT_MCAP}"]


def message_index(channel: int, entries: list[tuple[int, int]]) -> bytes:
    """The index behind a chunk: times and offsets."""
    packed = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    return record(7, struct.pack("<HI", channel, len(packed)) + packed)


def test_a_cut_between_a_chunk_and_its_indexes_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    content = message_record(1, image(0)) + message_record(2, labels(0))
    indexed = chunk_record(content) + message_index(1, [(stamp_of(0), 0)])
    path.write_bytes(MAGIC + record(1, text("ros2") + text("")) + definitions(["/image", "/labels_truth"]) + indexed)
    (frame,), problems = read(path)
    assert frame.labels is not None
    assert problems == [f"drive.mcap is {CUT_MCAP}"]


@pytest.mark.parametrize(
    ("storage", "whole", "second_problem"),
    [
        ("mcap", 18, f"drive.mcap.zstd is {CUT_MCAP}"),
        ("sqlite3", 17, "drive.db3.zstd is cut short; what is whole of it is read."),
    ],
)
def test_what_unpacks_of_a_cut_compressed_file_is_read(
    tmp_path: Path, storage: str, whole: int, second_problem: str
) -> None:
    bag = write_bag_of(tmp_path / "drive", DRIVE, storage, "file")
    content = storage_file(bag).read_bytes()
    storage_file(bag).write_bytes(content[: len(content) // 2])
    file = storage_file(bag).name
    frames, problems = read(bag)
    assert assert_are_true(frames) == list(range(whole))
    assert problems == [f"{file} is cut short or damaged; what unpacks of it is read.", second_problem]


def test_a_killed_recorder_s_folder_is_read(tmp_path: Path) -> None:
    bag = write_bag_of(tmp_path / "drive", DRIVE)
    (bag / "metadata.yaml").unlink()
    frames, problems = read(bag)
    assert len(frames) == COUNT
    assert problems == ["metadata.yaml is missing, as a recorder leaves it that was stopped by force."]


# --- Messages taken out, exchanged, damaged ---------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_missing_messages_are_counted(tmp_path: Path, storage: str) -> None:
    lost = {5, 11, 12, 30}
    bag = write_bag_of(tmp_path / "drive", [DRIVE[number] for number in range(COUNT) if number not in lost], storage)
    frames, problems = read(bag)
    assert assert_are_true(frames) == [number for number in range(COUNT) if number not in lost]
    assert problems == ["/image has lost about 4 of 40 frames to gaps."]


def test_messages_that_somebody_took_out_are_missed(tmp_path: Path) -> None:
    bag = write_bag_of(tmp_path / "drive", DRIVE, "sqlite3")
    with sqlite3.connect(storage_file(bag)) as database:
        database.execute("DELETE FROM messages WHERE id % 10 = 3")
    database.close()
    frames, problems = read(bag)
    assert len(assert_are_true(frames)) == 36
    assert problems == ["metadata.yaml counts 40 messages, and 36 are there."]


def test_stamps_that_go_back_are_delivered_as_they_came(tmp_path: Path) -> None:
    stamps = [0, 1, 3, 2, 4, 0, 1]
    drive = [image(number, time=stamp_of(index)) for index, number in enumerate(stamps)]
    frames, problems = read(write_bag_of(tmp_path / "drive", drive))
    assert [frame.stamp for frame in frames] == [stamp_of(number) for number in stamps]
    assert problems == [
        "/image: the header stamps are no times (3 of 7 share theirs with another frame); rate, gaps and deadline are "
        "those of the receive times.",
        "/image has stamps that go back, first by 0.100 s (2 times in all).",
    ]


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"frame_id": "rear"}, "'rear' (16x12) is left out beside 'front' (16x12)"),
        ({"size": (8, 6)}, "'front' (8x6) is left out beside 'front' (16x12)"),
    ],
)
def test_of_two_cameras_on_one_topic_the_first_is_delivered(tmp_path: Path, other: dict, sentence: str) -> None:
    drive = [image(number) if number % 2 == 0 else image(number, **other) for number in range(10)]
    frames, problems = read(write_bag_of(tmp_path / "drive", drive))
    assert [frame.stamp for frame in frames] == [stamp_of(number) for number in range(0, 10, 2)]
    assert problems == [f"/image carries more than one camera: {sentence} (5 times in all)."]


def damaged_image(number: int, damage: Callable[[bytes], bytes]) -> Recorded:
    recorded = image(number)
    return recorded._replace(data=damage(recorded.data))


HEIGHT_AT = 4 + 8 + 4 + 8  # after the encapsulation, the stamp, the frame_id's length and "front\0" with its padding


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda data: data[:20], "it is no sensor_msgs/msg/Image"),
        (lambda data: b"", "it is no sensor_msgs/msg/Image"),
        (lambda data: data[:-5], "it is no sensor_msgs/msg/Image"),
        (
            lambda data: data[:HEIGHT_AT] + struct.pack("<I", 2**32 - 1) + data[HEIGHT_AT + 4 :],
            "the data are 576 bytes; expected 206158430160",
        ),
        (lambda data: data[:HEIGHT_AT] + bytes(4) + data[HEIGHT_AT + 4 :], "the image is 16x0"),
        (lambda data: data.replace(b"rgb8\0", b"foo8\0"), "the encoding 'foo8' is not known"),
    ],
)
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_message_that_is_no_picture_is_left_out(
    tmp_path: Path, storage: str, damage: Callable[[bytes], bytes], sentence: str
) -> None:
    drive = [image(0), damaged_image(1, damage), image(2), damaged_image(3, damage), image(4)]
    frames, (problem,) = read(write_bag_of(tmp_path / "drive", drive, storage))
    assert [frame.stamp for frame in frames] == [stamp_of(0), stamp_of(2), stamp_of(4)]
    assert problem.startswith("/image has a message that is left out: ") and sentence in problem
    assert problem.endswith("(2 times in all).")


def gigapixel_png() -> bytes:
    content = bytearray(encoded(picture(0), ".png"))
    content[16:24] = struct.pack(">II", 30_000, 30_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "picture_format", "sentence"),
    [
        (encoded(picture(0, (64, 48)), ".jpg")[:900], "jpeg", "the picture is cut short"),
        (encoded(picture(0), ".png")[:200], "png", "the picture is cut short or damaged"),
        (b"\xff\xd8\xff\xd9", "jpeg", "the picture is damaged"),
        (gigapixel_png(), "png", "the picture claims 30000x30000 pixels"),
        (b"", "jpeg", "the data are no picture; expected a JPEG or PNG"),
        (encoded(picture(0), ".png"), "16UC1; compressedDepth png", "is a depth image"),
    ],
)
def test_a_compressed_image_that_is_none_is_left_out(
    tmp_path: Path, content: bytes, picture_format: str, sentence: str
) -> None:
    drive = [compressed(0, encoded(picture(0), ".png"), "png"), compressed(1, content, picture_format)]
    frames, (problem,) = read(write_bag_of(tmp_path / "drive", drive))
    assert [frame.stamp for frame in frames] == [stamp_of(0)]
    assert sentence in problem


def test_a_damaged_chunk_costs_only_its_own_messages(tmp_path: Path) -> None:
    bag = write_bag_of(tmp_path / "drive", DRIVE, "mcap", "storage")
    content = bytearray(storage_file(bag).read_bytes())
    first = content.index(zstd.compress(b"")[:4])  # where its compressed content begins
    content[first : first + 4] = bytes(4)
    storage_file(bag).write_bytes(content)
    frames, problems = read(bag)
    assert assert_are_true(frames) == list(range(19, COUNT))
    assert problems == [
        "drive has messages that cannot be read, the first on /image: "
        "the chunk at byte 43 is damaged: its zstd data are damaged (19 times in all)."
    ]


def test_a_chunk_with_a_wrong_checksum_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    contents = [message_record(1, image(number)) for number in range(3)]
    crcs = [zlib.crc32(contents[0]), 12345, 0]
    chunks = b"".join(chunk_record(content, crc=crc) for content, crc in zip(contents, crcs, strict=True))
    path.write_bytes(mcap(definitions(["/image"]) + chunks))
    frames, problems = read(path)
    assert [frame.stamp for frame in frames] == [stamp_of(0), stamp_of(2)]
    assert problems == [
        "drive.mcap has lost a chunk of messages: the chunk at byte 826 is damaged: its checksum does not fit."
    ]


def test_a_damaged_page_costs_only_its_own_messages(tmp_path: Path) -> None:
    bag = write_bag_of(tmp_path / "drive", DRIVE, "sqlite3")
    content = bytearray(storage_file(bag).read_bytes())
    position = content.index(DRIVE[20].data[:100]) // 4096 * 4096
    content[position : position + 4096] = bytes(4096)
    storage_file(bag).write_bytes(content)
    frames, problems = read(bag)
    numbers = assert_are_true(frames)
    assert COUNT - 10 <= len(numbers) < COUNT and {0, COUNT - 1} <= set(numbers) and 20 not in numbers
    assert len(problems) == 1


def test_a_missing_file_of_a_bag_is_named(tmp_path: Path) -> None:
    bag = write_bag_of(tmp_path / "drive", DRIVE)
    change_metadata(bag, relative_file_paths=["drive.mcap", "drive_1.mcap"])
    frames, problems = read(bag)
    assert len(frames) == COUNT
    assert problems == ["metadata.yaml names drive_1.mcap, which is missing."]


# --- Not a bag, or not of a camera ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["drive.mcap", "drive.db3", "drive.bag"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 a zip file", "is no ROS 2 bag; expected an MCAP or SQLite file"),
        (b"#ROSBAG V2.0\n", "is a bag of ROS 1; convert it with `rosbags-convert`"),
        (zstd.compress(b""), "is empty"),
        (zstd.compress(b"no bag"), "is no ROS 2 bag"),
        (b"SQLite format 3\0 and nothing else", "is damaged where its topics stand"),
    ],
)
def test_what_is_no_bag_is_refused_in_a_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BagError, match=sentence):
        open_bag(tmp_path / name)


def test_a_missing_or_empty_folder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="does not exist"):
        open_bag(tmp_path / "nothing")
    with pytest.raises(BagError, match="is no bag: it has no usable metadata.yaml and no .mcap or .db3 file"):
        open_bag(tmp_path)


def test_another_program_s_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cookies.db3"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE cookies (id INTEGER PRIMARY KEY)")
    database.close()
    with pytest.raises(BagError, match="is an SQLite database but no ROS 2 bag"):
        open_bag(path)


def test_a_robot_without_cameras_has_no_frames(tmp_path: Path) -> None:
    drive = [Recorded("/scan", "sensor_msgs/msg/LaserScan", stamp_of(0), b"\0\1\0\0"), labels(0)]
    with open_bag(write_bag_of(tmp_path / "drive", drive)) as bag:
        with pytest.raises(BagError, match=r"holds no camera images; it has .*/scan \(sensor_msgs/msg/LaserScan\)"):
            bag.frames()
        with pytest.raises(BagError, match="/scan in .* is a sensor_msgs/msg/LaserScan; expected one of no topic"):
            bag.frames("/scan")


def test_a_bag_without_messages_has_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    path.write_bytes(mcap(definitions(["/image"])))
    with open_bag(path) as bag:
        assert bag.time_range == (0, 0)
        with pytest.raises(BagError, match="it has no messages at all"):
            bag.frames()


def test_images_of_another_serialization_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    path.write_bytes(mcap(definitions(["/image"], encoding="protobuf") + message_record(1, image(0))))
    with open_bag(path) as bag:
        with pytest.raises(BagError, match="holds no camera images"):
            bag.frames()
        assert bag.problems == ["/image is serialized as 'protobuf', not in ROS 2's cdr; it is not read."]


# --- Hostile ----------------------------------------------------------------------------------------------------------


def change_metadata(bag: Path, **fields: object) -> None:
    metadata = yaml.safe_load((bag / "metadata.yaml").read_text())
    metadata["rosbag2_bagfile_information"].update(fields)
    (bag / "metadata.yaml").write_text(yaml.safe_dump(metadata))


@pytest.mark.parametrize("outside", ["../secret.mcap", "/etc/passwd", "..", "sub/../../secret.mcap"])
def test_metadata_cannot_name_files_outside_of_the_bag(tmp_path: Path, outside: str) -> None:
    write_bag_of(tmp_path / "other", DRIVE)
    storage_file(tmp_path / "other").rename(tmp_path / "secret.mcap")
    bag = write_bag_of(tmp_path / "drive", DRIVE[:3])
    change_metadata(bag, relative_file_paths=[outside, "drive.mcap"])
    frames, (problem,) = read(bag)
    assert len(frames) == 3
    assert problem == f"metadata.yaml names a file outside of the bag ({outside!r}); it is not read."


@pytest.mark.parametrize(
    "metadata",
    ["", "no: bag", "- [", "[" * 100_000, "rosbag2_bagfile_information: 7", "rosbag2_bagfile_information: {x: 1}"],
)
def test_damaged_metadata_is_done_without(tmp_path: Path, metadata: str) -> None:
    bag = write_bag_of(tmp_path / "drive", DRIVE[:3])
    (bag / "metadata.yaml").write_text(metadata)
    frames, problems = read(bag)
    assert len(frames) == 3
    assert problems == ["metadata.yaml is damaged, as a recorder leaves it that was stopped by force."]


def test_a_chunk_cannot_unpack_to_more_than_it_claims(tmp_path: Path) -> None:
    """10 GB of zeros in 1 MB, which claim to be 1 kB."""
    path = tmp_path / "drive.mcap"
    bomb = zstd.compress(bytes(10_000_000)) * 1000
    head = struct.pack("<QQQI", 0, 0, 1000, 0) + text("zstd") + struct.pack("<Q", len(bomb))
    path.write_bytes(mcap(definitions(["/image"]) + record(6, head + bomb) + message_record(1, image(0))))
    frames, problems = read(path)
    assert len(frames) == 1
    assert problems == [
        "drive.mcap has lost a chunk of messages: the chunk at byte 118 is damaged: it unpacks to more than 1000 bytes."
    ]


def test_a_message_cannot_unpack_without_end(tmp_path: Path) -> None:
    bomb = image(1)._replace(data=zstd.compress(bytes(10_000_000)) * 1000)
    frames, (problem,) = read(write_bag_of(tmp_path / "drive", [image(0), bomb]))
    assert len(frames) == 1
    assert "it unpacks to more than" in problem


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (2**62, "it claims 4611686018427387904 bytes"),
        (2**31, "it claims 2147483648 bytes"),
        (5, "it unpacks to more than 5 bytes"),
        (10_000, "it has 659 of the 10000 bytes that it claims"),
    ],
)
def test_a_chunk_that_claims_another_size_is_left_out(tmp_path: Path, size: int, reason: str) -> None:
    path = tmp_path / "drive.mcap"
    chunk = chunk_record(message_record(1, image(0)), size=size)
    path.write_bytes(mcap(definitions(["/image"]) + chunk + message_record(1, image(1))))
    frames, problems = read(path)
    assert [frame.stamp for frame in frames] == [stamp_of(1)]
    assert problems == [f"drive.mcap has lost a chunk of messages: the chunk at byte 118 is damaged: {reason}."]


def test_a_message_definition_is_never_parsed(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    bomb = "sensor_msgs/Image image\n" * 1_000_000
    path.write_bytes(mcap(definitions(["/image"], schema_text=bomb) + message_record(1, image(0))))
    frames, problems = read(path)
    assert (len(frames), problems) == (1, [])


def test_an_index_that_points_elsewhere_costs_only_its_messages(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    first, second, third = (message_record(1, image(number)) for number in range(3))
    entries = [(stamp_of(0), 0), (stamp_of(0), 0), (stamp_of(0), 3), (stamp_of(1), len(first)), (stamp_of(2), 2**40)]
    entries.append((stamp_of(5), len(first + second)))  # the third message's place, and another time
    chunk = chunk_record(first + second + third)
    path.write_bytes(mcap(definitions(["/image"]) + chunk + message_index(1, entries)))
    frames, problems = read(path)
    assert [frame.stamp for frame in frames] == [stamp_of(0), stamp_of(1)]
    assert problems == [
        "/image is stored out of order; it is read in the order of its receive times.",
        "drive.mcap has messages that cannot be read, the first on /image: "
        "the index points at something else (3 times in all).",
    ]


def test_a_damaged_index_beside_a_good_one_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    first, second = message_record(1, image(0)), message_record(2, labels(0))
    indexes = record(7, b"\1") + message_index(2, [(stamp_of(0), len(first))])
    path.write_bytes(mcap(definitions(["/image", "/labels_truth"]) + chunk_record(first + second) + indexes))
    (frame,), problems = read(path)
    assert frame.labels is not None
    place = path.read_bytes().index(indexes)
    assert problems == [f"drive.mcap is damaged at byte {place} ({TOO_SHORT}); that record is left out."]


def test_damage_to_what_nobody_needs_of_a_definition_costs_nothing(tmp_path: Path) -> None:
    """A schema's encoding and text and a channel's metadata; the definition stands in a chunk, as recorders put it."""
    path = tmp_path / "drive.mcap"
    content = definitions(["/image"]).replace(text("cdr") + text(""), text("cdr") + b"\xff\xff\0\0")
    content = content.replace(text("ros2msg"), text("ros2msg")[:-1] + b"\xff")
    path.write_bytes(mcap(chunk_record(content + message_record(1, image(0)))))
    frames, problems = read(path)
    assert (len(frames), problems) == (1, [])


def test_a_chunk_may_not_be_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "drive.mcap"
    chunk = chunk_record(message_record(1, image(0)), "zstd")
    path.write_bytes(mcap(definitions(["/image"]) + chunk + message_record(1, image(1))))
    monkeypatch.setattr(mcap_file, "LARGEST_CHUNK", 500)
    frames, problems = read(path)
    assert [frame.stamp for frame in frames] == [stamp_of(1)]
    assert problems == [
        "drive.mcap has lost a chunk of messages: the chunk at byte 118 is damaged: it claims 659 bytes."
    ]


@pytest.mark.parametrize(
    ("damaged", "numbers", "problems"),
    [
        (record(4, b"\1"), [0, 1], [f"is damaged at byte 777 ({TOO_SHORT}); that record is left out."]),
        (
            record(3, b"\7\0" + text("a type")[:-3]),
            [0, 1],
            [f"is damaged at byte 777 ({TOO_SHORT}); that record is left out."],
        ),
        (record(5, b"short"), [0, 1], [f"is damaged at byte 777 ({TOO_SHORT}); that record is left out."]),
        (record(0x7F, b""), [0], ["is damaged at byte 777; what comes after is not read."]),
        (record(0x80, b"private"), [0, 1], []),
        (struct.pack("<BQ", 5, 2**62), [0], [f"is {CUT_MCAP}"]),
        (struct.pack("<BQ", 6, 2**62), [0], [f"is {CUT_MCAP}"]),
    ],
)
def test_a_damaged_record_costs_what_it_hides(
    tmp_path: Path, damaged: bytes, numbers: list[int], problems: list[str]
) -> None:
    path = tmp_path / "drive.mcap"
    first, second = (message_record(1, image(number)) for number in range(2))
    path.write_bytes(mcap(definitions(["/image"]) + first + damaged + second))
    frames, found = read(path)
    assert [frame.stamp for frame in frames] == [stamp_of(number) for number in numbers]
    assert found == [f"drive.mcap {problem}" for problem in problems]


def test_a_topic_of_two_types_is_read_as_the_first(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    other = record(3, struct.pack("<H", 2) + text("std_msgs/msg/String") + text("ros2msg") + text(""))
    other += record(4, struct.pack("<HH", 2, 2) + text("/image") + text("cdr") + text(""))
    records = message_record(1, image(0)) + message_record(2, image(1))
    path.write_bytes(mcap(definitions(["/image"]) + other + records))
    frames, problems = read(path)
    assert len(frames) == 1
    assert problems == [f"/image carries std_msgs/msg/String beside {IMAGE}; only the latter is read."]


@pytest.mark.parametrize(
    "table",
    [
        "CREATE VIEW messages AS SELECT 1 AS id, 1 AS topic_id, 1 AS timestamp, zeroblob(900000000) AS data",
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id, timestamp, data AS (zeroblob(900000000)))",
        "CREATE VIRTUAL TABLE messages USING fts5(topic_id, timestamp, data)",
    ],
)
def test_a_database_that_runs_code_is_refused(tmp_path: Path, table: str) -> None:
    bag = write_bag_of(tmp_path / "drive", DRIVE[:1], "sqlite3")
    with sqlite3.connect(storage_file(bag)) as database:
        database.execute("DROP TABLE messages")
        database.execute(table)
    database.close()
    with pytest.raises(BagError, match="no ROS 2 bag, which has plain tables"):
        open_bag(bag)


def test_rows_that_are_no_messages_are_left_out(tmp_path: Path) -> None:
    bag = write_bag_of(tmp_path / "drive", [image(number) for number in range(6)], "sqlite3")
    with sqlite3.connect(storage_file(bag)) as database:
        database.execute("UPDATE messages SET data = 'text' WHERE id = 1")
        database.execute("UPDATE messages SET timestamp = 'noon' WHERE id = 2")
        database.execute("UPDATE messages SET topic_id = 77 WHERE id = 3")
        database.execute("UPDATE messages SET data = zeroblob(100) WHERE id = 4")
    database.close()
    frames, problems = read(bag)
    assert [frame.stamp for frame in frames] == [stamp_of(4), stamp_of(5)]
    assert problems == [
        "drive.db3 holds messages without a time; they are left out.",
        "drive.db3 holds messages of a topic that it does not name; they are left out.",
        "drive has messages that cannot be read, the first on /image: its data are no bytes.",
        "/image has a message that is left out: it is no sensor_msgs/msg/Image.",
    ]


@pytest.mark.parametrize(
    ("storage", "compression"),
    [("mcap", "none"), ("mcap", "storage"), ("mcap", "message"), ("mcap", "file"), ("sqlite3", "none")],
)
def test_flipped_bytes_never_do_worse_than_a_bag_error(tmp_path: Path, storage: str, compression: str) -> None:
    """Whatever a byte is turned into: frames and lines, or one BagError; anything else fails this test."""
    drive = [recorded for number in range(5) for recorded in (image(number), labels(number))]
    bag = write_bag_of(tmp_path / "drive", drive, storage, compression)
    whole = {file: file.read_bytes() for file in bag.iterdir()}
    chance = random.Random(5)
    for _ in range(60):
        for file, content in whole.items():
            damaged = bytearray(content)
            for _ in range(chance.choice([1, 4, 30])):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            length = chance.randrange(len(damaged)) if chance.random() < 0.2 else len(damaged)
            file.write_bytes(damaged[:length])
        try:
            with open_bag(bag) as opened:
                for camera in opened.camera_topics:
                    for frame in opened.frames(camera):
                        assert frame.image.ndim == 3
                assert all(line.endswith(".") and "\n" not in line for line in opened.problems)
        except BagError as error:
            assert str(error).endswith(".")

"""Bags for tests: good ones by rosbags, and MCAP files record by record for what no recorder writes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import lz4.frame
import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from lowlat_seg_ros.replay.decompression import zstd
from lowlat_seg_ros.replay.messages import COMPRESSED_IMAGE, IMAGE, Header, serialized_image, typestore

PERIOD = 100_000_000
SIZE = (16, 12)


class Recorded(NamedTuple):
    """A message to be written into a bag."""

    topic: str
    type: str
    time: int
    data: bytes


def picture(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """An RGB picture that no other number has, and that does not compress to nothing."""
    return np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)


def label_map(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 11, (size[1], size[0]), np.uint8)


def stamp_of(number: int) -> int:
    return (number + 10) * PERIOD


def image(
    number: int,
    topic: str = "/image",
    *,
    time: int | None = None,
    stamp: int | None = None,
    frame_id: str = "front",
    size: tuple[int, int] = SIZE,
) -> Recorded:
    """Frame `number` of a camera, received at `time` and taken at `stamp`."""
    header = Header(stamp_of(number) if stamp is None else stamp, frame_id)
    data = serialized_image(picture(number, size), "rgb8", header)
    return Recorded(topic, IMAGE, stamp_of(number) if time is None else time, data)


def labels(
    number: int, topic: str = "/labels_truth", *, time: int | None = None, size: tuple[int, int] = SIZE
) -> Recorded:
    data = serialized_image(label_map(number, size), "mono8", Header(stamp_of(number), "front"))
    return Recorded(topic, IMAGE, stamp_of(number) if time is None else time, data)


def compressed(number: int, content: bytes, picture_format: str, topic: str = "/image/compressed") -> Recorded:
    """A CompressedImage of these bytes."""
    types = typestore().types
    seconds, nanoseconds = divmod(stamp_of(number), 1_000_000_000)
    header = types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds), frame_id="front"
    )
    message = types[COMPRESSED_IMAGE](header=header, format=picture_format, data=np.frombuffer(content, np.uint8))
    return Recorded(
        topic, COMPRESSED_IMAGE, stamp_of(number), bytes(typestore().serialize_cdr(message, COMPRESSED_IMAGE))
    )


def encoded(rgb: NDArray[np.uint8], suffix: str) -> bytes:
    """The picture as a file's bytes: ".png" or ".jpg"."""
    return cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()


def write_bag_of(path: Path, messages: Iterable[Recorded], storage: str = "mcap", compression: str = "none") -> Path:
    """A bag as rosbags writes it, message by message in the given order; returns `path`."""
    writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for message in messages:
            if message.topic not in connections:
                connections[message.topic] = writer.add_connection(message.topic, message.type, typestore=typestore())
            writer.write(connections[message.topic], message.time, message.data)
    return path


# --- MCAP, record by record (https://mcap.dev/spec) ------------------------------------------------------------------

MAGIC = b"\x89MCAP0\r\n"


def record(opcode: int, content: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def text(value: str) -> bytes:
    return struct.pack("<I", len(value.encode())) + value.encode()


def definitions(
    topics: Sequence[str], message_type: str = IMAGE, encoding: str = "cdr", schema_text: str = ""
) -> bytes:
    """One schema, and a channel for each of the topics, numbered from 1."""
    schema = record(3, struct.pack("<H", 1) + text(message_type) + text("ros2msg") + text(schema_text))
    channels = [
        record(4, struct.pack("<HH", number, 1) + text(topic) + text(encoding) + text(""))
        for number, topic in enumerate(topics, start=1)
    ]
    return schema + b"".join(channels)


def message_record(channel: int, message: Recorded) -> bytes:
    return record(5, struct.pack("<HIQQ", channel, 0, message.time, message.time) + message.data)


def chunk_record(content: bytes, compression: str = "", *, size: int | None = None, crc: int = 0) -> bytes:
    """A chunk of these records that claims `size` bytes."""
    packed = {"": bytes, "lz4": lz4.frame.compress, "zstd": zstd.compress}[compression](content)
    head = struct.pack("<QQQI", 0, 0, len(content) if size is None else size, crc)
    return record(6, head + text(compression) + struct.pack("<Q", len(packed)) + packed)


def mcap(records: bytes) -> bytes:
    """A whole file of these records, without a summary."""
    return MAGIC + record(1, text("ros2") + text("test")) + records + record(2, bytes(20)) + MAGIC


def small_bag(path: Path, frames: int = 3) -> Path:
    """A bag of so many pictures and their labels; returns `path`, whose folder need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = range(frames)
    return write_bag_of(path, [*(image(number) for number in numbers), *(labels(number) for number in numbers)])

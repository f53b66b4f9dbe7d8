"""The records of an MCAP file that a bag's messages are found by (https://mcap.dev/spec), parsed within bounds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from lowlat_seg_ros.replay.storage_file import ENTRY, Entries

MAGIC: Final = b"\x89MCAP0\r\n"

HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX = range(1, 8)
LAST_OPCODE: Final = 0x0F
FIRST_PRIVATE_OPCODE: Final = 0x80

RECORD_HEAD: Final = struct.Struct("<BQ")  # opcode, length of what follows
MESSAGE_HEAD: Final = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
CHUNK_HEAD: Final = struct.Struct("<QQQII")  # start time, end time, uncompressed size, CRC-32, length of a name
INDEX_HEAD: Final = struct.Struct("<HI")  # channel, bytes of entries
INDEX_ENTRY: Final = np.dtype([("time", "<u8"), ("offset", "<u8")])

LONGEST_DEFINITION_READ: Final = 1 << 16
"""Bytes of a schema or channel record: what is needed stands at its beginning, and the rest is never looked at."""

LONGEST_COMPRESSION_NAME: Final = 64


class BadRecord(Exception):
    """A record whose content does not fit it; says why, in half a sentence."""


class Record(NamedTuple):
    """Where a record lies: its content is `content[start:end]` of the file or chunk that it was found in."""

    opcode: int
    start: int
    end: int


class Schema(NamedTuple):
    """A message type: "sensor_msgs/msg/Image"."""

    id: int
    name: str


class Channel(NamedTuple):
    """A topic as one publisher offers it."""

    id: int
    schema_id: int
    topic: str
    encoding: str


class ChunkHead(NamedTuple):
    """How a chunk holds its records."""

    size: int
    crc: int
    compression: str
    compressed_size: int
    head_length: int


def records_of(content: bytes) -> Iterator[Record]:
    """The records of a chunk; the last has an opcode of 0 if the chunk does not end where a record does."""
    position = 0
    while position < len(content):
        if position + RECORD_HEAD.size > len(content):
            yield Record(0, position, len(content))
            return
        opcode, length = RECORD_HEAD.unpack_from(content, position)
        start = position + RECORD_HEAD.size
        if opcode == 0 or start + length > len(content):
            yield Record(0, position, len(content))
            return
        yield Record(opcode, start, start + length)
        position = start + length


def is_opcode(opcode: int) -> bool:
    """Whether a record may begin with this byte."""
    return 0 < opcode <= LAST_OPCODE or opcode >= FIRST_PRIVATE_OPCODE


def parse_schema(content: bytes) -> Schema:
    """A schema's id and name; its text is not read. Raises BadRecord."""
    (schema_id,) = _unpack("<H", content, 0)
    name, _ = _string(content, 2)
    return Schema(schema_id, name)


def parse_channel(content: bytes) -> Channel:
    """A channel's ids, topic and encoding; its metadata are not read. Raises BadRecord."""
    channel_id, schema_id = _unpack("<HH", content, 0)
    topic, position = _string(content, 4)
    encoding, _ = _string(content, position)
    return Channel(channel_id, schema_id, topic, encoding)


def parse_chunk_head(content: bytes) -> ChunkHead:
    """What stands before a chunk's compressed records. Raises BadRecord."""
    _, _, size, crc, _ = _unpack(CHUNK_HEAD.format, content, 0)
    compression, position = _string(content, CHUNK_HEAD.size - 4)
    (compressed_size,) = _unpack("<Q", content, position)
    return ChunkHead(size, crc, compression, compressed_size, position + 8)


def parse_index_entries(content: bytes, place: int) -> Entries:
    """Entries of a message index whose chunk is `place`; bytes that make no whole entry are left out."""
    stored = np.frombuffer(content, INDEX_ENTRY, count=len(content) // INDEX_ENTRY.itemsize)
    entries = np.empty(len(stored), ENTRY)
    entries["time"], entries["place"], entries["offset"] = stored["time"], place, stored["offset"]
    return entries


def _unpack(layout: str, content: bytes, position: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(layout, content, position)
    except struct.error as error:
        raise BadRecord("a record is too short for what it should hold") from error


def _string(content: bytes, position: int) -> tuple[str, int]:
    """The string at `position` and the position after it."""
    (length,) = _unpack("<I", content, position)
    start = position + 4
    if start + length > len(content):
        raise BadRecord("a text is longer than the record that holds it")
    return content[start : start + length].decode(errors="replace"), start + length

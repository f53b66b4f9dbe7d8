"""One MCAP file of a bag, whole or not: the messages are found through the indexes behind the chunks, or by looking.

The library `mcap` parses the records. Going from record to record is done here, because its readers load every chunk,
give up at the first damage, and believe whatever size a file claims.
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Final, NamedTuple, TypeVar

import numpy as np
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Message, Schema

from lowlat_seg_ros.replay.decompression import CompressionError, decompress
from lowlat_seg_ros.replay.problems import DamagedMessage, Problems
from lowlat_seg_ros.replay.storage_file import (
    ENTRY,
    LARGEST_MESSAGE,
    Entries,
    StoredTopic,
    is_of_first_type,
    no_entries,
)

MAGIC: Final = b"\x89MCAP0\r\n"

FIRST_PRIVATE_OPCODE: Final = 0x80

RECORD_HEAD: Final = struct.Struct("<BQ")  # opcode, length of what follows
MESSAGE_HEAD_BYTES: Final = 22
CHUNK_HEAD_BYTES: Final = 24  # times of the first and the last message, bytes of the records
CHUNK_HEAD: Final = struct.Struct("<28xIQ")  # bytes of the compression's name, bytes of records, where it has none
INDEX_HEAD: Final = struct.Struct("<HI")  # channel, bytes of entries
INDEX_ENTRY: Final = np.dtype([("time", "<u8"), ("offset", "<u8")])

TOO_SHORT: Final = "a record is too short for what it should hold"

LONGEST_DEFINITION_READ: Final = 1 << 16
"""Bytes of a schema or channel record: what is needed stands at its beginning, and the rest is never looked at."""

LARGEST_CHUNK: Final = 1 << 30
"""Bytes. Recorders close a chunk after a megabyte or four."""

FREE_CHUNK_BYTES: Final = 1 << 27
TIMES_FILE: Final = 300
"""What all chunks of a file may claim to unpack to: 128 MiB, and three hundred times the file."""

FREE_RECORDS: Final = 50_000
BYTES_A_RECORD: Final = 8
"""Records that are looked at one by one where a chunk has no index: some, and one for as many bytes of the file."""

CHUNKS_KEPT_BYTES: Final = 64 << 20
"""Decompressed chunks kept at hand: messages in the order of their times hop between neighbouring chunks."""

Parsed = TypeVar("Parsed")


class Stream(ReadDataStream):
    """What `mcap` parses a record from; a text that a flipped bit made no UTF-8 is a text all the same."""

    def read_prefixed_string(self) -> str:
        """The text at this place; raises EndOfFile where the record holds less of it than it claims."""
        length = self.read4()
        text = self.read(length)
        if len(text) < length:
            raise EndOfFile
        return text.decode(errors="replace")


class BadRecord(Exception):
    """A record whose content does not fit it; says why, in half a sentence."""


class Record(NamedTuple):
    """Where a record's content lies in a file or in a decompressed chunk."""

    opcode: int
    start: int
    end: int  # as the record claims; it may lie behind the end of the file

    @property
    def position(self) -> int:
        """Where the record itself begins."""
        return self.start - RECORD_HEAD.size


class McapFile:
    """An MCAP file as a StorageFile; what is damaged in it is noted in `problems`, and the rest is delivered.

    An entry's `place` is where in the file a message's record begins, or that of the chunk that it is in; `offset` is
    where it begins in the chunk.
    """

    def __init__(self, path: Path, source: IO[bytes], problems: Problems) -> None:
        """`source` is the opened file, which may lie elsewhere than at `path`; it is closed with this object."""
        self.path = path
        self._source = source
        self._size = source.seek(0, 2)
        self._problems = problems
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, Channel] = {}
        self._chunks: dict[int, Record] = {}  # by place
        self._indexes: dict[int, dict[int, list[Entries]]] = {}  # by place of the chunk and channel
        self._badly_indexed: set[int] = set()  # places of chunks
        self._loose: dict[int, list[tuple[int, int, int]]] = {}  # by channel: entries of messages outside of all chunks
        self._loaded: OrderedDict[int, bytes] = OrderedDict()  # by place of the chunk
        self._damaged: dict[int, str] = {}  # by place of the chunk, why
        self._bytes_left = FREE_CHUNK_BYTES + TIMES_FILE * self._size
        self._records_left = FREE_RECORDS + self._size // BYTES_A_RECORD
        self._scan()
        for place, index in self._indexes.items():
            if place in self._badly_indexed or not index or not index.keys() <= self._channels.keys():
                self._indexes[place] = self._index_by_looking(place)
        self.topics, self._channels_of = self._topics_of_channels()

    def entries(self, topic: str) -> Entries:
        """The index of the topic's messages in the order in which they are stored."""
        found = [no_entries()]
        for channel in self._channels_of.get(topic, ()):
            found.append(np.array(self._loose.get(channel, []), ENTRY))
            for index in self._indexes.values():
                found.extend(index.get(channel, ()))
        return _in_stored_order(np.concatenate(found))

    def read(self, topic: str, entry: np.void, limit: int = LARGEST_MESSAGE) -> bytes:
        """The serialized message of one entry, or its first ``limit`` bytes; raises DamagedMessage."""
        place, offset = int(entry["place"]), int(entry["offset"])
        source, size = self._source, self._size
        if place not in self._chunks:
            offset = place
        elif limit < LARGEST_MESSAGE and (start := self._start_in_plain_chunk(place)) is not None:
            offset += start
        else:
            content = self._chunk_content(place)
            source, size = BytesIO(content), len(content)
        record = next(_records(source, size, offset), None)
        if record is None or record.opcode != Opcode.MESSAGE or record.end > size:
            raise DamagedMessage("the index points at something else")
        if record.end - record.start > LARGEST_MESSAGE:
            raise DamagedMessage(f"it claims {record.end - record.start} bytes")
        try:
            message = _message(source, record, MESSAGE_HEAD_BYTES + limit)
        except BadRecord as error:
            raise DamagedMessage(str(error)) from error
        if message.log_time != entry["time"] or message.channel_id not in self._channels_of.get(topic, ()):
            raise DamagedMessage("the index points at something else")
        return message.data

    def close(self) -> None:
        """Close the file and forget the chunks kept at hand."""
        self._source.close()
        self._loaded.clear()

    # --- Finding the records ------------------------------------------------------------------------------------------

    def _scan(self) -> None:
        """Go once from record to record, past the messages themselves; of a chunk cut off, what is there counts."""
        for record in _records(self._source, self._size, len(MAGIC)):
            if not _is_opcode(record.opcode):
                self._note("damage", f"is damaged at byte {record.position}; what comes after is not read")
                break
            if record.opcode == Opcode.FOOTER and record.end <= self._size:
                return
            if record.opcode == Opcode.CHUNK or record.end <= self._size:
                self._take(record)
        else:
            self._note("damage", "is cut short, or its recorder was stopped by force; what is whole of it is read")
        self._distrust_latest_index()

    def _take(self, record: Record) -> None:
        try:
            if record.opcode == Opcode.CHUNK:
                self._chunks[record.position] = record
                self._indexes[record.position] = {}
                self._charge(record)
            elif record.opcode == Opcode.MESSAGE_INDEX and self._chunks:
                self._take_index(record)
            elif record.opcode == Opcode.MESSAGE:
                message = _message(self._source, record, MESSAGE_HEAD_BYTES)
                self._loose.setdefault(message.channel_id, []).append((message.log_time, record.position, 0))
            else:
                self._define(self._source, record)
        except BadRecord as error:
            self._note(
                "record", f"is damaged at byte {record.position} ({error}); that record is left out", record.position
            )
            if record.opcode == Opcode.MESSAGE_INDEX:
                self._distrust_latest_index()

    def _charge(self, record: Record) -> None:
        """Note what a chunk claims to unpack to; it is not read where all of them claim too much."""
        head = _content(self._source, record, CHUNK_HEAD_BYTES)
        if len(head) < CHUNK_HEAD_BYTES:
            return
        claimed = int.from_bytes(head[16:24], "little")
        if claimed > LARGEST_CHUNK:
            return  # it is refused by itself
        self._bytes_left -= claimed
        if self._bytes_left < 0:
            self._damaged[record.position] = "the chunks of the file claim to unpack to far more than it can hold"

    def _take_index(self, record: Record) -> None:
        """By numpy: an hour of a robot has millions of entries, and `mcap` takes a second for 1.4 million."""
        content = _content(self._source, record, record.end - record.start)
        if len(content) < INDEX_HEAD.size:
            raise BadRecord(TOO_SHORT)
        channel, length = INDEX_HEAD.unpack_from(content)
        count = min(length, len(content) - INDEX_HEAD.size) // INDEX_ENTRY.itemsize
        stored = np.frombuffer(content, INDEX_ENTRY, count, INDEX_HEAD.size)
        place = next(reversed(self._chunks))
        entries = np.empty(count, ENTRY)
        entries["time"], entries["place"], entries["offset"] = stored["time"], place, stored["offset"]
        self._indexes[place].setdefault(channel, []).append(entries)

    def _distrust_latest_index(self) -> None:
        if self._chunks:
            self._badly_indexed.add(next(reversed(self._chunks)))

    def _define(self, source: IO[bytes], record: Record) -> None:
        # Definitions are repeated at the end of a file; the first counts, so that a later one cannot rename a topic.
        if record.opcode == Opcode.SCHEMA:
            schema = _parsed(Schema.read, source, record, LONGEST_DEFINITION_READ)
            self._schemas.setdefault(schema.id, schema.name)
        elif record.opcode == Opcode.CHANNEL:
            channel = _parsed(_channel, source, record, LONGEST_DEFINITION_READ)
            self._channels.setdefault(channel.id, channel)

    def _index_by_looking(self, place: int) -> dict[int, list[Entries]]:
        try:
            content = self._chunk_content(place)
        except DamagedMessage as error:
            self._note("chunk", f"has lost a chunk of messages: {error}", place)
            return {}
        found: dict[int, list[tuple[int, int, int]]] = {}
        source = BytesIO(content)
        try:
            for record in _records(BytesIO(content), len(content)):
                self._records_left -= 1
                if self._records_left < 0:
                    raise BadRecord("its chunks hold far more records than a file of its length has messages")
                if not _is_opcode(record.opcode) or record.end > len(content):
                    if self._is_cut(place):
                        break
                    raise BadRecord("a record does not fit into it")
                if record.opcode == Opcode.MESSAGE:
                    message = _message(source, record, MESSAGE_HEAD_BYTES)
                    found.setdefault(message.channel_id, []).append((message.log_time, place, record.position))
                else:
                    self._define(source, record)
        except BadRecord as error:
            self._note("chunk", f"has a damaged chunk ({error}); what comes before in it is read", place)
        return {channel: [np.array(entries, ENTRY)] for channel, entries in found.items()}

    def _topics_of_channels(self) -> tuple[dict[str, StoredTopic], dict[str, list[int]]]:
        topics: dict[str, StoredTopic] = {}
        channels: dict[str, list[int]] = {}
        for channel in self._channels.values():
            stored = StoredTopic(channel.topic, self._schemas.get(channel.schema_id, ""), channel.message_encoding)
            if is_of_first_type(stored, topics, self._problems):
                channels.setdefault(channel.topic, []).append(channel.id)
        return topics, channels

    # --- Reading ------------------------------------------------------------------------------------------------------

    def _chunk_content(self, place: int) -> bytes:
        """A chunk's records, decompressed; raises DamagedMessage if they cannot be had."""
        if place in self._damaged:
            raise DamagedMessage(self._damaged[place])
        if place in self._loaded:
            self._loaded.move_to_end(place)
            return self._loaded[place]
        try:
            content = self._load(place)
        except (BadRecord, CompressionError) as error:
            self._damaged[place] = f"the chunk at byte {place} is damaged: {error}"
            raise DamagedMessage(self._damaged[place]) from error
        self._loaded[place] = content
        while len(self._loaded) > 1 and sum(map(len, self._loaded.values())) > CHUNKS_KEPT_BYTES:
            self._loaded.popitem(last=False)
        return content

    def _start_in_plain_chunk(self, place: int) -> int | None:
        """Where in the file the records of a chunk begin; None where they are compressed or not whole."""
        record = self._chunks[place]
        head = _content(self._source, record, CHUNK_HEAD.size)
        if self._is_cut(place) or len(head) < CHUNK_HEAD.size or CHUNK_HEAD.unpack(head)[0]:
            return None
        return record.start + CHUNK_HEAD.size

    def _load(self, place: int) -> bytes:
        try:
            chunk = _parsed(Chunk.read, self._source, self._chunks[place], LARGEST_CHUNK)
        except BadRecord:
            if self._is_cut(place):
                return b""
            raise
        if chunk.uncompressed_size > LARGEST_CHUNK:
            raise CompressionError(f"it claims {chunk.uncompressed_size} bytes")
        content, is_whole = decompress(chunk.data, chunk.compression, chunk.uncompressed_size)
        if self._is_cut(place):
            return content
        if not is_whole or len(content) != chunk.uncompressed_size:
            raise CompressionError(f"it has {len(content)} of the {chunk.uncompressed_size} bytes that it claims")
        if chunk.uncompressed_crc and zlib.crc32(content) != chunk.uncompressed_crc:
            raise CompressionError("its checksum does not fit")
        return content

    def _is_cut(self, place: int) -> bool:
        return self._chunks[place].end > self._size

    def _note(self, kind: str, sentence: str, place: int | None = None) -> None:
        self._problems.add((self.path, kind), f"{self.path.name} {sentence}", place)


def _records(source: IO[bytes], size: int, position: int = 0) -> Iterator[Record]:
    """The records from `position` on; the last may end behind `size`, or begin with what is no opcode."""
    while position < size:
        source.seek(position)
        head = source.read(RECORD_HEAD.size)
        opcode, length = RECORD_HEAD.unpack(head.ljust(RECORD_HEAD.size, b"\xff"))
        yield Record(opcode, position + RECORD_HEAD.size, position + RECORD_HEAD.size + length)
        position += RECORD_HEAD.size + length


def _is_opcode(opcode: int) -> bool:
    """Whether a record may begin with this byte."""
    return 0 < opcode <= max(Opcode) or opcode >= FIRST_PRIVATE_OPCODE


def _channel(stream: ReadDataStream) -> Channel:
    """As Channel.read, which loses a channel whose metadata are damaged; nobody needs them."""
    channel, schema = stream.read2(), stream.read2()
    topic, encoding = stream.read_prefixed_string(), stream.read_prefixed_string()
    return Channel(id=channel, topic=topic, message_encoding=encoding, metadata={}, schema_id=schema)


def _message(source: IO[bytes], record: Record, limit: int) -> Message:
    """The message, or with a `limit` of MESSAGE_HEAD_BYTES all of it but its data; raises BadRecord."""
    length = min(record.end - record.start, limit)
    return _parsed(lambda stream: Message.read(stream, length), source, record, limit)


def _parsed(read: Callable[[ReadDataStream], Parsed], source: IO[bytes], record: Record, limit: int) -> Parsed:
    """The record as `mcap` reads it, of whose content it is given at most `limit` bytes; raises BadRecord."""
    try:
        return read(Stream(BytesIO(_content(source, record, limit))))
    except (EndOfFile, OverflowError, struct.error) as error:
        raise BadRecord(TOO_SHORT) from error
    except UnicodeDecodeError as error:  # of a chunk's compression
        raise BadRecord("a text in it is no UTF-8") from error


def _content(source: IO[bytes], record: Record, limit: int) -> bytes:
    source.seek(record.start)
    return source.read(min(record.end - record.start, limit))


def _in_stored_order(entries: Entries) -> Entries:
    """The entries by position and each once: an index may be in any order, and may name a message twice."""
    entries = entries[np.lexsort((entries["offset"], entries["place"]))]
    is_repeated = (np.diff(entries["offset"]) == 0) & (np.diff(entries["place"]) == 0)
    return np.delete(entries, np.flatnonzero(is_repeated))

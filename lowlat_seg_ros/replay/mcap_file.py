"""One MCAP file of a bag, whole or not: the messages are found through the indexes behind the chunks, or by looking."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import numpy as np

from lowlat_seg_ros.replay.decompression import CompressionError, decompress
from lowlat_seg_ros.replay.mcap_records import (
    CHANNEL,
    CHUNK,
    CHUNK_HEAD,
    FOOTER,
    INDEX_ENTRY,
    INDEX_HEAD,
    LONGEST_COMPRESSION_NAME,
    LONGEST_DEFINITION_READ,
    MAGIC,
    MESSAGE,
    MESSAGE_HEAD,
    MESSAGE_INDEX,
    RECORD_HEAD,
    SCHEMA,
    BadRecord,
    Channel,
    ChunkHead,
    Record,
    is_opcode,
    parse_channel,
    parse_chunk_head,
    parse_index_entries,
    parse_schema,
    records_of,
)
from lowlat_seg_ros.replay.problems import DamagedMessage, Problems
from lowlat_seg_ros.replay.storage_file import ENTRY, LARGEST_MESSAGE, Entries, StoredTopic, no_entries

OUTSIDE: Final = (1 << 64) - 1
"""The offset of a message that stands outside of all chunks: its place in the file is its own, not a chunk's."""

LARGEST_CHUNK: Final = 1 << 30
"""Bytes. Recorders close a chunk after a megabyte or four."""

CHUNKS_KEPT_BYTES: Final = 64 << 20
"""Decompressed chunks kept at hand: messages in the order of their times hop between neighbouring chunks."""


@dataclass
class Chunk:
    """Where a chunk lies in the file, and what its message indexes say; `is_cut` if the file ends inside it."""

    position: int
    head: ChunkHead
    is_cut: bool
    has_whole_index: bool = True
    indexes: list[tuple[int, int, int]] = field(default_factory=list)
    """Channel, position of its entries in the file, bytes of them."""
    entries: dict[int, Entries] | None = None
    """By channel, where they had to be found by looking into the chunk."""


class McapFile:
    """An MCAP file as a StorageFile; what is damaged in it is noted in `problems`, and the rest is delivered."""

    def __init__(self, path: Path, source: IO[bytes], problems: Problems) -> None:
        """`source` is the opened file, which may lie elsewhere than at `path`; it is closed with this object."""
        self.path = path
        self._source = source
        self._size = source.seek(0, 2)
        self._problems = problems
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, Channel] = {}
        self._chunks: dict[int, Chunk] = {}  # by position
        self._loose: dict[int, list[tuple[int, int]]] = {}  # by channel: times and positions of messages outside chunks
        self._loaded: OrderedDict[int, bytes] = OrderedDict()  # by chunk
        self._damaged: dict[int, str] = {}  # by chunk, why
        self._scan()
        self._look_into_chunks_without_index()
        self.topics, self._channels_of = self._topics_of_channels()

    def entries(self, topic: str) -> Entries:
        """The index of the topic's messages in the order in which they are stored."""
        found = [no_entries()]
        for channel in self._channels_of.get(topic, ()):
            loose = [(time, position, OUTSIDE) for time, position in self._loose.get(channel, ())]
            found.append(np.array(loose, ENTRY))
            for chunk in self._chunks.values():
                found.extend(self._chunk_entries(chunk, channel))
        return _in_stored_order(np.concatenate(found))

    def read(self, topic: str, entry: np.void) -> bytes:
        """The serialized message of one entry; raises DamagedMessage."""
        place, offset = int(entry["place"]), int(entry["offset"])
        if offset == OUTSIDE:
            head = self._read(place, RECORD_HEAD.size + MESSAGE_HEAD.size)
            length = RECORD_HEAD.unpack_from(head)[1]
            return self._read(place + len(head), length - MESSAGE_HEAD.size)
        content = self._chunk_content(self._chunks[place])
        if offset + RECORD_HEAD.size + MESSAGE_HEAD.size > len(content):
            raise DamagedMessage("the index points outside of its chunk")
        opcode, length = RECORD_HEAD.unpack_from(content, offset)
        channel, _, time, _ = MESSAGE_HEAD.unpack_from(content, offset + RECORD_HEAD.size)
        start, end = offset + RECORD_HEAD.size + MESSAGE_HEAD.size, offset + RECORD_HEAD.size + length
        is_of_topic = channel in self._channels_of.get(topic, ())
        if opcode != MESSAGE or time != int(entry["time"]) or not is_of_topic or not start <= end <= len(content):
            raise DamagedMessage("the index points at something else")
        return content[start:end]

    def close(self) -> None:
        """Close the file and forget the chunks kept at hand."""
        self._source.close()
        self._loaded.clear()

    # --- Finding the records ------------------------------------------------------------------------------------------

    def _scan(self) -> None:
        """Go once from record to record, past the messages themselves."""
        if not self._reaches_end():
            self._distrust_latest_index()

    def _reaches_end(self) -> bool:
        """Take every record up to the footer; False if that is never reached."""
        position = len(MAGIC)
        while position < self._size:
            head = self._read_up_to(position, RECORD_HEAD.size)
            if len(head) < RECORD_HEAD.size:
                break
            opcode, length = RECORD_HEAD.unpack(head)
            record = Record(opcode, position + len(head), position + len(head) + length)
            if not is_opcode(opcode):
                self._note("damage", f"is damaged at byte {position}; what comes after is not read")
                return False
            if record.end > self._size and opcode != CHUNK:
                break
            try:
                self._take(record)
            except BadRecord as error:
                self._note("record", f"is damaged at byte {position} ({error}); that record is left out", position)
                if opcode == MESSAGE_INDEX:
                    self._distrust_latest_index()
            if opcode == FOOTER:
                return True
            position = record.end
        self._note("damage", "is cut short, or its recorder was stopped by force; what is whole of it is read")
        return False

    def _take(self, record: Record) -> None:
        if record.opcode in (SCHEMA, CHANNEL):
            self._define(
                record.opcode, self._read_up_to(record.start, min(record.end - record.start, LONGEST_DEFINITION_READ))
            )
        elif record.opcode == CHUNK:
            self._take_chunk(record)
        elif record.opcode == MESSAGE_INDEX and self._chunks:
            channel, length = INDEX_HEAD.unpack(self._content(record, INDEX_HEAD.size))
            start = record.start + INDEX_HEAD.size
            self._latest_chunk().indexes.append((channel, start, min(length, record.end - start)))
        elif record.opcode == MESSAGE:
            channel, _, time, _ = MESSAGE_HEAD.unpack(self._content(record, MESSAGE_HEAD.size))
            self._loose.setdefault(channel, []).append((time, record.start - RECORD_HEAD.size))

    def _take_chunk(self, record: Record) -> None:
        head = parse_chunk_head(self._read_up_to(record.start, CHUNK_HEAD.size + LONGEST_COMPRESSION_NAME + 8))
        position = record.start + head.head_length
        if position + head.compressed_size > record.end:
            raise BadRecord("a chunk claims more data than it has")
        self._chunks[position] = Chunk(position, head, is_cut=record.end > self._size)

    def _latest_chunk(self) -> Chunk:
        return next(reversed(self._chunks.values()))

    def _distrust_latest_index(self) -> None:
        if self._chunks:
            self._latest_chunk().has_whole_index = False

    def _define(self, opcode: int, content: bytes) -> None:
        # Definitions are repeated at the end of a file; the first counts, so that a later one cannot rename a topic.
        if opcode == SCHEMA:
            schema = parse_schema(content)
            self._schemas.setdefault(schema.id, schema.name)
        else:
            channel = parse_channel(content)
            self._channels.setdefault(channel.id, channel)

    def _look_into_chunks_without_index(self) -> None:
        for chunk in self._chunks.values():
            channels = {channel for channel, _, _ in chunk.indexes}
            if not channels or not chunk.has_whole_index or not channels <= self._channels.keys():
                chunk.entries = self._entries_by_looking(chunk)

    def _entries_by_looking(self, chunk: Chunk) -> dict[int, Entries]:
        try:
            content = self._chunk_content(chunk)
        except DamagedMessage as error:
            self._note("chunk", f"has lost a chunk of messages: {error}", chunk.position)
            return {}
        found: dict[int, list[tuple[int, int, int]]] = {}
        try:
            for record in records_of(content):
                self._take_from_chunk(record, content, chunk, found)
        except BadRecord as error:
            self._note("chunk", f"has a damaged chunk ({error}); what comes before in it is read", chunk.position)
        return {channel: np.array(entries, ENTRY) for channel, entries in found.items()}

    def _take_from_chunk(
        self, record: Record, content: bytes, chunk: Chunk, found: dict[int, list[tuple[int, int, int]]]
    ) -> None:
        if record.opcode in (SCHEMA, CHANNEL):
            self._define(record.opcode, content[record.start : min(record.end, record.start + LONGEST_DEFINITION_READ)])
        elif record.opcode == MESSAGE:
            if record.end - record.start < MESSAGE_HEAD.size:
                raise BadRecord("a message is shorter than its head")
            channel, _, time, _ = MESSAGE_HEAD.unpack_from(content, record.start)
            found.setdefault(channel, []).append((time, chunk.position, record.start - RECORD_HEAD.size))
        elif record.opcode == 0 and not chunk.is_cut:
            raise BadRecord("a record does not fit into it")

    def _topics_of_channels(self) -> tuple[dict[str, StoredTopic], dict[str, list[int]]]:
        topics: dict[str, StoredTopic] = {}
        channels: dict[str, list[int]] = {}
        for channel in self._channels.values():
            stored = StoredTopic(channel.topic, self._schemas.get(channel.schema_id, ""), channel.encoding)
            first = topics.setdefault(channel.topic, stored)
            if stored == first:
                channels.setdefault(channel.topic, []).append(channel.id)
            else:
                self._problems.add(
                    ("types", channel.topic),
                    f"{channel.topic} carries {stored.type} beside {first.type}; only the latter is read",
                )
        return topics, channels

    # --- Reading ------------------------------------------------------------------------------------------------------

    def _chunk_entries(self, chunk: Chunk, channel: int) -> Iterator[Entries]:
        if chunk.entries is not None:
            if channel in chunk.entries:
                yield chunk.entries[channel]
            return
        for indexed, position, length in chunk.indexes:
            if indexed == channel:
                yield parse_index_entries(
                    self._read_up_to(position, length - length % INDEX_ENTRY.itemsize), chunk.position
                )

    def _chunk_content(self, chunk: Chunk) -> bytes:
        """A chunk's records, decompressed; raises DamagedMessage if they cannot be had."""
        place = chunk.position
        if place in self._damaged:
            raise DamagedMessage(self._damaged[place])
        if place in self._loaded:
            self._loaded.move_to_end(place)
            return self._loaded[place]
        try:
            content = self._load(chunk)
        except CompressionError as error:
            self._damaged[place] = f"the chunk at byte {place} is damaged: {error}"
            raise DamagedMessage(self._damaged[place]) from error
        self._loaded[place] = content
        while len(self._loaded) > 1 and sum(map(len, self._loaded.values())) > CHUNKS_KEPT_BYTES:
            self._loaded.popitem(last=False)
        return content

    def _load(self, chunk: Chunk) -> bytes:
        head = chunk.head
        if head.size > LARGEST_CHUNK:
            raise CompressionError(f"it claims {head.size} bytes")
        content, is_whole = decompress(
            self._read_up_to(chunk.position, head.compressed_size), head.compression, head.size
        )
        if chunk.is_cut:
            return content
        if not is_whole or len(content) != head.size:
            raise CompressionError(f"it has {len(content)} of the {head.size} bytes that it claims")
        if head.crc and zlib.crc32(content) != head.crc:
            raise CompressionError("its checksum does not fit")
        return content

    def _content(self, record: Record, size: int) -> bytes:
        """The first `size` bytes of a record; raises BadRecord if it has fewer."""
        if record.end - record.start < size:
            raise BadRecord("a record is too short for what it should hold")
        return self._read_up_to(record.start, size)

    def _read(self, position: int, size: int) -> bytes:
        if not 0 <= size <= LARGEST_MESSAGE:
            raise DamagedMessage(f"it claims {size} bytes")
        content = self._read_up_to(position, size)
        if len(content) < size:
            raise DamagedMessage("the file ends before it does")
        return content

    def _read_up_to(self, position: int, size: int) -> bytes:
        """At most `size` bytes; fewer at the end of the file, whatever the file claims."""
        if position >= self._size:
            return b""
        self._source.seek(position)
        return self._source.read(min(size, self._size - position))

    def _note(self, kind: str, sentence: str, place: int | None = None) -> None:
        self._problems.add((self.path, kind), f"{self.path.name} {sentence}", place)


def _in_stored_order(entries: Entries) -> Entries:
    """The entries by position and each once: an index may be in any order, and may name a message twice."""
    entries = entries[np.lexsort((entries["offset"], entries["place"]))]
    is_repeated = (np.diff(entries["offset"]) == 0) & (np.diff(entries["place"]) == 0)
    return np.delete(entries, np.flatnonzero(is_repeated))

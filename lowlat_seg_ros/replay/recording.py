"""A recording's messages, whatever files they lie in: its topics, an index of them in memory, and reading each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.replay.bag_files import find_bag_files, open_storage_file
from lowlat_seg_ros.replay.decompression import ZSTD_START
from lowlat_seg_ros.replay.messages import CDR, Header, header_at_start, without_compression
from lowlat_seg_ros.replay.problems import BagError, DamagedMessage, Problems
from lowlat_seg_ros.replay.storage_file import StorageFile, StoredTopic, is_of_first_type

HEAD_BYTES: Final = 512
"""Of a message, in which its header lies, to be read without the picture."""


AnyRecording = TypeVar("AnyRecording", bound="Recording")


class BagTopic(NamedTuple):
    """A topic of a bag; `type` as in "sensor_msgs/msg/Image"."""

    name: str
    type: str
    message_count: int


class BagMessage(NamedTuple):
    """A message as it was recorded: `data` is its CDR serialization, ready to be published as it is."""

    topic: str
    type: str
    received: int  # nanoseconds
    data: bytes


class Recording:
    """An open bag's messages; a context manager. Use it from one thread; iterators of one bag may take turns."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.resolve().name
        self._problems = Problems()
        paths, stated_counts = find_bag_files(self.path, self._problems)
        self._files = _open_files(self.path, paths, self._problems)
        self._types = _types_of_topics(self._files, self._problems)
        self.topics = tuple(
            BagTopic(name, message_type, sum(len(file.entries(name)) for file in self._files))
            for name, message_type in sorted(self._types.items())
        )
        self._indexes: dict[str, NDArray[Any]] = {}
        self._compare_with(stated_counts)

    def __enter__(self: AnyRecording) -> AnyRecording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the bag's files."""
        for file in self._files:
            file.close()

    @property
    def problems(self) -> list[str]:
        """One line for each kind of defect met so far; those of single messages are met while they are read."""
        return self._problems.lines()

    @property
    def time_range(self) -> tuple[int, int]:
        """When the first and the last message were received, in nanoseconds; (0, 0) for a bag without messages."""
        times = [self._index(topic.name)["time"] for topic in self.topics if topic.message_count]
        if not times:
            return 0, 0
        return min(int(each[0]) for each in times), max(int(each[-1]) for each in times)

    def messages(self, *topics: str) -> Iterator[BagMessage]:
        """The messages of these topics, or of all, as they were recorded, in the order of their receive times.

        A message that cannot be read is left out and noted in `problems`.
        """
        names = topics or tuple(self._types)
        indexes = [self._index(name) for name in names]
        owners = np.repeat(np.arange(len(names)), [len(index) for index in indexes])
        merged = np.concatenate([*indexes, _no_positions()])
        for number in np.argsort(merged["time"], kind="stable"):
            name = names[owners[number]]
            message = self._read(name, merged[number])
            if message is not None:
                yield message

    def numbered(self, topic: str) -> Iterator[tuple[int, BagMessage]]:
        """The topic's messages that can be read, with their numbers among all, in the order of receiving."""
        for number, position in enumerate(self._index(topic)):
            message = self._read(topic, position)
            if message is not None:
                yield number, message

    def _index(self, topic: str) -> NDArray[Any]:
        """Where the topic's messages are, in the order of their receive times: `file` beside the fields of ENTRY."""
        if topic not in self._indexes:
            self._indexes[topic] = self._built_index(topic)
        return self._indexes[topic]

    def _built_index(self, topic: str) -> NDArray[Any]:
        parts = [_no_positions()]
        for number, file in enumerate(self._files):
            entries = file.entries(topic)
            part = np.empty(len(entries), POSITION)
            part["file"] = number
            for name in entries.dtype.names or ():
                part[name] = entries[name]
            parts.append(part)
        positions = np.concatenate(parts)
        if np.any(positions["time"][1:] < positions["time"][:-1]):
            self._problems.add(
                ("stored", topic), f"{topic} is stored out of order; it is read in the order of its receive times"
            )
        return positions[np.argsort(positions["time"], kind="stable")]

    def _read(self, topic: str, position: np.void) -> BagMessage | None:
        message = BagMessage(topic, self._types[topic], int(position["time"]), b"")
        file = self._files[position["file"]]
        try:
            data = without_compression(file.read(topic, position))
        except DamagedMessage as error:
            if (file.path, "damage") in self._problems:
                return None  # it is the same damage, and one line about it is enough
            sentence = f"{self.name} has messages that cannot be read, the first on {topic}: {error}"
            self._problems.add("damage", sentence, (topic, message.received))
            return None
        return message._replace(data=data)

    def _compare_with(self, stated_counts: dict[str, int]) -> None:
        stated = sum(stated_counts.values())
        held = sum(topic.message_count for topic in self.topics)
        # Damage that was met already explains why messages are missing; this is for those that somebody took out.
        if stated_counts and stated != held and not self.problems:
            self._problems.add("counts", f"metadata.yaml counts {stated} messages, and {held} are there")
        self._gaps_are_explained = bool(self.problems)

    def header(self, topic: str, position: np.void) -> Header | None:
        """A message's header without the rest, where that can be had; None for one that cannot be read."""
        try:
            data = self._files[position["file"]].read(topic, position, HEAD_BYTES)
            if data.startswith(ZSTD_START):
                message = self._read(topic, position)
                return None if message is None else header_at_start(message.data)
            return header_at_start(data)
        except DamagedMessage:
            return None  # said when it is read

    def _note(self, message: BagMessage, kind: str, sentence: str) -> None:
        self._problems.add((message.topic, kind), f"{message.topic} {sentence}", message.received)


POSITION: Final = np.dtype([("time", "<u8"), ("place", "<i8"), ("offset", "<u8"), ("file", "<i4")])


def _no_positions() -> NDArray[Any]:
    return np.zeros(0, POSITION)


def _open_files(bag: Path, paths: tuple[Path, ...], problems: Problems) -> list[StorageFile]:
    """Every file that can be opened; raises the first file's BagError if none can."""
    files: list[StorageFile] = []
    errors: list[BagError] = []
    for path in paths:
        try:
            files.append(open_storage_file(path, problems))
        except BagError as error:
            errors.append(error)
    if not files:
        raise errors[0] if errors else BagError(f"{bag} is no bag: the files that it names are not there.")
    for unusable in errors:
        problems.add(("file", str(unusable)), str(unusable).removesuffix("."))
    return files


def _types_of_topics(files: list[StorageFile], problems: Problems) -> dict[str, str]:
    """The type of every topic that ROS 2 could have recorded."""
    topics: dict[str, StoredTopic] = {}
    for file in files:
        for topic in file.topics.values():
            if topic.serialization != CDR:
                problems.add(
                    "serialization",
                    f"{topic.name} is serialized as {topic.serialization!r}, not in ROS 2's {CDR}; it is not read",
                    topic.name,
                )
            else:
                is_of_first_type(topic, topics, problems)
    return {name: topic.type for name, topic in topics.items()}

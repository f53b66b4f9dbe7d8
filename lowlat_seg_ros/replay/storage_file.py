"""What MCAP and SQLite files have in common: topics, an index of the messages, and the messages' bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.replay.problems import Problems

ENTRY: Final = np.dtype([("time", "<u8"), ("place", "<i8"), ("offset", "<u8")])
"""One message in a file's index: when it was received (ns), and where the file keeps it, in its own way."""

Entries = NDArray[Any]
"""Entries of an index, (N,) of ENTRY, in the order in which the file stores the messages."""

LARGEST_MESSAGE: Final = 1 << 28
"""Bytes, 256 MiB. No camera sends as much, so a message that claims more is damaged or hostile."""


class StoredTopic(NamedTuple):
    """A topic as a file knows it; `serialization` is "cdr" wherever ROS 2 recorded it."""

    name: str
    type: str
    serialization: str


class StorageFile(Protocol):
    """One file of a bag. Use it from one thread at a time.

    That the file as a whole is damaged is noted as a problem of the kind (path, "damage").
    """

    path: Path
    topics: dict[str, StoredTopic]

    def entries(self, topic: str) -> Entries:
        """The index of the topic's messages; empty for a topic that is not in this file."""

    def read(self, topic: str, entry: np.void, limit: int = LARGEST_MESSAGE) -> bytes:
        """The serialized message of one entry, or its first ``limit`` bytes; raises DamagedMessage."""

    def close(self) -> None:
        """Close the file."""


def no_entries() -> Entries:
    """The index of no messages."""
    return np.zeros(0, ENTRY)


def is_of_first_type(topic: StoredTopic, topics: dict[str, StoredTopic], problems: Problems) -> bool:
    """Add a topic; False, and a problem, if `topics` has another type under that name, which stays the one to read."""
    first = topics.setdefault(topic.name, topic)
    if topic != first:
        sentence = f"{topic.name} carries {topic.type} beside {first.type}; only the latter is read"
        problems.add(("types", topic.name), sentence)
    return topic == first

"""One SQLite file of a bag, whole or not: its table of messages is walked past what is damaged."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np

from lowlat_seg_ros.data.rosbag2.problems import BagError, DamagedMessage, Problems
from lowlat_seg_ros.data.rosbag2.storage_file import ENTRY, LARGEST_MESSAGE, Entries, StoredTopic, no_entries

MAGIC: Final = b"SQLite format 3\0"

LONGEST_DAMAGE: Final = 10_000
"""Messages tried one by one behind a damaged place before the rest is given up: more than one page leads to."""

LARGEST_TIME: Final = (1 << 63) - 1

RUNS_CODE: Final = re.compile(r"\bVIRTUAL\b|\bAS\b", re.IGNORECASE)
"""In a table's definition: a virtual table runs an extension's code, and a generated column an expression."""

UNFINISHED_SUFFIXES: Final = ("-wal", "-journal")


class SqliteFile:
    """An SQLite file as a StorageFile; what is damaged in it is noted in `problems`, and the rest is delivered."""

    def __init__(self, path: Path, location: Path, problems: Problems) -> None:
        """`location` is where the file lies, which is elsewhere than at `path` if it had to be unpacked.

        Raises BagError for a database that is no bag or whose topics cannot be read.
        """
        self.path = path
        self._problems = problems
        try:
            # Immutable: nothing is ever written beside a bag, and a killed recorder's file is read as it is.
            self._database = sqlite3.connect(
                f"file:{quote(str(location.resolve()))}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
            self._prepare()
            self.topics, topic_of_id = self._topics()
        except sqlite3.Error as error:
            raise BagError(f"{path} is damaged where its topics stand ({error}).") from error
        self._entries = self._entries_of_topics(topic_of_id)
        self._note_unfinished()

    def entries(self, topic: str) -> Entries:
        """The index of the topic's messages in the order in which they are stored."""
        return self._entries.get(topic, no_entries())

    def read(self, topic: str, entry: np.void) -> bytes:
        """The serialized message of one entry; raises DamagedMessage."""
        row_id = int(entry["offset"])
        try:
            kind, size = self._database.execute(
                "SELECT typeof(data), length(data) FROM messages WHERE id = ?", (row_id,)
            ).fetchone()
            if kind != "blob" or size > LARGEST_MESSAGE:
                raise DamagedMessage(f"its data are a {kind} of {size}")
            (data,) = self._database.execute("SELECT data FROM messages WHERE id = ?", (row_id,)).fetchone()
        except (sqlite3.Error, TypeError) as error:  # a row that is listed and not there gives None
            raise DamagedMessage(f"the database is damaged there ({error})") from error
        return bytes(data)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _prepare(self) -> None:
        """Make a cut database readable and a hostile one harmless; raise BagError if it is no bag."""
        self._database.text_factory = lambda text: text.decode(errors="replace")
        # SQLite refuses a file that is shorter than its header says, except to those who came to repair its schema.
        self._database.execute("PRAGMA writable_schema = ON")
        self._database.execute("PRAGMA trusted_schema = OFF")
        self._database.execute("PRAGMA cell_size_check = ON")
        tables = dict(
            self._database.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name IN ('topics', 'messages')"
            )
        )
        if len(tables) < 2 or any(map(RUNS_CODE.search, map(str, tables.values()))):
            raise BagError(f"{self.path} is an SQLite database but no ROS 2 bag, which has plain tables of its own.")

    def _topics(self) -> tuple[dict[str, StoredTopic], dict[int, str]]:
        topics: dict[str, StoredTopic] = {}
        topic_of_id: dict[int, str] = {}
        for row_id, *columns in self._database.execute("SELECT id, name, type, serialization_format FROM topics"):
            stored = StoredTopic(*map(str, columns))
            first = topics.setdefault(stored.name, stored)
            if stored == first:
                topic_of_id[row_id] = stored.name
            else:
                self._problems.add(
                    ("types", stored.name),
                    f"{stored.name} carries {stored.type} beside {first.type}; only the latter is read",
                )
        return topics, topic_of_id

    def _entries_of_topics(self, topic_of_id: dict[int, str]) -> dict[str, Entries]:
        found: dict[str, list[tuple[int, int, int]]] = {name: [] for name in self.topics}
        for row_id, topic_id, time in self._rows():
            if topic_id not in topic_of_id:
                self._note("strangers", "holds messages of a topic that it does not name; they are left out", row_id)
            elif not isinstance(time, int) or not 0 <= time <= LARGEST_TIME:
                self._note("times", "holds messages without a time; they are left out", row_id)
            else:
                found[topic_of_id[topic_id]].append((time, 0, row_id))
        return {name: np.array(entries, ENTRY) for name, entries in found.items()}

    def _rows(self) -> Iterator[tuple[int, object, object]]:
        """Id, topic and time of every message that can be reached, in the order of the ids."""
        last = -1
        damage = 0
        while damage <= LONGEST_DAMAGE:
            try:
                # Along the table, not its index on time: the two lie in different pages, and one is enough.
                for row_id, topic_id, time in self._database.execute(
                    "SELECT id, topic_id, timestamp FROM messages NOT INDEXED WHERE id > ? ORDER BY id",
                    (last + damage,),
                ):
                    if not isinstance(row_id, int) or row_id <= last:
                        raise sqlite3.DatabaseError("the ids of the messages go back")
                    yield row_id, topic_id, time
                    last, damage = row_id, 0
                return
            except sqlite3.Error as error:
                self._note("damage", f"is damaged or cut short ({error}); what is whole of it is read")
                damage += 1

    def _note_unfinished(self) -> None:
        for suffix in UNFINISHED_SUFFIXES:
            beside = self.path.with_name(self.path.name + suffix)
            if beside.is_file() and beside.stat().st_size > 0:
                self._note("unfinished", f"was not closed by its recorder; what is still in {beside.name} is not read")

    def _note(self, kind: str, sentence: str, message: int | None = None) -> None:
        self._problems.add((self.path, kind), f"{self.path.name} {sentence}", message)

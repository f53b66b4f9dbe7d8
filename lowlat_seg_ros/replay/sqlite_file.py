"""One SQLite file of a bag, whole or not: its table of messages is walked past what is damaged.

By apsw, which brings a new SQLite along: an older Python's takes the pages that a cut file lacks for zeros, and
pictures turn black without a word.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import apsw
import numpy as np

from lowlat_seg_ros.replay.problems import BagError, DamagedMessage, Problems
from lowlat_seg_ros.replay.storage_file import (
    ENTRY,
    LARGEST_MESSAGE,
    Entries,
    StoredTopic,
    is_of_first_type,
    no_entries,
)

MAGIC: Final = b"SQLite format 3\0"

HEADER: Final = struct.Struct(
    ">16xH6xII60xI"
)  # page size, change counter, pages, change counter at that number of pages
HEADER_BYTES: Final = 100

LONGEST_DAMAGE: Final = 10_000
"""Messages tried one by one behind a damaged place before the rest is given up: more than one page leads to."""

LARGEST_TIME: Final = (1 << 63) - 1

RUNS_CODE: Final = re.compile(r"\bVIRTUAL\b|\bAS\b", re.IGNORECASE)
"""In a table's definition: a virtual table runs an extension's code, and a generated column an expression."""

TABLES: Final = """
    SELECT CAST(sql AS BLOB) FROM sqlite_master WHERE type = 'table' AND name IN ('topics', 'messages')
"""

TOPICS: Final = """
    SELECT rowid, CAST(name AS BLOB), CAST(type AS BLOB), CAST(serialization_format AS BLOB) FROM topics
"""

# Along the table, not its index on time: the two lie in different pages, and one is enough. A column may hold anything.
MESSAGES_BEHIND: Final = """
    SELECT id,
        CASE typeof(topic_id) WHEN 'integer' THEN topic_id END,
        CASE typeof(timestamp) WHEN 'integer' THEN timestamp END
    FROM messages NOT INDEXED WHERE id > ? ORDER BY id
"""

DATA: Final = "SELECT CASE typeof(data) WHEN 'blob' THEN ifnull(substr(data, 1, ?), x'') END FROM messages WHERE id = ?"

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
            self._database = apsw.Connection(
                f"file:{quote(str(location.resolve()))}?immutable=1",
                flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
            )
            self._prepare()
            self.topics, topic_of_id = self._topics()
        except apsw.Error as error:
            raise BagError(f"{path} is damaged where its topics stand ({error}).") from error
        self._note_cut(location)
        self._note_unfinished()
        self._entries = self._entries_of_topics(topic_of_id)

    def entries(self, topic: str) -> Entries:
        """The index of the topic's messages in the order in which they are stored."""
        return self._entries.get(topic, no_entries())

    def read(self, topic: str, entry: np.void, limit: int = LARGEST_MESSAGE) -> bytes:
        """The serialized message of one entry, or its first ``limit`` bytes; raises DamagedMessage."""
        try:
            data = self._database.execute(DATA, (limit, int(entry["offset"]))).get
        except apsw.Error as error:
            raise DamagedMessage(f"the database is damaged there ({error})") from error
        if not isinstance(data, bytes):
            raise DamagedMessage("its data are no bytes")
        return data

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _prepare(self) -> None:
        """Make a cut database readable and a hostile one harmless; raise BagError if it is no bag."""
        self._database.limit(apsw.SQLITE_LIMIT_LENGTH, LARGEST_MESSAGE)
        # SQLite refuses a file that is shorter than its header says, except to those who came to repair its schema.
        self._database.execute("PRAGMA writable_schema = ON")
        self._database.execute("PRAGMA trusted_schema = OFF")
        self._database.execute("PRAGMA cell_size_check = ON")
        tables = [_text(sql) for (sql,) in self._database.execute(TABLES)]
        if len(tables) < 2 or any(map(RUNS_CODE.search, tables)):
            raise BagError(f"{self.path} is an SQLite database but no ROS 2 bag, which has plain tables of its own.")

    def _topics(self) -> tuple[dict[str, StoredTopic], dict[int | None, str]]:
        topics: dict[str, StoredTopic] = {}
        topic_of_id: dict[int | None, str] = {}
        for row_id, name, message_type, serialization in self._database.execute(TOPICS):
            stored = StoredTopic(_text(name), _text(message_type), _text(serialization))
            if is_of_first_type(stored, topics, self._problems):
                topic_of_id[row_id] = stored.name
        return topics, topic_of_id

    def _entries_of_topics(self, topic_of_id: dict[int | None, str]) -> dict[str, Entries]:
        found: dict[str, list[tuple[int, int, int]]] = {name: [] for name in self.topics}
        for row_id, topic_id, time in self._rows():
            if topic_id not in topic_of_id:
                self._note("strangers", "holds messages of a topic that it does not name; they are left out", row_id)
            elif time is None or not 0 <= time <= LARGEST_TIME:
                self._note("times", "holds messages without a time; they are left out", row_id)
            else:
                found[topic_of_id[topic_id]].append((time, 0, row_id))
        return {name: np.array(entries, ENTRY) for name, entries in found.items()}

    def _rows(self) -> Iterator[tuple[int, int | None, int | None]]:
        """Id, topic and time of every message that can be reached, in the order of the ids."""
        last = -1
        damage = 0
        while damage <= LONGEST_DAMAGE:
            try:
                for row_id, topic_id, time in self._database.execute(MESSAGES_BEHIND, (last + damage,)):
                    if not isinstance(row_id, int) or row_id <= last:
                        raise apsw.CorruptError("the ids of the messages go back")
                    yield row_id, topic_id, time
                    last, damage = row_id, 0
                return
            except apsw.Error as error:
                self._note("damage", f"is damaged ({error}); what is whole of it is read")
                damage += 1

    def _note_cut(self, location: Path) -> None:
        with location.open("rb") as file:
            header = file.read(HEADER_BYTES)
        page_size, changes, pages, valid_for = HEADER.unpack_from(header)
        # Very old SQLite leaves the number of pages as it was, and the two counters apart.
        if changes == valid_for and pages * (65536 if page_size == 1 else page_size) > location.stat().st_size:
            self._note("damage", "is cut short; what is whole of it is read")

    def _note_unfinished(self) -> None:
        for suffix in UNFINISHED_SUFFIXES:
            beside = self.path.with_name(self.path.name + suffix)
            if beside.is_file() and beside.stat().st_size > 0:
                self._note("unfinished", f"was not closed by its recorder; what is still in {beside.name} is not read")

    def _note(self, kind: str, sentence: str, message: int | None = None) -> None:
        self._problems.add((self.path, kind), f"{self.path.name} {sentence}", message)


def _text(stored: bytes | None) -> str:
    return (stored or b"").decode(errors="replace")

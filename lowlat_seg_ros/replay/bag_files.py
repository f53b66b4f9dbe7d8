"""Which files a bag has (a folder with metadata.yaml, a folder without it, or one bare file), and opening each."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path, PurePath
from typing import Any, Final, NamedTuple

from lowlat_seg_ros.data.clips import natural_order
from lowlat_seg_ros.data.documents import read_yaml
from lowlat_seg_ros.errors import shown, turning_all_into
from lowlat_seg_ros.replay import mcap_file, sqlite_file
from lowlat_seg_ros.replay.decompression import ZSTD_START, CompressionError, unpack_file
from lowlat_seg_ros.replay.problems import BagError, Problems
from lowlat_seg_ros.replay.storage_file import StorageFile

METADATA: Final = "metadata.yaml"

STORAGE_SUFFIXES: Final = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")
"""In any case."""

LARGEST_METADATA: Final = 1 << 20
"""Bytes. A bag of three thousand files describes itself in less, and a parser takes minutes over much more."""

HASHED_PARTS: Final = 16
PART_BYTES: Final = 1 << 16
"""Of each file, spread evenly over it: its start and its end, where indexes lie, among them."""

ROS1_START: Final = b"#ROSBAG V"

LONGEST_START: Final = 16


class BagFiles(NamedTuple):
    """A bag's files in the order of the recording, and how many messages metadata.yaml counts on each topic."""

    paths: tuple[Path, ...]
    stated_counts: dict[str, int]


def find_bag_files(path: Path, problems: Problems) -> BagFiles:
    """The files of the bag at `path`; raises BagError if there is none."""
    if not path.exists():
        raise BagError(f"The bag {path} does not exist.")
    if path.is_file():
        return BagFiles((path,), {})
    if not path.is_dir():
        raise BagError(f"{path} is neither a file nor a folder.")
    try:
        with turning_all_into(BagError, METADATA):
            metadata = read_yaml(path / METADATA, LARGEST_METADATA)["rosbag2_bagfile_information"]
            names = [str(name) for name in metadata["relative_file_paths"]]
            if not names:
                raise BagError("it names no file")
            counts = _stated_counts(metadata)
    except BagError as error:
        storage_files = _storage_files_in(path)
        if not storage_files:
            raise BagError(f"{path} is no bag: it has no usable {METADATA} and no .mcap or .db3 file.") from error
        missing = "damaged" if (path / METADATA).exists() else "missing"
        as_one = f"; its {len(storage_files)} files are read as one recording" if len(storage_files) > 1 else ""
        problems.add("metadata", f"{METADATA} is {missing}, as a recorder leaves it that was stopped by force{as_one}")
        return BagFiles(storage_files, {})
    files = [file for name in names if (file := _inside(path, name, problems)) is not None]
    for stray in sorted(set(_storage_files_in(path)) - set(files)):
        problems.add("strays", f"{METADATA} does not name {stray.name}, which is beside it; it is not read", stray)
    return BagFiles(tuple(dict.fromkeys(files)), counts)


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: a storage file, or a folder of some that can be listed."""
    try:
        if path.is_dir():
            return (path / METADATA).is_file() or any(map(_is_storage_file, path.iterdir()))
        return _is_storage_file(path)
    except OSError:
        return False


def _is_storage_file(path: Path) -> bool:
    return path.name.lower().endswith(STORAGE_SUFFIXES) and not path.name.startswith(".") and not path.is_dir()


def fingerprint(path: Path) -> str:
    """What tells the bag at ``path`` from any other, whatever their names: its files' sizes, times and parts, hashed.

    Raises BagError if there is none.
    """
    files = find_bag_files(path, Problems()).paths
    digest = hashlib.sha256()
    try:
        for file in files:
            status = file.stat()
            digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
            with file.open("rb") as content:
                for part in range(HASHED_PARTS):
                    content.seek(max(0, status.st_size - PART_BYTES) * part // (HASHED_PARTS - 1))
                    digest.update(content.read(PART_BYTES))
    except OSError as error:
        raise BagError(f"{path} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


def open_storage_file(path: Path, problems: Problems) -> StorageFile:
    """Open one file of a bag, whatever its name, by how it begins.

    Raises BagError, in a sentence, for a file that is missing, empty, of another kind or damaged at its beginning.
    """
    try:
        start = _start_of(path)
        if start.startswith(ZSTD_START):
            return _open_unpacked(path, problems)
        return _open_plain(path, path, start, problems)
    except OSError as error:
        raise BagError(f"{path} cannot be read: {error.strerror or error}.") from error


def _open_unpacked(path: Path, problems: Problems) -> StorageFile:
    """Open a compressed file; what it unpacks to has lost its name by then, so that nothing of it stays behind."""
    with tempfile.TemporaryDirectory(prefix="lowlat-seg-") as folder:
        location = Path(folder, "unpacked")
        with location.open("wb") as unpacked:
            limit = shutil.disk_usage(folder).free // 2
            try:
                is_whole = unpack_file(path, unpacked, limit)
            except CompressionError as error:
                raise BagError(f"{path} cannot be unpacked: {error}.") from error
        if not is_whole:
            problems.add((path, "compression"), f"{path.name} is cut short or damaged; what unpacks of it is read")
        return _open_plain(path, location, _start_of(location), problems)


def _open_plain(path: Path, location: Path, start: bytes, problems: Problems) -> StorageFile:
    if not start:
        raise BagError(f"{path} is empty.")
    if start.startswith(mcap_file.MAGIC):
        return mcap_file.McapFile(path, location.open("rb"), problems)
    if start.startswith(sqlite_file.MAGIC):
        return sqlite_file.SqliteFile(path, location, problems)
    if start.startswith(ROS1_START):
        raise BagError(f"{path} is a bag of ROS 1; convert it with `rosbags-convert` and give the result.")
    raise BagError(f"{path} is no ROS 2 bag; expected an MCAP or SQLite file, or a folder with {METADATA}.")


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LONGEST_START)


def _stated_counts(metadata: dict[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for topic in metadata["topics_with_message_count"]:
        name = str(topic["topic_metadata"]["name"])
        counts[name] = counts.get(name, 0) + int(topic["message_count"])
    return counts


def _inside(folder: Path, name: str, problems: Problems) -> Path | None:
    """The file of that name in the bag's folder; None if it would lie elsewhere or is missing."""
    pure = PurePath(name)
    # Before version 4, and in some compressed bags of version 4, names begin with the folder's own.
    if len(pure.parts) == 2 and pure.parts[0] == folder.resolve().name:
        pure = PurePath(pure.name)
    if len(pure.parts) != 1 or pure.is_absolute() or pure.name in ("", ".."):
        problems.add(
            "outside", f"{METADATA} names a file outside of the bag ({shown(name, 100)}); it is not read", name
        )
        return None
    if not (folder / pure).is_file():
        problems.add("missing", f"{METADATA} names {pure}, which is missing", name)
        return None
    return folder / pure


def _storage_files_in(folder: Path) -> tuple[Path, ...]:
    try:
        files = [file for file in folder.iterdir() if _is_storage_file(file)]
    except OSError as error:
        raise BagError(f"The folder {folder} cannot be listed: {error.strerror}.") from error
    return tuple(sorted(files, key=natural_order))

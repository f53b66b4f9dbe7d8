"""Several drives in one folder: videos and folders of pictures, each with the labels of its name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lowlat_seg_ros.data.folders import is_picture, listed
from lowlat_seg_ros.data.problems import DataError, Problems
from lowlat_seg_ros.data.videos import VIDEO_SUFFIXES


class DriveFiles(NamedTuple):
    """Where a drive's frames are, a folder or a video, and the folder of its labels."""

    frames: Path
    labels: Path


def drives_in(frames: Path, labels: Path, problems: Problems) -> list[DriveFiles]:
    """`frames` itself where it is a video or holds pictures; else every video and folder of pictures in it.

    What else lies there, and labels of no drive, are noted.

    Raises:
        DataError: a folder cannot be listed or holds no drive, or two drives have one name.
    """
    entries = listed(frames) if frames.is_dir() else []
    if not frames.is_dir() or any(map(is_picture, entries)):
        return [DriveFiles(frames, labels)]
    by_name: dict[str, Path] = {}
    others = []
    for path in entries:
        if not _is_video(path) and not (path.is_dir() and any(map(is_picture, listed(path)))):
            others.append(path)
            continue
        twin = by_name.setdefault(_name_of(path), path)
        if twin is not path:
            raise DataError(f"{frames} has two drives of one name: {twin.name} and {path.name}; expected one of them.")
    if not by_name:
        raise DataError(f"{frames} holds no pictures, and no drives: folders of pictures, or videos.")
    _note_left_out(
        others, len(by_name), f"drives of {frames.name}", "is no drive: no video or folder of pictures", problems
    )
    of_no_drive = [path for path in listed(labels) if path.is_dir() and path.name not in by_name]
    of_drives = sum((labels / name).is_dir() for name in by_name)
    _note_left_out(of_no_drive, of_drives, f"folders of {labels.name}", "has labels of no drive", problems)
    return [DriveFiles(path, labels / name) for name, path in by_name.items()]


def _is_video(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def _name_of(drive: Path) -> str:
    return drive.stem if drive.is_file() else drive.name


def _note_left_out(others: Iterable[Path], taken: int, what: str, why: str, problems: Problems) -> None:
    """Each but hidden ones; folders count as left out, for a file nobody took for one of them."""
    seen = [path for path in others if not path.name.startswith(".")]
    for path in seen:
        problems.add((what, "others"), f"{path} {why}; it is left out", path)
    folders = sum(path.is_dir() for path in seen)
    if folders:
        problems.leave_out(what, folders, folders + taken)

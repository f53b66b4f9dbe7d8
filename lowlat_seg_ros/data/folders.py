"""Folders of pictures and of the labels that belong to them, as every command reads them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from lowlat_seg_ros.data.problems import DataError, Problems

IMAGE_SUFFIXES: Final = frozenset(
    {".bmp", ".dib", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff"}
    | {".webp"}
)
"""Files of pictures are told by these, in any case."""

UNREADABLE_SUFFIXES: Final = frozenset(
    {".arw", ".avif", ".cr2", ".dng", ".exr", ".gif", ".heic", ".heif", ".jxl", ".nef", ".psd", ".svg", ".tga"}
)
"""Pictures too, but of formats that are not read."""

LABEL_SUFFIX: Final = ".png"
"""The one format of pictures that every tool writes class ids to without loss."""


CITYSCAPES_PICTURE: Final = "_leftImg8bit"
CITYSCAPES_LABELS: Final = (
    "_gtFine_labelTrainIds", "_gtFine_labelIds", "_gtCoarse_labelTrainIds", "_gtCoarse_labelIds",
)  # fmt: skip
"""How Cityscapes' names end: train ids, by cityscapesscripts, are read where they were made, ids otherwise."""

_CITYSCAPES_SCENE: Final = re.compile(r"(.+)_gt(?:Fine|Coarse)_\w+")


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """Sort files by this as people number them: 2 before 10."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if part.isdecimal() else part.casefold() for part in parts], path.name


def name_of(path: Path) -> str:
    """What a picture and its labels share: the name without suffix. Macs write é as two characters, others as one."""
    return unicodedata.normalize("NFC", path.stem)


def listed(folder: Path) -> list[Path]:
    """What a folder holds, in natural order; raises DataError where it cannot be listed."""
    try:
        return sorted(folder.iterdir(), key=natural_order)
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be listed: {error.strerror}.") from error


def is_picture(path: Path) -> bool:
    """Whether a file is one that a folder of pictures shows: neither hidden nor AppleDouble (`._f1.png`)."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def pictures_in(folder: Path, problems: Problems | None = None) -> tuple[Path, ...]:
    """The pictures of a folder in natural order of their names; what else lies there is noted.

    Raises:
        DataError: the folder cannot be listed, or two pictures have one name but for the suffix.
    """
    entries = listed(folder)
    pictures = _each_once(filter(is_picture, entries), folder, "pictures")
    if problems is not None:
        _note_others(folder, [path for path in entries if path not in set(pictures)], len(pictures), problems)
    return pictures


def label_files_in(folder: Path) -> tuple[Path, ...]:
    """The label files of a folder in natural order: `.png` in any case, neither hidden nor AppleDouble.

    Raises:
        DataError: the folder does not exist, or two files have one name but for the suffix.
    """
    if not folder.is_dir():
        raise DataError(f"The folder of labels {folder} does not exist.")
    return _each_once(filter(_is_label_file, listed(folder)), folder, "label files")


def paired_labels(pictures: Sequence[Path], folder: Path, problems: Problems | None = None) -> list[Path | None]:
    """The label file of each picture, by its name but for the suffix or as Cityscapes has it; None for one without.

    Label files that belong to no picture are noted, and where Cityscapes' are there twice which are read.

    Raises:
        DataError: the folder has labels for none of the pictures, or in another format, or one name twice.
    """
    by_name = {name_of(file): file for file in label_files_in(folder)}
    candidates = [_labels_of(name_of(picture), by_name) for picture in pictures]
    found = [files[0] if files else None for files in candidates]
    _require_label_format(folder, set(map(name_of, pictures)) - set(by_name))
    if not any(found):
        example = f"; it holds such as {next(iter(by_name.values())).name}" if by_name else ""
        expected = pictures[0].stem + LABEL_SUFFIX
        raise DataError(f"{folder} holds labels for none of the pictures; expected names such as {expected}{example}.")
    if problems is not None:
        left_over = strays(by_name.values(), found)
        for stray in left_over:
            problems.add((folder, "strays"), f"The labels {stray} belong to no picture", stray)
        problems.leave_out("label files", len(left_over), len(by_name))
        for taken, *others in filter(None, candidates):
            if others:
                problems.add((folder, "twice"), f"The labels {taken} are read, not {others[0].name}", taken)
    return found


def _labels_of(name: str, by_name: Mapping[str, Path]) -> list[Path]:
    """The label files that a picture of that name may mean, the one that is read first."""
    if name in by_name or not name.endswith(CITYSCAPES_PICTURE):
        return [by_name[name]] if name in by_name else []
    scene = name.removesuffix(CITYSCAPES_PICTURE)
    return [by_name[scene + ending] for ending in CITYSCAPES_LABELS if scene + ending in by_name]


def strays(files: Iterable[Path], used: Iterable[Path | None]) -> list[Path]:
    """The label files that were given to no picture, but for Cityscapes' others of the same scene."""
    given = set(used)
    scenes = {_scene_of(file) for file in used if file is not None} - {None}
    return [file for file in files if file not in given and _scene_of(file) not in scenes]


def _scene_of(file: Path) -> str | None:
    match = _CITYSCAPES_SCENE.fullmatch(file.stem)
    return None if match is None else match[1]


def _is_label_file(path: Path) -> bool:
    return path.suffix.lower() == LABEL_SUFFIX and not path.name.startswith(".") and path.is_file()


def _each_once(files: Iterable[Path], folder: Path, what: str) -> tuple[Path, ...]:
    by_name: dict[str, Path] = {}
    for file in files:
        twin = by_name.setdefault(name_of(file), file)
        if twin is not file:
            raise DataError(f"{folder} has two {what} of one name: {twin.name} and {file.name}; expected one of them.")
    return tuple(by_name.values())


def _require_label_format(folder: Path, missing: set[str]) -> None:
    for file in listed(folder):
        if name_of(file) in missing and is_picture(file):
            raise DataError(f"The labels {file} are no PNG; expected class ids in PNG, which loses none of them.")


def _note_others(folder: Path, others: Sequence[Path], picture_count: int, problems: Problems) -> None:
    unread = [path for path in others if _is_meant(path)]
    for path in unread:
        problems.add((folder, "unread"), f"{path} is left out: {_why_not(path)}", path)
    if unread:
        problems.leave_out(f"pictures of {folder.name}", len(unread), picture_count + len(unread))
    for path in sorted(set(others) - set(unread)):
        problems.add(
            (folder, "others"), f"{folder} holds what is no picture and is passed over, such as {path.name}", path
        )


def _is_meant(path: Path) -> bool:
    """Whether somebody may have taken this for one of the pictures."""
    is_named_so = path.suffix.lower() in UNREADABLE_SUFFIXES | IMAGE_SUFFIXES
    return is_named_so and not path.name.startswith(".") and not path.is_dir()


def _why_not(path: Path) -> str:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return "it is no file that can be opened"
    return f"pictures in the format {path.suffix} are not read; expected one of {' '.join(sorted(IMAGE_SUFFIXES))}"

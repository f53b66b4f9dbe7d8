"""Reading every file of a data set once before training starts: what is amiss, and how often each class occurs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.documents import MOST_BYTES, read_json
from lowlat_seg_ros.data.frame_source import FrameSource, VideoFrame, read_frame
from lowlat_seg_ros.data.label_file import is_mask, mask_in_words, note_missing_classes, require_ids
from lowlat_seg_ros.data.problems import LONGEST_LINE, DataError, Problems
from lowlat_seg_ros.errors import NEXT, Error, printable
from lowlat_seg_ros.training.data_set import DataSet
from lowlat_seg_ros.training.frames import TrainingFrame, read_training_frame

MOST_SHOWN = 20  # problems in one message; the rest are counted


class Finding(NamedTuple):
    """What one frame was found to be."""

    class_pixels: NDArray[np.int64]  # (256,): pixels of each class id
    problem: str | None
    is_mask: bool = False  # its labels are 0 and 255 alone


def survey(data: DataSet, cache: Path) -> NDArray[np.int64]:
    """The pixels of each class id in the frames that are trained on, (256,).

    Everything is decoded, but not again while no file has changed: the result is kept in the file `cache`. What is left
    out or assumed, and the classes without a pixel, are in the data set's `notes` afterwards.

    Raises:
        DataError: a file is missing or damaged, labels do not fit their picture or have ids that the classes lack, or
            nothing is labelled. All of them in one list.
    """
    files, noted_before = state_of_files(data), data.notes.lines()
    known = _kept(cache, files, data.notes)
    if known is not None and not data.problems:
        return known
    problems = list(data.problems)
    class_pixels = np.zeros(256, np.int64)
    masks = []
    findings = _findings("reading the labelled frames", data.trained, data.notes)
    for frame, finding in zip(data.trained, findings, strict=True):
        class_pixels += finding.class_pixels
        problems += [finding.problem] if finding.problem else []
        masks += [frame.labels.path] if finding.is_mask and frame.labels else []
    for finding in _findings("reading the frames held out", data.held_out, data.notes):
        problems += [finding.problem] if finding.problem else []
    problems += _unreadable(data)
    problems += _note_labels(data, class_pixels, masks)
    if not problems and not class_pixels[:UNLABELLED].any():
        problems.append(f"No pixel of {data.name} has a class: all {len(data.trained)} pictures are void.")
    if problems:
        raise DataError(list_of(problems, data.name))
    found = [line for line in data.notes.lines() if line not in noted_before]
    _keep(cache, files, class_pixels, found)
    return class_pixels


def _note_labels(data: DataSet, class_pixels: NDArray[np.int64], masks: list[Path]) -> list[str]:
    """Note masks and classes without a pixel; where all labels are masks, that is a problem."""
    labels = [frame.labels for frame in data.trained if frame.labels]
    if not labels or not class_pixels.any():
        return []
    try:
        require_ids(len(masks), len(labels), next(iter(masks), None))
    except DataError as error:
        return [str(error)]
    for mask in masks:
        data.notes.add("mask", mask_in_words(mask), mask)
    if labels[0].classes.names:
        note_missing_classes(class_pixels, labels[0].classes, data.notes, data.name)
    return []


def list_of(problems: list[str], name: str) -> str:
    """All problems as one message: the first twenty, and how many there are."""
    if len(problems) == 1:
        return problems[0]
    shown = [printable(problem, LONGEST_LINE) for problem in problems[:MOST_SHOWN]]
    counted = f"{len(problems)} problems in {name}"
    first = f" (the first {MOST_SHOWN})" if len(problems) > MOST_SHOWN else ""
    return NEXT.join([f"{counted}{first}:", *shown])


def examine(frame: TrainingFrame, notes: Problems | None = None) -> Finding:
    """Read one labelled frame as training will."""
    try:
        _, read = read_training_frame(frame, notes)
    except DataError as error:
        return Finding(np.zeros(256, np.int64), str(error))
    looks_like_mask = frame.labels is not None and is_mask(read.stored, frame.labels.classes)
    return Finding(np.bincount(read.labels.ravel(), minlength=256), None, looks_like_mask)


def _findings(what: str, frames: list[TrainingFrame], notes: Problems) -> Iterable[Finding]:
    if not frames:
        return
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:  # decoding leaves Python's lock alone
        found = threads.map(lambda frame: examine(frame, notes), frames)
        yield from tqdm(found, what, len(frames), unit="frame", leave=False, disable=None)


def _unreadable(data: DataSet) -> list[str]:
    """Problems of the frames that nobody labelled. Videos were decoded from end to end when they were listed."""
    labelled = [*data.trained, *data.held_out]
    examined = {frame.image for frame in labelled}
    sources = [source for frame in [*labelled, *data.unlabelled] for source in (frame.image, *frame.earlier)]
    pictures = dict.fromkeys(source for source in sources if isinstance(source, Path) and source not in examined)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        found = threads.map(_problem_of, pictures)
        shown = tqdm(found, "reading the frames before", len(pictures), leave=False, disable=None)
        return [problem for problem in shown if problem]


def _problem_of(source: FrameSource) -> str | None:
    try:
        read_frame(source)
    except DataError as error:
        return str(error)
    return None


def state_of_files(data: DataSet) -> str:
    """A digest of every file's path, size and time, and of what its labels mean."""
    digest = hashlib.sha256()
    for kind in (data.trained, data.held_out, data.unlabelled):
        digest.update(f"{len(kind)} frames\n".encode())
        for frame in kind:
            paths = [frame.image, *frame.earlier] + ([frame.labels.path] if frame.labels else [])
            for path in paths:
                digest.update(f"{path} {_stamp(path.video if isinstance(path, VideoFrame) else path)}\n".encode())
            if frame.labels:
                digest.update(repr(frame.labels.classes).encode())
    return digest.hexdigest()


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def _keep(cache: Path, files: str, class_pixels: NDArray[np.int64], notes: list[str]) -> None:
    kept = {"files": files, "class_pixels": class_pixels.tolist(), "notes": notes}
    atomic_write(cache, json.dumps(kept).encode())


def _kept(cache: Path, files: str, notes: Problems) -> NDArray[np.int64] | None:
    """What is known of these files, and into ``notes`` what was noted of them; None where that is nothing."""
    try:
        kept = read_json(cache, MOST_BYTES)
        if kept["files"] != files:
            return None
        class_pixels, lines = np.array(kept["class_pixels"], np.int64), [str(line) for line in kept["notes"]]
    except (Error, ValueError, KeyError, TypeError, OverflowError):
        return None
    for line in lines:
        notes.add(line, line.removesuffix("."))
    return class_pixels

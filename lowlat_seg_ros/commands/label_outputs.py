"""What ``lowlat-seg label`` leaves in its folder: label images, videos, and a table of the frames."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from lowlat_seg_ros.commands.label_inputs import NamedFrame
from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.drawing import legend, overlay
from lowlat_seg_ros.data.video_writer import VideoWriter
from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.models.config import Colour
from lowlat_seg_ros.stream.result import SegmentationResult

LABELS: Final = "labels"
FRAMES: Final = "frames.csv"
CLASSES: Final = "classes.json"
OVERLAY: Final = "overlay"
SIDE_BY_SIDE: Final = "side_by_side"
KINDS: Final = (LABELS, OVERLAY, SIDE_BY_SIDE)
VIDEO_SUFFIX: Final = ".webm"
PICTURE_SUFFIX: Final = ".png"
OPACITY: Final = 0.55
HEADER: Final = ["frame", "name", "stamp_ns", "is_key_frame", "key_age_frames", "milliseconds", "unlabelled_reason"]


class OutputError(Error):
    """The folder cannot take what is to be written; the message says why and what to do."""


class LabelOutputs:
    """Writes one input's frames; a context manager at whose end the videos are whole."""

    def __init__(
        self,
        folder: Path,
        kinds: Sequence[str],
        classes: Sequence[str],
        colours: Sequence[Colour],
        rate_hz: float | None,
    ) -> None:
        """
        Args:
            folder: made if it is missing. What an earlier run wrote there is replaced, and nothing else touched.
            kinds: of LABELS, OVERLAY and SIDE_BY_SIDE.
            rate_hz: of the videos; None where the frames are pictures of any sizes, which become pictures.
        """
        self.folder = folder
        self._kinds = kinds
        self._classes, self._colours = classes, colours
        self._rate_hz = rate_hz
        self._open = ExitStack()
        self._videos: dict[str, VideoWriter] = {}
        self._count = 0

    def __enter__(self) -> LabelOutputs:
        """
        Raises:
            OutputError: there are files in the way that no earlier run has written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        _remove_earlier_run(self.folder, self._kinds)
        named = zip(self._classes, self._colours, strict=True)
        classes = [{"id": number, "name": name, "colour": colour} for number, (name, colour) in enumerate(named)]
        atomic_write(self.folder / CLASSES, (json.dumps(classes) + "\n").encode())
        # A line at a time: what a killed run has written is known to the next one.
        table = (self.folder / FRAMES).open("w", buffering=1, newline="", encoding="utf-8")
        self._table = csv.writer(self._open.enter_context(table), lineterminator="\n")
        self._table.writerow(HEADER)
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()  # without the error: what was labelled before it is kept

    def write(self, frame: NamedFrame, result: SegmentationResult, repeats: int = 1) -> None:
        """Write what is wanted of a frame; into videos it goes ``repeats`` times."""
        times = f"{result.milliseconds.total:.2f}"
        key = int(result.is_key_frame), result.key_age_frames
        self._table.writerow((self._count, frame.name, frame.stamp_ns, *key, times, result.unlabelled_reason))
        self._count += 1
        if LABELS in self._kinds:
            _write_png(self._picture_file(LABELS, frame.name), result.labels)
        if OVERLAY in self._kinds or SIDE_BY_SIDE in self._kinds:
            drawn = overlay(frame.image, result.labels, self._colours, OPACITY)
            self._write_picture(OVERLAY, frame.name, drawn, repeats)
            self._write_picture(SIDE_BY_SIDE, frame.name, np.hstack([frame.image, drawn]), repeats)

    def written(self) -> str:
        """What there is now, as for a closing line."""
        suffix = "/" if self._rate_hz is None else VIDEO_SUFFIX
        kinds = [f"{kind}/" if kind == LABELS else f"{kind}{suffix}" for kind in self._kinds]
        return ", ".join([*(kind for kind in kinds if (self.folder / kind).exists()), FRAMES, CLASSES])

    def _write_picture(self, kind: str, name: str, picture: NDArray[np.uint8], repeats: int) -> None:
        if kind not in self._kinds:
            return
        names = legend(self._classes, self._colours, picture.shape[1])
        picture = np.vstack([picture, names])
        if self._rate_hz is None:
            _write_png(self._picture_file(kind, name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            return
        if kind not in self._videos:
            size = picture.shape[1], picture.shape[0]
            video = VideoWriter(self.folder / f"{kind}{VIDEO_SUFFIX}", size, self._rate_hz)
            self._videos[kind] = self._open.enter_context(video)
        for _ in range(repeats):
            self._videos[kind].write(picture)

    def _picture_file(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name}{PICTURE_SUFFIX}"


def _write_png(path: Path, picture: NDArray[np.uint8] | MatLike) -> None:
    """(H, W) ids or (H, W, 3) BGR, without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_bytes(cv2.imencode(PICTURE_SUFFIX, picture)[1].tobytes())
    except BaseException:
        path.unlink(missing_ok=True)  # half a label image
        raise


def _remove_earlier_run(folder: Path, kinds: Sequence[str]) -> None:
    """Remove what the folder's table of frames names; raises OutputError, and removes nothing, for what it does not."""
    names = _names_of_earlier_run(folder)
    there = {kind: {file for file in (folder / kind).rglob("*") if file.is_file()} for kind in KINDS}
    ours = {kind: {folder / kind / f"{name}{PICTURE_SUFFIX}" for name in names or ()} for kind in KINDS}
    for kind in kinds:
        foreign = sorted(there[kind] - ours[kind])
        if foreign:
            raise OutputError(
                f"{foreign[0]} is not of an earlier run and would lie among the new files; name another --out"
            )
        video = folder / f"{kind}{VIDEO_SUFFIX}"
        if names is None and video.exists():
            raise OutputError(f"{video} is not of an earlier run and would be replaced; name another --out")
    for kind in KINDS if names is not None else ():
        for file in there[kind] & ours[kind]:
            file.unlink()
        for name in (f"{kind}{VIDEO_SUFFIX}", f".{kind}.part{VIDEO_SUFFIX}"):  # the second of a run that was killed
            (folder / name).unlink(missing_ok=True)


def _names_of_earlier_run(folder: Path) -> list[str] | None:
    """The frames' names in a table that an earlier run has left; None without one."""
    try:
        with (folder / FRAMES).open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError:
        return None
    except (ValueError, csv.Error):
        rows = [[]]
    if not rows:  # the disk was full before the first line
        return []
    header, *rows = rows
    if header != HEADER:
        raise OutputError(f"{folder / FRAMES} is not of an earlier run and would be replaced; name another --out")
    return [row[1] for row in rows if len(row) > 1]

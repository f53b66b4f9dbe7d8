"""Clips with the labels of their frames, where there are any: what a bag and an evaluation are made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.camvid import require_size
from lowlat_seg_ros.data.clips import Clip, PictureFolder
from lowlat_seg_ros.data.folders import label_files_in, paired_labels
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS
from lowlat_seg_ros.data.label_classes import LabelClasses
from lowlat_seg_ros.data.label_file import LabelCensus, read_label_file
from lowlat_seg_ros.data.problems import DataError
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet


class LabelledFrame(NamedTuple):
    """A picture, (H, W, 3) uint8 RGB, and its class ids, (H, W) uint8 with 255 = unlabelled, where it has any."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8] | None
    time: int | None = None  # nanoseconds from the clip's first frame; None where nothing is known but the clip's rate


def labelled_frames(
    clip: Clip, labels: Path | None = None, classes: LabelClasses = CAMVID_LABELS
) -> Iterator[LabelledFrame]:
    """The frames of a clip with their labels, one at a time.

    `labels` is a folder of PNGs, which `classes` explains. A folder's picture NAME.jpg has the labels NAME.png, or
    none; a video's frames have one file each, in natural order of the names. The synthetic street brings its own along.
    What the readers leave out or assume is noted in the clip's `problems`, the last of it after the last frame.

    Raises:
        DataError: `labels` is no folder or fits no frame, or a label file is damaged, has another size than its frame,
            or ids that it cannot have, or all of them are masks of 0 and 255.
        ClipError: a frame cannot be read.
    """
    if isinstance(clip, SyntheticStreet) and labels is None:
        return (
            LabelledFrame(frame.image, frame.labels, clip.time_of(index))
            for index, frame in enumerate(map(clip.__getitem__, range(clip.frame_count)))
        )
    if labels is None:
        return (LabelledFrame(frame, None, time) for time, frame in clip.timed_frames())
    return _with_label_files(clip, labels, label_files(clip, labels), classes)


def _with_label_files(
    clip: Clip, folder: Path, files: list[Path | None], classes: LabelClasses
) -> Iterator[LabelledFrame]:
    census = LabelCensus(classes)
    count = 0
    for count, (time, frame) in enumerate(clip.timed_frames(), start=1):
        if count > len(files):
            break
        file = files[count - 1]
        read = None if file is None else read_label_file(file, classes, clip.problems)
        if read is not None:
            require_size(file, read.labels, frame)
            census.add(file, read)
        yield LabelledFrame(frame, None if read is None else read.labels, time)
    if count != len(files):
        more = "more" if count > len(files) else f"only {count}"
        raise DataError(
            f"There are {len(files)} label files, but {clip.name} has {more} frames; expected one for each."
        )
    census.require_ids()
    census.tell(clip.problems, folder)


def label_files(clip: Clip, folder: Path) -> list[Path | None]:
    """The label file of every frame, None for a picture that has none; of a video, the files there are.

    Raises:
        DataError: `folder` is no folder, or has labels for none of a folder's pictures, or one name twice.
    """
    if isinstance(clip, PictureFolder):
        return paired_labels(clip.pictures, folder, clip.problems)
    return [*label_files_in(folder)]

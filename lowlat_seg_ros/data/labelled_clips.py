"""Clips with the labels of their frames, where there are any: what a bag is made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.camvid import DataError, read_ids
from lowlat_seg_ros.data.classes import CAMVID_VOID, UNLABELLED
from lowlat_seg_ros.data.clips import Clip, PictureFolder, natural_order
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

LABEL_SUFFIX: Final = ".png"  # the one format of pictures that every tool writes class ids to without loss


class LabelledFrame(NamedTuple):
    """A picture, (H, W, 3) uint8 RGB, and its class ids, (H, W) uint8 with 255 = unlabelled, where it has any."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8] | None


def labelled_frames(clip: Clip, labels: Path | None = None, void: int | None = None) -> Iterator[LabelledFrame]:
    """The frames of a clip with their labels, one at a time.

    `labels` is a folder of PNG pictures of class ids. A folder's picture NAME.jpg has the labels NAME.png, or none; a
    video's frames have one file each, in natural order of the names. The synthetic street brings its own labels along.
    `void` is the id that stands for no class in these files, beside 255; by default the files are CamVid's, with the
    ids 0..10 and void 11.

    Raises:
        DataError: `labels` is no folder or fits no frame, or a label file is damaged, has another size than its frame,
            or ids that it cannot have.
        ClipError: a frame cannot be read.
    """
    if isinstance(clip, SyntheticStreet) and labels is None:
        return (LabelledFrame(frame.image, frame.labels) for frame in map(clip.__getitem__, range(clip.frame_count)))
    if labels is None:
        return (LabelledFrame(frame, None) for frame in clip.frames())
    return _with_label_files(clip, label_files(clip, labels), void)


def _with_label_files(clip: Clip, files: list[Path | None], void: int | None) -> Iterator[LabelledFrame]:
    count = 0
    for count, frame in enumerate(clip.frames(), start=1):
        if count > len(files):
            break
        file = files[count - 1]
        labels = None if file is None else read_class_ids(file, void)
        if labels is not None and labels.shape != frame.shape[:2]:
            raise DataError(
                f"The labels {file} are {labels.shape[1]} x {labels.shape[0]} "
                f"but their frame is {frame.shape[1]} x {frame.shape[0]}."
            )
        yield LabelledFrame(frame, labels)
    if count != len(files):
        more = "more" if count > len(files) else f"only {count}"
        raise DataError(
            f"There are {len(files)} label files, but {clip.name} has {more} frames; expected one for each."
        )


def read_class_ids(path: Path, void: int | None = None) -> NDArray[np.uint8]:
    """The class ids in a label file, (H, W) uint8, with `void` (see labelled_frames) as 255; raises DataError."""
    stored = read_ids(path)
    if void is None:
        strange = stored[(stored > CAMVID_VOID) & (stored != UNLABELLED)]
        if strange.size:
            raise DataError(
                f"The labels {path} hold the id {strange[0]}, but CamVid's end at {CAMVID_VOID} (void); "
                f"of other classes, say which id is void."
            )
        void = CAMVID_VOID
    return np.where(stored == void, np.uint8(UNLABELLED), stored)


def label_files(clip: Clip, folder: Path) -> list[Path | None]:
    """The label file of every frame, None for a picture that has none; of a video, the files there are.

    Raises:
        DataError: `folder` is no folder, or has labels for none of a folder's pictures.
    """
    if not folder.is_dir():
        raise DataError(f"The folder of labels {folder} does not exist.")
    if not isinstance(clip, PictureFolder):
        return [*sorted((file for file in folder.iterdir() if file.suffix == LABEL_SUFFIX), key=natural_order)]
    files = [folder / (picture.stem + LABEL_SUFFIX) for picture in clip.pictures]
    present = [file if file.is_file() else None for file in files]
    if not any(present):
        raise DataError(f"{folder} holds labels for none of the pictures; expected names such as {files[0].name}.")
    return present

"""CamVid in SegNet's split (480 x 360, 11 classes): pictures `<split>/NAME.png`, class ids `<split>annot/NAME.png`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.classes import CAMVID_VOID, UNLABELLED
from lowlat_seg_ros.data.image_file import ImageFileError, read_rgb, read_unchanged
from lowlat_seg_ros.errors import Error


class DataError(Error):
    """A data set that is not as it should be; the message is one sentence that names the folder or file."""


class LabelledFile(NamedTuple):
    """One picture and its labels on disk; `name` is the file's stem, such as `0016E5_07959` (drive, frame number)."""

    name: str
    image: Path
    labels: Path


class LabelledImage(NamedTuple):
    """One picture, (H, W, 3) uint8 RGB, with its class ids, (H, W) uint8: 0..10, or 255 where CamVid says void."""

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class LabelledFolder:
    """Pictures and labels of the same names in two folders, as a sequence of LabelledImage in the names' order.

    Nothing is held in memory. Raises DataError if a folder is missing or empty, or if a picture has no labels; reading
    an item raises DataError if one of its two files is damaged or they do not fit.
    """

    def __init__(self, images: str | Path, labels: str | Path) -> None:
        self.files = _paired_files(Path(images), Path(labels))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> LabelledImage:
        return read_labelled(self.files[index])

    def __iter__(self) -> Iterator[LabelledImage]:
        return map(read_labelled, self.files)


class CamVid(LabelledFolder):
    """A split of CamVid: `root` holds the folders `<split>` and `<split>annot`."""

    def __init__(self, root: str | Path, split: str) -> None:
        super().__init__(Path(root) / split, Path(root) / f"{split}annot")


def read_labelled(file: LabelledFile) -> LabelledImage:
    """Read one picture and its labels; raises DataError if either is damaged or they do not fit each other."""
    try:
        image = read_rgb(file.image)
    except ImageFileError as error:
        raise DataError(str(error)) from error
    labels = read_labels(file.labels)
    if labels.shape != image.shape[:2]:
        raise DataError(f"The labels {file.labels} are {_size(labels)} but their picture is {_size(image)}.")
    return LabelledImage(file.name, image, labels)


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Return the class ids in a CamVid label file, (H, W) uint8, with its void 11 as 255; raises DataError."""
    stored = read_ids(path)
    if stored.max() > CAMVID_VOID:
        raise DataError(f"The labels {path} hold the id {stored.max()}, but CamVid's ids end at {CAMVID_VOID} (void).")
    labels: NDArray[np.uint8] = np.where(stored == CAMVID_VOID, np.uint8(UNLABELLED), stored)
    return labels


def read_ids(path: Path) -> NDArray[np.uint8]:
    """Return the ids in a label file exactly as stored, (H, W) uint8; raises DataError if it holds none."""
    try:
        stored = read_unchanged(path)
    except ImageFileError as error:
        raise DataError(str(error)) from error
    if stored.ndim != 2 or stored.dtype != np.uint8:
        raise DataError(f"The labels {path} must be an 8-bit image of one channel holding class ids.")
    return stored


def _paired_files(images: Path, labels: Path) -> tuple[LabelledFile, ...]:
    for folder in (images, labels):
        if not folder.is_dir():
            raise DataError(f"CamVid's folder {folder} does not exist.")
    pictures = sorted(images.glob("*.png"))
    if not pictures:
        raise DataError(f"CamVid's folder {images} holds no PNG pictures.")
    pairs = tuple(LabelledFile(picture.stem, picture, labels / picture.name) for picture in pictures)
    for pair in pairs:
        if not pair.labels.is_file():
            raise DataError(f"The picture {pair.image} has no labels: {pair.labels} does not exist.")
    return pairs


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"

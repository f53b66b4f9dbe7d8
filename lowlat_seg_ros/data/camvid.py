"""CamVid in SegNet's split (480 x 360, 11 classes): pictures `<split>/NAME.png`, class ids `<split>annot/NAME.png`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.folders import paired_labels, pictures_in
from lowlat_seg_ros.data.image_file import ImageFileError, read_rgb
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS
from lowlat_seg_ros.data.label_file import read_labels
from lowlat_seg_ros.data.problems import DataError


class LabelledFile(NamedTuple):
    """One picture and its labels on disk; `name` is the file's stem, such as `0016E5_07959` (drive, frame number)."""

    name: str
    image: Path
    labels: Path


class LabelledImage(NamedTuple):
    """One picture, (H, W, 3) uint8 RGB, with its class ids, (H, W) uint8: 255 where there are none."""

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    time: int | None = None  # nanoseconds from the clip's first frame; None where nothing is known but its rate


class LabelledFolder:
    """Pictures and CamVid's labels of the same names in two folders, as a sequence in the names' natural order.

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


def read_labelled(file: LabelledFile) -> LabelledImage:
    """Read one picture and its labels; raises DataError if either is damaged or they do not fit each other."""
    try:
        image = read_rgb(file.image)
    except ImageFileError as error:
        raise DataError(str(error)) from error
    labels = read_labels(file.labels, CAMVID_LABELS)
    require_size(file.labels, labels, image)
    return LabelledImage(file.name, image, labels)


def require_size(file: object, labels: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
    """Raises DataError where labels have not their picture's size."""
    if labels.shape != image.shape[:2]:
        raise DataError(f"The labels {file} are {size_of(labels)} but their picture is {size_of(image)}.")


def size_of(image: NDArray[np.uint8]) -> str:
    """In words: width x height."""
    return f"{image.shape[1]} x {image.shape[0]}"


def _paired_files(images: Path, labels: Path) -> tuple[LabelledFile, ...]:
    for folder in (images, labels):
        if not folder.is_dir():
            raise DataError(f"The folder {folder} does not exist.")
    pictures = pictures_in(images)
    if not pictures:
        raise DataError(f"The folder {images} holds no pictures.")
    pairs = []
    for picture, file in zip(pictures, paired_labels(pictures, labels), strict=True):
        if file is None:
            raise DataError(f"The picture {picture} has no labels: {labels / (picture.stem + '.png')} does not exist.")
        pairs.append(LabelledFile(picture.stem, picture, file))
    return tuple(pairs)

"""What the numbers in a data set's label files stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.camvid import DataError, read_ids
from lowlat_seg_ros.data.classes import CAMVID_CLASSES, CAMVID_VOID, UNLABELLED

NO_ID: Final = -1  # in LabelIds.classes: the data set has no such id


class LabelIds(NamedTuple):
    """The class of each id that a label file may hold, and in words which ids these are."""

    classes: tuple[int, ...]  # 256 of them: a class id, UNLABELLED or NO_ID
    expected: str  # ends the sentence "The labels X hold the id 40, but ..."

    @property
    def class_count(self) -> int:
        return 1 + max(given for given in self.classes if given != UNLABELLED)


def label_ids(classes: Mapping[int, int], expected: str) -> LabelIds:
    """`classes` gives the class of each known id; 255 stands for "unlabelled" in every data set."""
    known = {**classes, UNLABELLED: UNLABELLED}
    return LabelIds(tuple(known.get(stored, NO_ID) for stored in range(256)), expected)


def numbered_classes(count: int, void: int | None = None) -> LabelIds:
    """Ids that are classes already, 0 .. count - 1; `void`, where given, is unlabelled, and may be one of them."""
    classes = {stored: stored for stored in range(count)}
    in_words = f"the model has the classes 0 to {count - 1}"
    if void is None:
        return label_ids(classes, f"{in_words}, and 255 is unlabelled")
    return label_ids({**classes, void: UNLABELLED}, f"{in_words}, and {void} and 255 are unlabelled")


CAMVID_IDS: Final = label_ids(
    {**{stored: stored for stored in range(len(CAMVID_CLASSES))}, CAMVID_VOID: UNLABELLED},
    f"CamVid's ids end at {CAMVID_VOID} (void)",
)


def read_classes(path: Path, ids: LabelIds) -> NDArray[np.uint8]:
    """The class ids in a label file, (H, W) uint8, 255 where unlabelled.

    Raises:
        DataError: the file cannot be read, is no picture of one 8-bit channel, or holds an id that `ids` has not.
    """
    stored = read_ids(path)
    table = np.array(ids.classes)
    unknown = np.flatnonzero((np.bincount(stored.ravel(), minlength=256) > 0) & (table == NO_ID))
    if unknown.size:
        raise DataError(f"The labels {path} hold the id {unknown[-1]}, but {ids.expected}.")
    return table.astype(np.uint8)[stored]

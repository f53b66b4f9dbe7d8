"""Cityscapes (Cordts et al., CVPR 2016): labelled frames, and the seconds of video around each of them.

    leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png                 the labelled frame
    leftImg8bit_sequence/train/aachen/aachen_000000_000000_leftImg8bit.png ...    its 30 frames, where they were fetched
    gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png                  its labels
    gtFine/train/aachen/aachen_000000_000019_gtFine_labelTrainIds.png             the same by cityscapesscripts

A name is city_sequence_frame. The labelled frame is the 20th of its 30, so that 19 frames come before it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.label_ids import LabelIds, label_ids

CLASS_COUNT: Final = 19
FRAMES_BEFORE_THE_LABELLED: Final = 19

TRAIN_IDS: Final = label_ids({train_id: train_id for train_id in range(CLASS_COUNT)}, "Cityscapes' train ids end at 18")

# cityscapesscripts/helpers/labels.py: the ids that are trained, in the order of their train ids
_TRAINED: Final = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_LAST_ID: Final = 33
LABEL_IDS: Final = label_ids(
    {
        **dict.fromkeys(range(_LAST_ID + 1), UNLABELLED),
        **{stored: train_id for train_id, stored in enumerate(_TRAINED)},
    },
    f"Cityscapes' ids end at {_LAST_ID}",
)

IMAGE_END: Final = "_leftImg8bit.png"
TRAIN_IDS_END: Final = "_gtFine_labelTrainIds.png"
LABEL_IDS_END: Final = "_gtFine_labelIds.png"


def is_cityscapes(root: Path) -> bool:
    """Whether the folder has Cityscapes' layout."""
    return (root / "leftImg8bit").is_dir() and (root / "gtFine").is_dir()


def labelled_images(root: Path, split: str) -> list[Path]:
    """The pictures of a split, by city and name; empty where there are none."""
    return sorted((root / "leftImg8bit" / split).glob(f"*/*{IMAGE_END}"))


def frame_name(image: Path) -> str:
    """`aachen_000000_000019` of its picture."""
    return image.name.removesuffix(IMAGE_END)


def labels_of(root: Path, image: Path) -> tuple[Path, LabelIds]:
    """The label file of a picture and what its numbers mean: train ids where they were made, ids otherwise.

    Where neither file is there, the one that Cityscapes is delivered with is named.
    """
    city = image.parent
    folder = root / "gtFine" / city.parent.name / city.name
    train_ids = folder / (frame_name(image) + TRAIN_IDS_END)
    return (train_ids, TRAIN_IDS) if train_ids.is_file() else (folder / (frame_name(image) + LABEL_IDS_END), LABEL_IDS)


def earlier_images(root: Path, image: Path, count: int) -> tuple[Path, ...]:
    """The frames before a labelled one, the nearest first, at most `count`; none where the video was not fetched.

    They end at the first that is missing: frames further back would lie at another distance than their place says.
    """
    match = re.fullmatch(r"(.+_)(\d+)", frame_name(image))
    if match is None:
        return ()
    city = image.parent
    folder = root / "leftImg8bit_sequence" / city.parent.name / city.name
    digits, number = len(match[2]), int(match[2])
    found: list[Path] = []
    for distance in range(1, min(count, FRAMES_BEFORE_THE_LABELLED, number) + 1):
        earlier = folder / f"{match[1]}{number - distance:0{digits}d}{IMAGE_END}"
        if not earlier.is_file():
            break
        found.append(earlier)
    return tuple(found)

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

from lowlat_seg_ros.data.folders import CITYSCAPES_LABELS, CITYSCAPES_PICTURE, LABEL_SUFFIX
from lowlat_seg_ros.data.known_labels import LABEL_IDS, TRAIN_IDS
from lowlat_seg_ros.data.label_file import LabelFile

CLASS_COUNT: Final = 19
FRAMES_BEFORE_THE_LABELLED: Final = 19

IMAGE_END: Final = CITYSCAPES_PICTURE + ".png"
TRAIN_IDS_END, LABEL_IDS_END = (ending + LABEL_SUFFIX for ending in CITYSCAPES_LABELS[:2])


def is_cityscapes(root: Path) -> bool:
    """Whether the folder has Cityscapes' layout."""
    return (root / "leftImg8bit").is_dir() and (root / "gtFine").is_dir()


def labelled_images(root: Path, split: str) -> list[Path]:
    """The pictures of a split, by city and name; empty where there are none."""
    return sorted((root / "leftImg8bit" / split).glob(f"*/*{IMAGE_END}"))


def frame_name(image: Path) -> str:
    """`aachen_000000_000019` of its picture."""
    return image.name.removesuffix(IMAGE_END)


def labels_of(root: Path, image: Path) -> LabelFile:
    """The label file of a picture and what its numbers mean: train ids where they were made, ids otherwise.

    Where neither file is there, the one that Cityscapes is delivered with is named.
    """
    city = image.parent
    folder = root / "gtFine" / city.parent.name / city.name
    train_ids = folder / (frame_name(image) + TRAIN_IDS_END)
    if train_ids.is_file():
        return LabelFile(train_ids, TRAIN_IDS)
    return LabelFile(folder / (frame_name(image) + LABEL_IDS_END), LABEL_IDS)


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

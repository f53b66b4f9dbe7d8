"""Small data sets in the layouts that training reads, made by the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.cityscapes import IMAGE_END, LABEL_IDS_END, TRAIN_IDS_END
from lowlat_seg_ros.data.classes import CAMVID_VOID, CAR, ROAD, SKY, UNLABELLED

SIZE = (96, 72)

# Cityscapes' own table, of cityscapesscripts/helpers/labels.py: the id of each train id
ID_OF_TRAIN_ID = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


def write_picture(path: Path, rgb: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(np.asarray(rgb, np.uint8), cv2.COLOR_RGB2BGR))


def write_labels(path: Path, ids: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.asarray(ids, np.uint8))


def drive_frame(index: int, seed: int = 0, size: tuple[int, int] = SIZE) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Frame `index` of a drive: a car that goes to the right on a road below the sky. Image and labels."""
    width, height = size
    labels = np.full((height, width), ROAD, np.uint8)
    labels[: height // 2] = SKY
    left = (5 * seed + index) % (width - width // 5)
    labels[height // 2 : height // 2 + height // 5, left : left + width // 5] = CAR
    labels[-2:] = UNLABELLED
    colours = np.full((256, 3), 40, np.uint8)
    colours[[SKY, ROAD, CAR]] = [(200, 210, 230), (80, 80, 80), (180, 20 + seed, 20)]
    image = colours[labels]
    image[:2, :2] = index % 256  # every frame is a picture of its own
    return image, labels


def camvid_tree(root: Path, count: int = 4, seed: int = 0, size: tuple[int, int] = SIZE) -> Path:
    """CamVid's layout: `count` frames a second apart, named like two drives."""
    for index in range(count):
        image, labels = drive_frame(15 * index, seed, size)
        name = f"{'0001TP' if index < count // 2 else '0006R0'}_{index * 30:06d}.png"
        write_picture(root / "train" / name, image)
        write_labels(root / "trainannot" / name, np.where(labels == UNLABELLED, CAMVID_VOID, labels))
    return root


def recorded_drive(root: Path, drive: str, count: int, seed: int, labelled_every: int = 1) -> Path:
    """frames/DRIVE/000000.png … and labels/DRIVE/ for some of them: what a camera's recording looks like."""
    for index in range(count):
        image, labels = drive_frame(index, seed)
        write_picture(root / "frames" / drive / f"{index:06d}.png", image)
        if index % labelled_every == labelled_every - 1:
            write_labels(root / "labels" / drive / f"{index:06d}.png", labels)
    return root


def cityscapes_tree(
    root: Path, split: str = "train", with_sequences: bool = True, with_train_ids: bool = False
) -> Path:
    """Cityscapes' layout: two cities with a snippet each, the second numbered as Hanover's are."""
    for seed, (city, sequence, labelled) in enumerate([("aachen", "000000", 19), ("hanover", "000000", 26014)]):
        for frame_number in range(30):
            name = f"{city}_{sequence}_{labelled - 19 + frame_number:06d}"
            image, _ = drive_frame(frame_number, seed)
            if with_sequences:
                write_picture(root / "leftImg8bit_sequence" / split / city / (name + IMAGE_END), image)
            if frame_number == 19:
                write_picture(root / "leftImg8bit" / split / city / (name + IMAGE_END), image)
                write_labels(root / "gtFine" / split / city / (name + LABEL_IDS_END), cityscapes_ids())
                if with_train_ids:
                    write_labels(root / "gtFine" / split / city / (name + TRAIN_IDS_END), cityscapes_train_ids())
    return root


def cityscapes_train_ids() -> NDArray[np.uint8]:
    """Stripes of all 19 train ids and of 255."""
    stripes = np.arange(SIZE[0]) * 20 // SIZE[0]
    return np.broadcast_to(np.where(stripes == 19, 255, stripes), (SIZE[1], SIZE[0])).astype(np.uint8)


def cityscapes_ids() -> NDArray[np.uint8]:
    """The same as ids; what is not trained is "static" (4)."""
    table = np.full(256, 4, np.uint8)
    table[: len(ID_OF_TRAIN_ID)] = ID_OF_TRAIN_ID
    return table[cityscapes_train_ids()]

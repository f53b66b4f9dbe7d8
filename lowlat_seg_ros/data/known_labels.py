"""The label files of well-known data sets: CamVid's, Cityscapes' and Pascal VOC's, as ids and as colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from lowlat_seg_ros.data.classes import CAMVID_CLASSES, CAMVID_COLOURS, CAMVID_VOID, UNLABELLED
from lowlat_seg_ros.data.label_classes import RGB, LabelClasses, label_classes

# CamVid's label_colors.txt, in SegNet's groups of its 32 classes (as MathWorks' camvidPixelLabelIDs lists them).
_CAMVID_GROUPS: Final[Mapping[str, tuple[RGB, ...]]] = {
    "Sky": ((128, 128, 128),),
    "Building": ((0, 128, 64), (128, 0, 0), (64, 192, 0), (64, 0, 64), (192, 0, 128)),
    "Pole": ((192, 192, 128), (0, 0, 64)),
    "Road": ((128, 64, 128), (128, 0, 192), (192, 0, 64)),
    "Pavement": ((0, 0, 192), (64, 192, 128), (128, 128, 192)),
    "Tree": ((128, 128, 0), (192, 192, 0)),
    "SignSymbol": ((192, 128, 128), (128, 128, 64), (0, 64, 64)),
    "Fence": ((64, 64, 128),),
    "Car": ((64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)),
    "Pedestrian": ((64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)),
    "Bicyclist": ((0, 128, 192), (192, 0, 192)),
}
CAMVID_LABELS: Final = label_classes(
    {**{stored: stored for stored in range(len(CAMVID_CLASSES))}, CAMVID_VOID: UNLABELLED},
    f"CamVid's ids end at {CAMVID_VOID} (void)",
    CAMVID_CLASSES,
    {
        (0, 0, 0): UNLABELLED,
        **{colour: CAMVID_CLASSES.index(name) for name, colours in _CAMVID_GROUPS.items() for colour in colours},
        **{colour: number for number, colour in enumerate(CAMVID_COLOURS)},  # SegNet's, whose pavement is another blue
    },
)

# cityscapesscripts/helpers/labels.py: name, id and colour of the classes that are trained, by their train ids
_CITYSCAPES: Final[tuple[tuple[str, int, RGB], ...]] = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
# likewise of those that are not: unlabelled and static, dynamic, ground, parking, rail track, guard rail, bridge,
# tunnel, caravan, trailer
_CITYSCAPES_IGNORED: Final[tuple[RGB, ...]] = (
    (0, 0, 0), (111, 74, 0), (81, 0, 81), (250, 170, 160), (230, 150, 140), (180, 165, 180), (150, 100, 100),
    (150, 120, 90), (0, 0, 90), (0, 0, 110),
)  # fmt: skip
_CITYSCAPES_NAMES: Final = tuple(name for name, _, _ in _CITYSCAPES)
_CITYSCAPES_COLOURS: Final[Mapping[RGB, int]] = {
    **dict.fromkeys(_CITYSCAPES_IGNORED, UNLABELLED),
    **{colour: train_id for train_id, (_, _, colour) in enumerate(_CITYSCAPES)},
}
_LAST_ID: Final = 33

TRAIN_IDS: Final = label_classes(
    {train_id: train_id for train_id in range(len(_CITYSCAPES))},
    "Cityscapes' train ids end at 18",
    _CITYSCAPES_NAMES,
    _CITYSCAPES_COLOURS,
    has_void_255=True,
    numbering="labelTrainIds",
)
LABEL_IDS: Final = label_classes(
    {
        **dict.fromkeys(range(_LAST_ID + 1), UNLABELLED),
        **{stored: train_id for train_id, (_, stored, _) in enumerate(_CITYSCAPES)},
    },
    f"Cityscapes' ids end at {_LAST_ID}",
    _CITYSCAPES_NAMES,
    _CITYSCAPES_COLOURS,
    has_void_255=True,
    numbering="labelIds",
)

_LABEL_ID_OF: Final = {train_id: stored for train_id, (_, stored, _) in enumerate(_CITYSCAPES)}


def as_named(file_name: str, classes: LabelClasses) -> LabelClasses:
    """Cityscapes' classes by the numbers that a file holds by its name, `X_labelTrainIds.png` or `X_labelIds.png`."""
    numbering = classes.numbering or (TRAIN_IDS.numbering if classes.names == TRAIN_IDS.names else "")
    if numbering == LABEL_IDS.numbering and file_name.endswith(f"_{TRAIN_IDS.numbering}.png"):
        ids = {train_id: classes.ids[stored] for train_id, stored in _LABEL_ID_OF.items()}
        return replace(classes, ids={**ids, UNLABELLED: UNLABELLED}, expected=TRAIN_IDS.expected)
    if numbering == TRAIN_IDS.numbering and file_name.endswith(f"_{LABEL_IDS.numbering}.png"):
        ids = {stored: classes.ids[train_id] for stored, train_id in LABEL_IDS.ids.items()}
        return replace(classes, ids=ids, expected=LABEL_IDS.expected)
    return classes


_VOC_CLASSES: Final = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def _voc_colour(number: int) -> RGB:
    """VOCdevkit's VOClabelcolormap: the bits of the number, spread over the upper bits of the three channels."""
    red = green = blue = 0
    for bit in range(8):
        red |= (number >> 3 * bit & 1) << 7 - bit
        green |= (number >> 3 * bit + 1 & 1) << 7 - bit
        blue |= (number >> 3 * bit + 2 & 1) << 7 - bit
    return red, green, blue


VOC_LABELS: Final = label_classes(
    {stored: stored for stored in range(len(_VOC_CLASSES))},
    "Pascal VOC's ids end at 20, and 255 is the border",
    _VOC_CLASSES,
    {_voc_colour(255): UNLABELLED, **{_voc_colour(number): number for number in range(len(_VOC_CLASSES))}},
    has_void_255=True,
)

KNOWN_LABELS: Final[Mapping[str, LabelClasses]] = {
    "camvid": CAMVID_LABELS,
    "cityscapes": LABEL_IDS,
    "cityscapes-train-ids": TRAIN_IDS,
    "voc": VOC_LABELS,
}
"""What `--classes` takes beside a file."""

"""The eleven classes of CamVid (Brostow et al., PRL 2009; SegNet's grouping) and the label of what has none."""

from __future__ import annotations

from typing import Final

CAMVID_CLASSES: Final[tuple[str, ...]] = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
)
"""Class names; the position in the tuple is the class id."""

CAMVID_COLOURS: Final[tuple[tuple[int, int, int], ...]] = (
    (112, 176, 230),
    (140, 110, 95),
    (215, 215, 190),
    (128, 64, 128),
    (200, 140, 205),
    (70, 140, 60),
    (255, 220, 40),
    (95, 115, 140),
    (30, 110, 255),
    (255, 35, 65),
    (255, 140, 0),
)
"""The colours that these classes are shown in, RGB, in the order of CAMVID_CLASSES: road users and signs stand out,
which the customary colours bury (their pedestrian is (64, 64, 0))."""

CAMVID_VOID: Final = 11
"""Void as CamVid's label files write it; everywhere else it is UNLABELLED."""

UNLABELLED: Final = 255
"""The label of a pixel that has none; it is never scored and never coloured."""

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN_SYMBOL, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(len(CAMVID_CLASSES))

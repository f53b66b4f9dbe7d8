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
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (60, 40, 222),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
)
"""The customary colours of these classes, RGB, in the order of CAMVID_CLASSES."""

CAMVID_VOID: Final = 11
"""Void as CamVid's label files write it; everywhere else it is UNLABELLED."""

UNLABELLED: Final = 255
"""The label of a pixel that has none; it is never scored and never coloured."""

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN_SYMBOL, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(len(CAMVID_CLASSES))

"""What int8 takes to know of a network of ours: the range of each convolution's input, seen on real pictures.

It lies beside the weights as ``int8.json``, a few kilobytes for any input size, and ``lowlat-seg export --calibrate``
writes it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.data.documents import DocumentError, is_number, read_json
from lowlat_seg_ros.fast.pictures import Preprocessor
from lowlat_seg_ros.models.layers import grid_of
from lowlat_seg_ros.runtime.ranges import Range, Ranges, RangesSeen

if TYPE_CHECKING:
    from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork

logger = logging.getLogger(__name__)

CALIBRATION_FILE: Final = "int8.json"
FORMAT: Final = "lowlat_seg_ros calibration"
MOST_BYTES: Final = 1 << 20


class Calibration(NamedTuple):
    """Of both tracks, in the order in which their convolutions run."""

    low: Ranges
    high: Ranges


@torch.no_grad()
def calibrate(network: SegmentationNetwork, pictures: Iterable[NDArray[np.uint8]]) -> Calibration:
    """What a network that is ready for inference, in torch, sees in pictures (H, W, 3) uint8 RGB of any sizes."""
    preprocess = Preprocessor(network.config.input_size, torch.device("cpu"))
    tracks, low_seen, high_seen = network.tracks, RangesSeen(), RangesSeen()
    for picture in pictures:
        image = preprocess(picture)
        low_input, grid = tracks.low_input(image).float(), grid_of(image, tracks.stride)
        low_seen.look(partial(tracks.low_of, grid=grid), low_input)
        high_seen.look(partial(tracks.high_of, grid=grid), _high_input(network, image, low_input))
    return Calibration(low_seen.ranges(), high_seen.ranges())


def _high_input(network: SegmentationNetwork, image: Tensor, low_input: Tensor) -> Tensor:
    tracks = network.tracks
    low = tracks.low_of(low_input, grid_of(image, tracks.stride)) if tracks.high_needs_low else None
    return tracks.high_input(image, low).float()


def calibration_bytes(calibration: Calibration, weights_file: Path) -> bytes:
    """The file's content; it is of these weights alone."""
    tracks = {name: [list(pair) for pair in ranges] for name, ranges in calibration._asdict().items()}
    return (json.dumps({"format": FORMAT, "version": 1, "weights": hash_of(weights_file), **tracks}) + "\n").encode()


def read_calibration(directory: Path, weights_file: Path) -> Calibration | None:
    """None where there is none of these weights, which is said where there is one of others.

    Raises:
        DocumentError: it is no calibration.
    """
    file = directory / CALIBRATION_FILE
    if not file.is_file():
        return None
    found = read_json(file, MOST_BYTES)
    if not isinstance(found, dict) or (found.get("format"), found.get("version")) != (FORMAT, 1):
        raise DocumentError(f"{file} is no {FORMAT}, version 1")
    if found.get("weights") != hash_of(weights_file):
        logger.warning("%s is of other weights than %s, and is not used", file, weights_file.name)
        return None
    return Calibration(*(_checked(found.get(name), f"{name} of {file}") for name in Calibration._fields))


def _checked(ranges: Any, source: str) -> Ranges:
    if not isinstance(ranges, list) or not all(_is_range(pair) for pair in ranges):
        raise DocumentError(f"{source} is no list of ranges; expected pairs of finite numbers, the lower one first")
    return tuple(Range(float(low), float(high)) for low, high in ranges)


def _is_range(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(is_number(end) for end in pair) and pair[0] < pair[1]


def hash_of(file: Path) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()

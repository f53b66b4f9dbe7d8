"""Key frame and later frame, from video where there is video, otherwise synthesised from one labelled still.

CamVid's training labels are stills taken a second apart, too far for propagation to bridge. So the still serves as the
later frame, whose labels are exact, and the earlier frames are made from it as a camera driving through that street
would have seen them: the road and the house fronts approach, the sky stays, the camera turns a little, and everything
that can move moves on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.classes import CAMVID_CLASSES, UNLABELLED
from lowlat_seg_ros.data.frame_source import read_frame
from lowlat_seg_ros.training.augmentation import Labels, Picture, noisy, random_noise, random_tint, scale
from lowlat_seg_ros.training.frames import LONGEST_DISTANCE, TrainingPicture, resized

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]  # (H, W)

SHORTEST_DISTANCE = 2  # frames from the key frame to the later one; with LONGEST_DISTANCE the paper's range of l
MOVABLE_NAMES = (
    {"car", "truck", "bus", "train", "motorcycle", "bicycle", "van", "trailer", "caravan", "vehicle", "tram"}
    | {"person", "pedestrian", "rider", "bicyclist", "cyclist", "motorcyclist", "animal"}
)  # fmt: skip
SKY_NAME = "sky"
SMALLEST_OBJECT = 80  # pixels; smaller ones move with the street
MOST_OBJECTS = 8
INPAINTING_SHRINKS = 4  # what an object hid is guessed on a picture this much smaller, which is blurred but quick
CLOSEST_APPROACH = 0.6  # of a place's distance, the most that is driven between two frames


class Pair(NamedTuple):
    """Frames of one size, in the order of time; ``labels`` are those of ``later``."""

    key: Picture
    middle: Picture  # between the two, halfway
    later: Picture
    labels: Labels


class Motions(NamedTuple):
    """Which classes move otherwise than the street: ids of the sky, which only turns, and of what moves by itself."""

    sky: tuple[int, ...]
    movable: tuple[int, ...]


class Drive(NamedTuple):
    """How camera and street move between the first and the last frame of a pair."""

    vanishing_point: tuple[float, float]  # x, y in pixels
    approach: float  # driven distance in camera heights, times the focal length in pixels
    street_width: float  # from the camera to the house fronts, in camera heights
    turn: tuple[float, float]  # shift of everything by yaw and pitch, in pixels


class MovingObject(NamedTuple):
    """Something that moves by itself: where it is in the last frame, and how it came there."""

    mask: Mask
    centre: tuple[float, float]
    shift: tuple[float, float]  # pixels since the first frame
    growth: float  # enlargement since the first frame


def motions_of(classes: Sequence[str]) -> Motions:
    """The motions of a model's classes, told by their names, whatever the case."""
    names = [name.lower() for name in classes]
    return Motions(
        sky=tuple(index for index, name in enumerate(names) if name == SKY_NAME),
        movable=tuple(index for index, name in enumerate(names) if name in MOVABLE_NAMES),
    )


CAMVID_MOTIONS = motions_of(CAMVID_CLASSES)


def filmed_pair(
    picture: TrainingPicture, size: tuple[int, int], scales: tuple[float, float], random: np.random.Generator
) -> Pair:
    """A pair of ``size`` (width, height), 2 to 10 frames apart, of what the camera saw before the picture.

    Raises:
        DataError: an earlier frame cannot be read.
    """
    distance = int(random.integers(SHORTEST_DISTANCE, min(LONGEST_DISTANCE, len(picture.earlier)) + 1))
    picture_size = picture.image.shape[1], picture.image.shape[0]
    key, middle = (resized(read_frame(picture.earlier[back - 1]), picture_size) for back in (distance, distance // 2))
    factor, mirrored = float(random.uniform(*scales)), random.random() < 0.5
    tint_seed = int(random.integers(2**32))
    views = []
    for frame in (key, middle, picture.image):
        view, labels = scale(frame, picture.labels, factor)
        if mirrored:
            view, labels = np.ascontiguousarray(view[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
        views.append(random_tint(view, np.random.default_rng(tint_seed)))  # the same for all three
    window = crop_window(labels.shape, size, random)
    key, middle, later = (fitted(view[window], size) for view in views)
    return Pair(key, middle, later, fitted_labels(labels[window], size))


def synthesise_pair(
    image: Picture,
    labels: Labels,
    size: tuple[int, int],
    scales: tuple[float, float],
    random: np.random.Generator,
    motions: Motions = CAMVID_MOTIONS,
) -> Pair:
    """A pair of ``size`` (width, height), 2 to 10 frames apart, at a random speed, made from a labelled still."""
    image, labels = scale(image, labels, float(random.uniform(*scales)))
    if random.random() < 0.5:
        image, labels = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
    image = random_tint(image, random)
    frames_apart = int(random.integers(SHORTEST_DISTANCE, LONGEST_DISTANCE + 1))
    drive = random_drive(labels.shape, frames_apart, random)
    objects = random_objects(labels, frames_apart, random, motions)
    is_sky = np.isin(labels, motions.sky)
    street = without_objects(image, objects)
    key = earlier_frame(image, is_sky, street, drive, objects, 1.0)
    middle = earlier_frame(image, is_sky, street, drive, objects, 0.5)
    window, noise = crop_window(labels.shape, size, random), random_noise(random)
    key, middle, later = (noisy(fitted(frame[window], size), noise, random) for frame in (key, middle, image))
    return Pair(key, middle, later, fitted_labels(labels[window], size))


def random_drive(shape: tuple[int, ...], frames_apart: int, random: np.random.Generator) -> Drive:
    """Speeds from standing to 15 m/s at 15 frames a second, seen from a camera 1.3 m above the road."""
    height, width = shape
    metres_a_frame = 0.0 if random.random() < 0.15 else random.uniform(0.05, 1.0)
    focal_length = width * random.uniform(0.8, 1.2)
    yaw, pitch = random.normal(0, 0.003), random.normal(0, 0.0012)  # radians a frame
    return Drive(
        vanishing_point=(width * random.uniform(0.4, 0.6), height * random.uniform(0.38, 0.55)),
        approach=metres_a_frame * frames_apart / 1.3 / focal_length,
        street_width=random.uniform(3.0, 8.0),
        turn=(yaw * focal_length * frames_apart, pitch * focal_length * frames_apart**0.5),
    )


def random_objects(
    labels: Labels, frames_apart: int, random: np.random.Generator, motions: Motions
) -> list[MovingObject]:
    """The largest connected movable things of the labels, each with a motion of its own."""
    count, components, stats, centres = cv2.connectedComponentsWithStats(
        np.isin(labels, motions.movable).astype(np.uint8)
    )
    by_area = sorted(range(1, count), key=lambda index: -int(stats[index, cv2.CC_STAT_AREA]))
    return [
        MovingObject(
            mask=components == index,
            centre=(float(centres[index][0]), float(centres[index][1])),
            shift=(float(random.normal(0, 1.5)) * frames_apart, float(random.normal(0, 0.3)) * frames_apart),
            growth=float(np.exp(random.normal(0.01, 0.02) * frames_apart)),
        )
        for index in by_area[:MOST_OBJECTS]
        if stats[index, cv2.CC_STAT_AREA] >= SMALLEST_OBJECT
    ]


def without_objects(image: Picture, objects: list[MovingObject]) -> Picture:
    """The picture with its moving objects painted over by their surroundings."""
    if not objects:
        return image
    hidden = np.logical_or.reduce([thing.mask for thing in objects]).astype(np.uint8)
    hidden = cv2.dilate(hidden, np.ones((5, 5), np.uint8))
    height, width = hidden.shape
    small_size = (width // INPAINTING_SHRINKS, height // INPAINTING_SHRINKS)
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA)
    small_hidden = (cv2.resize(hidden, small_size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    guessed = cv2.resize(cv2.inpaint(small, small_hidden, 3, cv2.INPAINT_TELEA), (width, height))
    return np.where(hidden[..., None] > 0, guessed, image).astype(np.uint8)


def earlier_frame(
    image: Picture, is_sky: Mask, street: Picture, drive: Drive, objects: list[MovingObject], share: float
) -> Picture:
    """What the camera saw ``share`` of the pair's time earlier: each pixel fetched from where it went."""
    x, y = street_destinations(is_sky, drive, share)
    frame = np.asarray(cv2.remap(street, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    for thing in objects:
        paint_object(frame, image, thing, share)
    return frame


def street_destinations(is_sky: Mask, drive: Drive, share: float) -> tuple[Field, Field]:
    """For each pixel of the earlier frame, the x and y at which the later frame shows the same place.

    The street is a channel: a road one camera height below, house fronts to both sides. A place at distance Z comes
    nearer by the driven d, and so moves away from the vanishing point by the factor Z / (Z - d); the sky only turns.
    """
    height, width = is_sky.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    dx, dy = columns - drive.vanishing_point[0], rows - drive.vanishing_point[1]
    nearness = np.maximum(np.maximum(dy, 0), np.abs(dx) / drive.street_width)  # focal length / Z, in camera heights
    nearness[is_sky] = 0
    factor = 1 / (1 - np.minimum(nearness * drive.approach * share, CLOSEST_APPROACH))
    x = drive.vanishing_point[0] + dx * factor + drive.turn[0] * share
    y = drive.vanishing_point[1] + dy * factor + drive.turn[1] * share
    return x.astype(np.float32), y.astype(np.float32)


def paint_object(frame: Picture, image: Picture, thing: MovingObject, share: float) -> None:
    """Paint the object into the earlier frame, in place, where it stood then and as large as it was."""
    growth = 1 + (thing.growth - 1) * share
    centre_x, centre_y = thing.centre
    then_x, then_y = centre_x - thing.shift[0] * share, centre_y - thing.shift[1] * share
    # The earlier frame's p shows the later frame's centre + (p - then) * growth.
    mapping = np.array([[growth, 0, centre_x - then_x * growth], [0, growth, centre_y - then_y * growth]])
    size = (frame.shape[1], frame.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(image, mapping, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    where = cv2.warpAffine(thing.mask.astype(np.uint8), mapping, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    np.copyto(frame, seen.astype(np.uint8), where=where[..., None] > 0)


def crop_window(shape: tuple[int, ...], size: tuple[int, int], random: np.random.Generator) -> tuple[slice, slice]:
    """A window of at most ``size`` (width, height) within a picture of ``shape`` (height, width)."""
    width, height = min(size[0], shape[1]), min(size[1], shape[0])
    top = int(random.integers(0, shape[0] - height + 1))
    left = int(random.integers(0, shape[1] - width + 1))
    return slice(top, top + height), slice(left, left + width)


def fitted(frame: Picture, size: tuple[int, int]) -> Picture:
    """Continued by its border to ``size`` where it is smaller."""
    below, right = size[1] - frame.shape[0], size[0] - frame.shape[1]
    return np.asarray(cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)


def fitted_labels(labels: Labels, size: tuple[int, int]) -> Labels:
    below, right = size[1] - labels.shape[0], size[0] - labels.shape[1]
    return np.pad(labels, ((0, below), (0, right)), constant_values=UNLABELLED)

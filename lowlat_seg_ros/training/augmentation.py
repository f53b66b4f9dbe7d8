"""Changing a labelled picture at random. Pictures are (H, W, 3) uint8 RGB, labels (H, W) uint8."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.classes import UNLABELLED

Picture = NDArray[np.uint8]
Labels = NDArray[np.uint8]

CLOUDED_SHARE = 0.6  # of the pictures
LARGEST_CLOUD_CONTRAST = 45.0  # grey levels
CLOUD_OCTAVES = 5
NOISY_SHARE = 0.5  # of the pictures
LARGEST_NOISE = 7.0  # grey levels, standard deviation


def random_view(
    image: Picture,
    labels: Labels,
    size: tuple[int, int],
    scales: tuple[float, float],
    random: np.random.Generator,
    sky: Sequence[int] = (),
) -> tuple[Picture, Labels]:
    """A window of ``size`` (width, height) as another hour, weather and camera would show it.

    ``sky`` has the class ids that clouds belong to.
    """
    image, labels = scale(image, labels, float(np.exp(random.uniform(*np.log(scales)))))
    image, labels = random_crop(image, labels, size, random)
    if random.random() < 0.5:
        image, labels = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
    image = random_clouds(image, np.isin(labels, sky), random)
    return noisy(random_tint(image, random), random_noise(random), random), labels


def scale(image: Picture, labels: Labels, factor: float) -> tuple[Picture, Labels]:
    """Both enlarged by ``factor``; labels by their nearest neighbour, so that ids are never blended."""
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(image, None, fx=factor, fy=factor, interpolation=interpolation)
    resized_labels = cv2.resize(labels, (resized.shape[1], resized.shape[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, np.uint8), np.asarray(resized_labels, np.uint8)


def random_crop(
    image: Picture, labels: Labels, size: tuple[int, int], random: np.random.Generator
) -> tuple[Picture, Labels]:
    """A window of ``size``; where the picture is smaller it is continued by its border, unlabelled."""
    width, height = size
    missing_right, missing_below = max(0, width - image.shape[1]), max(0, height - image.shape[0])
    if missing_right or missing_below:
        image = np.asarray(
            cv2.copyMakeBorder(image, 0, missing_below, 0, missing_right, cv2.BORDER_REPLICATE), np.uint8
        )
        labels = np.pad(labels, ((0, missing_below), (0, missing_right)), constant_values=UNLABELLED)
    left = int(random.integers(0, image.shape[1] - width + 1))
    top = int(random.integers(0, image.shape[0] - height + 1))
    window = slice(top, top + height), slice(left, left + width)
    return image[window], labels[window]


def random_clouds(image: Picture, is_sky: NDArray[np.bool_], random: np.random.Generator) -> Picture:
    """Clouds in some skies: where nearly all skies are blank, whatever has a texture is soon taken for a house."""
    if random.random() >= CLOUDED_SHARE or not is_sky.any():
        return image
    height, width = is_sky.shape
    clouds = np.zeros((height, width), np.float32)
    rows, columns = int(random.integers(1, 5)), int(random.integers(1, 4))
    for octave in range(CLOUD_OCTAVES):
        grid = random.normal(0, 0.6**octave, (1 + (rows << octave), 1 + (columns << octave))).astype(np.float32)
        clouds += np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    contrast = random.uniform(0, LARGEST_CLOUD_CONTRAST) * random.uniform(0.5, 1.0, 3)  # of red, green and blue
    clouded = image + clouds[..., None] * contrast.astype(np.float32)
    return np.where(is_sky[..., None], clouded.clip(0, 255), image).astype(np.uint8)


def random_tint(image: Picture, random: np.random.Generator) -> Picture:
    """Another brightness, contrast, colour balance and gamma, as another hour or another camera would give."""
    gain = random.uniform(0.7, 1.3) * random.uniform(0.92, 1.08, 3)
    offset = random.uniform(-20, 20)
    gamma = float(np.exp(random.uniform(-0.25, 0.25)))
    levels = (np.arange(256, dtype=np.float64) / 255) ** gamma * 255
    tables = np.clip(levels[:, None] * gain + offset, 0, 255).astype(np.uint8)
    tinted = np.asarray(cv2.LUT(image, tables[None]), np.uint8)
    return _more_or_less_colour(tinted, float(random.uniform(0.5, 1.3)))


def random_noise(random: np.random.Generator) -> float:
    """How noisy a camera is, a standard deviation in grey levels: 0 for some, as of a blank or compressed picture."""
    return 0.0 if random.random() >= NOISY_SHARE else float(random.uniform(0, LARGEST_NOISE))


def noisy(image: Picture, deviation: float, random: np.random.Generator) -> Picture:
    """With a sensor's noise, which is another one in every frame."""
    if deviation == 0:
        return image
    noise = random.standard_normal(image.shape, dtype=np.float32) * np.float32(deviation)
    return (image + noise).clip(0, 255).astype(np.uint8)


def _more_or_less_colour(image: Picture, saturation: float) -> Picture:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(image, saturation, grey, 1 - saturation, 0), np.uint8)

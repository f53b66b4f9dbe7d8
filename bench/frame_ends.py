"""What the two ends of the fast track cost on this CPU: normalising a frame, and labels from logits.

    .venv/bin/python bench/frame_ends.py

Every variant is compared with the one in use, then timed on one thread. CPU time, so that whatever else the
machine does shows as little as can be.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.labelling import label_image, label_in_torch
from lowlat_seg_ros.models.normalising import Normalising, scaled

WIDTH, HEIGHT, CLASSES, STRIDE = 480, 360, 11, 8
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
RUNS = 40
TOLERANCE = 1e-5  # of values that differ by rounding


def upsampled(logits: Tensor) -> Tensor:
    return functional.interpolate(logits, (HEIGHT, WIDTH), mode="bilinear", align_corners=False)


def channels_last(logits: Tensor) -> Tensor:
    return logits.contiguous(memory_format=torch.channels_last)


def numpy_maximum(logits: Tensor) -> NDArray[np.uint8]:
    planes = upsampled(logits)[0].numpy()
    largest, labels = planes[0].copy(), np.zeros((HEIGHT, WIDTH), np.uint8)
    for class_id in range(1, CLASSES):
        np.copyto(labels, class_id, where=planes[class_id] > largest)
        np.maximum(largest, planes[class_id], out=largest)
    return labels


def opencv_maximum(logits: Tensor) -> NDArray[np.uint8]:
    planes = upsampled(logits)[0].numpy()
    largest, labels = planes[0], np.zeros((HEIGHT, WIDTH), np.uint8)
    for class_id in range(1, CLASSES):
        is_larger = cv2.compare(planes[class_id], largest, cv2.CMP_GT)
        cv2.copyTo(np.full((HEIGHT, WIDTH), class_id, np.uint8), is_larger, labels)
        largest = cv2.max(planes[class_id], largest)
    return labels


def opencv_resize(logits: Tensor) -> NDArray[np.int64]:
    planes = np.ascontiguousarray(logits[0].permute(1, 2, 0).numpy())
    return np.asarray(cv2.resize(planes, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)).argmax(2)


LABELLING: dict[str, Callable[[Tensor], Any]] = {
    "in use": lambda logits: label_image(logits, (WIDTH, HEIGHT), (WIDTH, HEIGHT)),
    "torch max (label_in_torch)": lambda logits: label_in_torch(logits, (WIDTH, HEIGHT)),
    "torch argmax": lambda logits: upsampled(logits).argmax(1)[0],
    "NumPy maximum, class by class": numpy_maximum,
    "torch argmax, channels last": lambda logits: upsampled(channels_last(logits)).argmax(1)[0],
    "torch max, channels last": lambda logits: upsampled(channels_last(logits)).permute(0, 2, 3, 1).max(3)[1][0],
    "NumPy argmax": lambda logits: upsampled(logits)[0].numpy().argmax(0),
    "OpenCV compare and copy": opencv_maximum,
    "OpenCV resize, NumPy argmax": opencv_resize,
}

SCALE = 0.5  # at which Sl looks at a picture
in_use = Normalising(MEAN, STD)
mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
table = ((np.arange(256, dtype=np.float64)[:, None] - MEAN) / STD).astype(np.float32).reshape(1, 256, 3)


def as_image(picture: NDArray[Any]) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


NORMALISING: dict[str, Callable[[Tensor], Any]] = {
    "in use": lambda image: in_use(image, SCALE),
    "torch, then halved": lambda image: scaled((image.float() - mean) / std, SCALE),
    "halved, then torch": lambda image: (scaled(image.float(), SCALE) - mean) / std,
    "OpenCV table, then halved": lambda image: scaled(
        as_image(cv2.LUT(image[0].permute(1, 2, 0).numpy(), table)), SCALE
    ),
}


def compare(title: str, variants: dict[str, Callable[[Any], Any]], argument: object) -> None:
    print(title)
    expected = np.asarray(variants["in use"](argument))
    for name, variant in variants.items():
        differing = np.mean(np.abs(np.asarray(variant(argument), np.float64) - expected) > TOLERANCE)
        print(f"  {name:30s} {median_milliseconds(variant, argument):6.2f} ms   {differing:.3%} of values differ")


def median_milliseconds(variant: Callable[[Any], Any], argument: object) -> float:
    times = []
    for _ in range(RUNS):
        start = time.process_time_ns()
        variant(argument)
        times.append((time.process_time_ns() - start) / 1e6)
    return statistics.median(times)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    coarse = functional.interpolate(torch.randn(1, CLASSES, 6, 8) * 3, (HEIGHT // STRIDE, WIDTH // STRIDE))
    logits = coarse + 0.3 * torch.randn_like(coarse)
    image = channels_last(torch.randint(0, 256, (1, 3, HEIGHT, WIDTH), dtype=torch.uint8))
    with torch.inference_mode():
        compare(f"labels, {CLASSES} classes, {WIDTH}x{HEIGHT}, logits channels last", LABELLING, channels_last(logits))
        compare(f"uint8 to normalised float at half the size, {WIDTH}x{HEIGHT}", NORMALISING, image)


if __name__ == "__main__":
    main()

"""What the two ends of the fast track cost on this CPU: normalising a frame, and labels from logits.

    .venv/bin/python bench/frame_ends.py

Every variant is compared bit for bit with the one in use, then timed on one thread. CPU time, so that whatever else the
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

from lowlat_seg_ros.stream.labelling import label_image, label_in_torch
from lowlat_seg_ros.stream.preprocessing import Preprocessor

WIDTH, HEIGHT, CLASSES, STRIDE = 480, 360, 11, 8
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
RUNS = 40


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

Frame = NDArray[np.uint8]
in_use = Preprocessor((WIDTH, HEIGHT), MEAN, STD, torch.device("cpu"))
mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
mean_hwc, std_hwc = np.array(MEAN, np.float32), np.array(STD, np.float32)

NORMALISING: dict[str, Callable[[Frame], Any]] = {
    "in use": lambda frame: in_use(frame),
    "torch": lambda frame: torch.from_numpy(frame).permute(2, 0, 1)[None].float().sub_(mean).div_(std),
    "NumPy": lambda frame: ((frame - mean_hwc) / std_hwc).transpose(2, 0, 1)[None],
}


def compare(title: str, variants: dict[str, Callable[[Any], Any]], argument: object) -> None:
    print(title)
    expected = np.asarray(variants["in use"](argument))
    for name, variant in variants.items():
        differing = np.mean(np.asarray(variant(argument)) != expected)
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
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    with torch.inference_mode():
        compare(f"labels, {CLASSES} classes, {WIDTH}x{HEIGHT}, logits channels last", LABELLING, channels_last(logits))
        compare(f"uint8 HWC to normalised float, {WIDTH}x{HEIGHT}", NORMALISING, frame)


if __name__ == "__main__":
    main()

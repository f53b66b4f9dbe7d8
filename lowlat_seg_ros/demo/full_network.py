"""What a user would run without the two tracks: the whole network on every frame."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lowlat_seg_ros.data.clips import Clip
from lowlat_seg_ros.fast.pictures import Preprocessor, frame_size, label_image
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork

MEASURED_FRAMES = 20
WARM_UP_FRAMES = 3


def full_network_milliseconds(
    network: SegmentationNetwork, device: torch.device, clip: Clip, thread_choices: Iterable[int]
) -> tuple[int, list[float]]:
    """Milliseconds from a frame to its labels, Sl, Sh and classifier in a row, of some frames of the clip.

    It is measured with each number of CPU threads and gets the one that suits it best, which is returned, too.
    """
    frames = list(itertools.islice(clip.frames(), WARM_UP_FRAMES + MEASURED_FRAMES))
    measured = {threads: _measure(network, device, frames, threads) for threads in thread_choices}
    best = min(measured, key=lambda threads: statistics.median(measured[threads]))
    return best, measured[best]


def _measure(
    network: SegmentationNetwork, device: torch.device, frames: list[NDArray[np.uint8]], threads: int
) -> list[float]:
    torch.set_num_threads(threads)
    size = network.config.input_size
    preprocess = Preprocessor(size, device)
    milliseconds = []
    for frame in tqdm(frames, unit="frame", desc=f"full network, {threads} threads", disable=None):
        entry = time.perf_counter()
        with torch.inference_mode():
            label_image(network(preprocess(frame)), size, frame_size(frame))
        milliseconds.append((time.perf_counter() - entry) * 1000)
    return milliseconds[min(WARM_UP_FRAMES, len(frames) - 1) :]

"""What a user would run without the two tracks: the whole network on every frame."""

from __future__ import annotations

import itertools
import time

import torch
from tqdm import tqdm

from lowlat_seg_ros.data.clips import Clip
from lowlat_seg_ros.network.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.labelling import label_image
from lowlat_seg_ros.stream.preprocessing import Preprocessor

MEASURED_FRAMES = 30
WARM_UP_FRAMES = 3


def full_network_milliseconds(network: SegmentationNetwork, device: torch.device, clip: Clip) -> list[float]:
    """Milliseconds from a frame to its labels, Sl, Sh and classifier in a row, of some frames of the clip."""
    size = network.config.input_size
    preprocess = Preprocessor(size, network.config.mean, network.config.std, device)
    measured = []
    frames = itertools.islice(clip.frames(), WARM_UP_FRAMES + MEASURED_FRAMES)
    for frame in tqdm(list(frames), unit="frame", desc="full network"):
        entry = time.perf_counter()
        with torch.inference_mode():
            label_image(network(preprocess(frame)), size, clip.size)
        measured.append((time.perf_counter() - entry) * 1000)
    return measured[WARM_UP_FRAMES:]

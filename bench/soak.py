"""Whether memory grows: many frames through the two tracks, as fast as they take them. `make bench-soak`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from bench.clip import Frame
from bench.measuring import growth, resident_mebibytes, rounded
from bench.tracks import CPU, warm_engine
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.threads import ThreadCounts
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

STAMP_STEP = 66_666_667  # nanoseconds; only their order matters here


def measure_soak(
    network: SegmentationNetwork, frames: Sequence[Frame], count: int, threads: ThreadCounts
) -> dict[str, Any]:
    """Resident memory over ``count`` frames, 100 or more, of the clip in a circle; ``network`` lies on the CPU."""
    callers = torch.get_num_threads()
    torch.set_num_threads(threads.fast)
    try:
        samples = memory_samples(network, frames, count, CPU, resident_mebibytes, threads.slow)
    finally:
        torch.set_num_threads(callers)
    return {"frames": count, "growth_mebibytes": rounded(growth(samples)), "resident_mebibytes": rounded(samples)}


def memory_samples(
    network: SegmentationNetwork,
    frames: Sequence[Frame],
    count: int,
    device: torch.device,
    mebibytes: Callable[[], float],
    slow_threads: int = 1,
    sample_count: int = 100,
) -> list[float]:
    """What ``mebibytes`` says from time to time while the engine segments ``count`` frames on ``device``."""
    samples = []
    with ThreadedSlowTrack(network, device, intra_op_threads=slow_threads) as slow_track:
        engine = warm_engine(network, slow_track, frames[0], device)
        for number in range(count):
            engine.segment(frames[number % len(frames)], number * STAMP_STEP)
            if (number + 1) % max(1, count // sample_count) == 0:
                samples.append(mebibytes())
    return samples

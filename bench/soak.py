"""Whether memory grows: many frames through the two tracks, as fast as they take them. `make bench-soak`."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import torch

from bench.clip import Frame
from bench.measuring import growth, resident_mebibytes, rounded
from bench.tracks import warm_engine
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.threads import ThreadCounts
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

SAMPLES = 100
STAMP_STEP = 66_666_667  # nanoseconds; only their order matters here


def measure_soak(
    network: SegmentationNetwork, frames: Sequence[Frame], count: int, threads: ThreadCounts
) -> dict[str, Any]:
    """Resident memory over ``count`` frames of the clip in a circle, with the slow track in its own thread.

    Args:
        network: ready for inference, on the CPU.
        frames: of the clip.
        count: how many frames are segmented; 100 or more.
        threads: of the two tracks.
    """
    callers = torch.get_num_threads()
    torch.set_num_threads(threads.fast)
    samples = []
    try:
        with ThreadedSlowTrack(network, intra_op_threads=threads.slow) as slow_track:
            engine = warm_engine(network, slow_track, frames[0])
            for number in range(count):
                engine.segment(frames[number % len(frames)], number * STAMP_STEP)
                if (number + 1) % max(1, count // SAMPLES) == 0:
                    samples.append(resident_mebibytes())
    finally:
        torch.set_num_threads(callers)
    gc.collect()
    return {"frames": count, "growth_mebibytes": rounded(growth(samples)), "resident_mebibytes": rounded(samples)}

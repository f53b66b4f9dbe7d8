"""The two tracks on a GPU, each on its own stream. Skipped where there is none."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest
import torch
from stream_setup import INPUT_SIZE, STEP, key_of, moving_frames, stream_network, wait_until

from lowlat_seg_ros.fast.motion_on_gpu import MotionOnGpu
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import PredictedDeviation
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack


def segment_on(device: str) -> list[SegmentationResult]:
    """Every third frame a key frame whose Sh is done before the next frame comes, so that nothing depends on speed."""
    network = deepcopy(stream_network()).to(device)
    policy = PredictedDeviation(1.0, maximum_interval=3)
    with ThreadedSlowTrack(network, device) as track:
        engine = StreamEngine(network, track, policy, device=device)
        assert engine.motion is not None
        engine.motion.close()
        engine.motion = MotionOnGpu(INPUT_SIZE)  # on either device
        engine.warm_up(INPUT_SIZE)
        results = []
        for i, frame in enumerate(moving_frames(60)):
            results.append(engine.segment(frame, i * STEP))
            wait_until(lambda: not track.is_at_work, "Sh done, and what is learned from it")
    return results


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_the_two_tracks_give_the_cpus_labels() -> None:
    on_cpu, on_gpu = segment_on("cpu"), segment_on("cuda")
    assert [key_of(result) for result in on_gpu] == [key_of(result) for result in on_cpu]
    assert not any(result.warnings for result in on_gpu)
    equal = [np.mean(a.labels == b.labels) for a, b in zip(on_cpu, on_gpu, strict=True)]
    assert min(equal) > 0.98  # convolutions are rounded differently


LOSES_ITS_CONTEXT = """
import torch
from lowlat_seg_ros.runtime.device import cuda_context_is_lost
device = torch.device("cuda")
print(cuda_context_is_lost(device))
try:
    torch.zeros(1 << 50, device=device)
except torch.OutOfMemoryError:
    print(cuda_context_is_lost(device))
try:
    print(torch.zeros(4, device=device)[torch.tensor([9], device=device)].sum().item())
except RuntimeError:
    print(cuda_context_is_lost(device))
"""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_lost_context_is_told_from_a_failure() -> None:
    """In a process of its own, which is good for nothing afterwards."""
    said = subprocess.run([sys.executable, "-c", LOSES_ITS_CONTEXT], stdout=subprocess.PIPE, text=True, check=False)
    assert said.stdout.split() == ["False", "False", "True"]

"""What is measured on a GPU. Nothing in here needs one but `captured`: the tests run it on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from bench.gpu_fast_track import FastTrack, How, step_of
from bench.gpu_slow_track import BusySlowTrack, Span, milliseconds_between, now, overlapping_share
from bench.measuring import MEBIBYTE, growth, in_turn, resident_mebibytes, rounded, spread_mapping
from bench.slow_work import WatchedSlowNetwork
from bench.tracks import AS_SCHEDULED, CPU, NO_KEY_FRAMES, begin_stream, see_frame, warm_engine
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.stream.key_frames import KeyFramePolicy
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

Frame = NDArray[np.uint8]
TYPES: Final = {"fp32": torch.float32, "fp16": torch.float16}
LEAST_EQUAL: Final = {"fp32": 0.999, "fp16": 0.995}  # issue 4: labels must not change
STAMP_STEP: Final = 66_666_667
SLOW_TRACK: Final = ("idle", "busy")


def compare_labels(network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device) -> list[dict[str, Any]]:
    """The share of pixels whose label is the CPU's, in the frame where it is smallest, for each type.

    The first of the ``frames``, of the network's input size, is the key frame of the others.
    """
    reference = _labels_of(network, frames, CPU, torch.float32)
    rows = []
    for name, dtype in TYPES.items():
        if device == CPU and dtype == torch.float16:
            continue  # a CPU's half precision is slow and no target
        labels = _labels_of(network, frames, device, dtype)
        equal = [float((one == other).mean()) for one, other in zip(labels, reference, strict=True)]
        least = LEAST_EQUAL[name]
        rows.append({"type": name, "equal": min(equal), "least": least, "is_met": min(equal) >= least})
    return rows


def _labels_of(
    network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device, dtype: torch.dtype
) -> list[Frame]:
    fast_track = FastTrack(step_of(network, device, dtype), frames[0], device, "eager")
    return [fast_track(frame).copy() for frame in frames[1:]]


def measure_fast_track(
    network: SegmentationNetwork,
    frames: Sequence[Frame],
    device: torch.device,
    dtype_name: str,
    ways: Sequence[How],
    rounds: int,
    frames_a_turn: int,
) -> list[dict[str, Any]]:
    """A frame's milliseconds from the host's memory to the host's memory, each way with the slow track idle and busy.

    Args:
        network: on the CPU; copies of it are measured.
        frames: of one size, the first the key frame.
        device: where it runs.
        dtype_name: a key of TYPES.
        ways: how the step is run. One that cannot be prepared gives a row that says why.
        rounds: turns of each case.
        frames_a_turn: timed frames of a turn.
    """
    step = step_of(network, device, TYPES[dtype_name])
    rows: list[dict[str, Any]] = []
    fast_tracks: dict[str, FastTrack] = {}
    for how in ways:
        try:
            fast_tracks[how] = FastTrack(step, frames[0], device, how)
        except Exception as error:  # torch.compile's are of any type: a compiler that is missing, an unknown operator
            rows.append({"how": how, "type": dtype_name, "problem": f"{type(error).__name__}: {error}".split("\n")[0]})
    cases = {
        (how, slow_track): _timed_turn(fast_track, frames, slow_track == "busy", step.network, device, frames_a_turn)
        for how, fast_track in fast_tracks.items()
        for slow_track in SLOW_TRACK
    }
    for (way, slow_track), turns in in_turn(cases, rounds).items():
        rows.append({"how": way, "type": dtype_name, "slow_track": slow_track, "latency_ms": spread_mapping(turns)})
    return rows


def _timed_turn(
    fast_track: FastTrack,
    frames: Sequence[Frame],
    is_busy: bool,
    network: SegmentationNetwork,
    device: torch.device,
    count: int,
) -> Callable[[int], list[float]]:
    def turn(number: int) -> list[float]:
        beside: AbstractContextManager[object] = (
            BusySlowTrack(network, fast_track.key, device) if is_busy else nullcontext()
        )
        with beside:
            return [_milliseconds(fast_track, frames[i % len(frames)]) for i in range(count)]

    return turn


def _milliseconds(label: Callable[[Frame], object], frame: Frame) -> float:
    began = time.perf_counter()
    label(frame)
    return 1000 * (time.perf_counter() - began)


def measure_overlap(
    network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device, dtype_name: str, count: int
) -> dict[str, Any]:
    """Whether the two tracks' streams run at once, by the GPU's own clock.

    Returns:
        The share of the fast track's time on the device that lies within runs of Sh, and what Sh takes beside the fast
        track and alone.
    """
    step = step_of(network, device, TYPES[dtype_name])
    fast_track = FastTrack(step, frames[0], device, "eager")
    moments = []
    with BusySlowTrack(step.network, fast_track.key, device) as slow_track:
        base = now(device)
        for number in range(count):
            with fast_track.stream.in_use():
                began = now(device)
            fast_track(frames[number % len(frames)])
            with fast_track.stream.in_use():
                moments.append((began, now(device)))
            fast_track.stream.wait()
    fast = [Span(milliseconds_between(base, began), milliseconds_between(base, ended)) for began, ended in moments]
    slow = [span for span in slow_track.spans(base) if span.ended > 0]
    with BusySlowTrack(step.network, fast_track.key, device) as alone:
        base = now(device)
        time.sleep((fast[-1].ended - fast[0].began) / 1000)
    return {
        "type": dtype_name,
        "fast_frames": count,
        "overlapping_share": rounded(overlapping_share(fast, slow)),
        "sh_ms_beside": spread_mapping([[span.ended - span.began for span in slow]]),
        "sh_ms_alone": spread_mapping([[span.ended - span.began for span in alone.spans(base) if span.ended > 0]]),
        "spans": {"fast": rounded([list(span) for span in fast]), "slow": rounded([list(span) for span in slow])},
    }


def measure_engine(
    network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device, rounds: int, frames_a_turn: int
) -> list[dict[str, Any]]:
    """The stream engine as the node runs it, its slow track idle, busy and as scheduled.

    ``network`` lies on ``device``.
    """
    watched = WatchedSlowNetwork(network)
    with ThreadedSlowTrack(watched, device) as slow_track:
        engine = warm_engine(network, slow_track, frames[0], device)
        seen = see_frame(network, frames[0], device)

        def turn_of(policy: KeyFramePolicy, is_busy: bool) -> Callable[[int], list[float]]:
            def turn(number: int) -> list[float]:
                engine.reset("another turn")
                begin_stream(engine, frames[0])
                engine.policy = policy
                beside: AbstractContextManager[None] = watched.busy(slow_track, seen) if is_busy else nullcontext()
                with beside:
                    results = [
                        engine.segment(frames[i % len(frames)], (number * frames_a_turn + i) * STAMP_STEP)
                        for i in range(frames_a_turn)
                    ]
                return [result.milliseconds.total for result in results]

            return turn

        cases = {
            "idle": turn_of(NO_KEY_FRAMES, False),
            "busy": turn_of(NO_KEY_FRAMES, True),
            "as scheduled": turn_of(AS_SCHEDULED, False),
        }
        turns = in_turn(cases, rounds)
    return [{"slow_track": name, "latency_ms": spread_mapping(each)} for name, each in turns.items()]


def measure_memory(
    network: SegmentationNetwork, frames: Sequence[Frame], device: torch.device, count: int
) -> dict[str, Any]:
    """Whether the device's memory grows while the engine segments ``count`` frames; ``network`` lies on it."""
    samples = []
    with ThreadedSlowTrack(network, device) as slow_track:
        engine = warm_engine(network, slow_track, frames[0], device)
        for number in range(count):
            engine.segment(frames[number % len(frames)], number * STAMP_STEP)
            if (number + 1) % max(1, count // 40) == 0:
                samples.append(device_mebibytes(device))
    return {"frames": count, "growth_mebibytes": rounded(growth(samples)), "mebibytes": rounded(samples)}


def device_mebibytes(device: torch.device) -> float:
    """What PyTorch has taken of the device's memory; on the CPU, the process's memory in RAM."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device) / MEBIBYTE
    return resident_mebibytes()

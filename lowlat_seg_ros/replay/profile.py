"""How long each thing takes on the computer that a replay imagines: given in a file, or measured on this one."""

from __future__ import annotations

import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from lowlat_seg_ros.data.documents import is_number, read_json
from lowlat_seg_ros.errors import shown, turning_all_into
from lowlat_seg_ros.evaluation.per_frame_network import full_network, single_frame_network
from lowlat_seg_ros.evaluation.rows import SettingsError
from lowlat_seg_ros.fast.registry import AUTO
from lowlat_seg_ros.runtime.steady_memory import prepare_for_timing
from lowlat_seg_ros.runtime.threads import thread_counts
from lowlat_seg_ros.slow.registry import Tracks
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

NANOSECONDS_A_MILLISECOND: Final = 1_000_000

LONGEST_NAME: Final = 200  # characters

REFERENCE_PROFILE: Final = "reference_profile.json"
FRAMES: Final = 60
PAINTED_FRAMES: Final = 15
"""The street is painted beforehand and goes round and round: painting would leave the slow track the cores."""
SLOW_RUNS: Final = 5
KEY_FRAME_INTERVAL: Final = 5
WARM_UP_CALLS: Final = 3
TIMED_CALLS: Final = 15


@dataclass(frozen=True)
class Profile:
    """How long each thing takes on the computer that a replay imagines. Milliseconds."""

    name: str  # which computer
    fast_ms: float  # an ordinary frame in the fast track
    key_frame_ms: float  # a key frame in the fast track, until its labels
    slow_ms: float  # Sh in the slow track
    full_ms: float  # the full network on one frame; also a key frame that waits for Sh
    single_ms: float  # the fast single-frame network on one frame

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 0 < len(self.name) <= LONGEST_NAME:
            raise SettingsError(f"a profile's name is {shown(self.name)}; expected which computer it is of")
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if not (is_number(value) and 0.001 <= value < 3_600_000):
                raise SettingsError(f"a profile's {field.name} is {shown(value)}; expected milliseconds above 0")

    def nanoseconds(self, name: str) -> int:
        """A duration as a whole number, so that simulated time never rounds."""
        return round(getattr(self, name) * NANOSECONDS_A_MILLISECOND)

    def to_mapping(self) -> dict[str, Any]:
        return asdict(self)


def load_profile(path: Path) -> Profile:
    """Read a profile, as ``lowlat-seg replay --measure`` writes it, or the one in a ``report.json``.

    Raises:
        SettingsError: the file cannot be read or holds no profile.
    """
    with turning_all_into(SettingsError, f"{path} cannot be read as a profile"):
        mapping = read_json(path)
    is_report = isinstance(mapping, Mapping) and "profile" in mapping
    return _profile_from(mapping["profile"] if is_report else mapping, str(path))


def reference_profile() -> Profile:
    """The shipped one, so that a replay without another gives the same result on every machine."""
    text = resources.files("lowlat_seg_ros.replay").joinpath(REFERENCE_PROFILE).read_text(encoding="utf-8")
    return _profile_from(json.loads(text), REFERENCE_PROFILE)


def _profile_from(mapping: Any, source: str) -> Profile:
    names = {field.name for field in fields(Profile)}
    if not isinstance(mapping, Mapping) or mapping.keys() != names:
        raise SettingsError(f"{source} holds no profile; expected a JSON object with {', '.join(sorted(names))}")
    try:
        return Profile(**mapping)
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}") from error


def measure_profile(
    tracks: Tracks,
    propagation: str = AUTO,
    frames: int = FRAMES,
    timed_calls: int = TIMED_CALLS,
    slow_runs: int = SLOW_RUNS,
) -> Profile:
    """Medians. The two tracks run beside each other on as many threads as in the node, the others alone on PyTorch's.

    Args:
        tracks: networks that are ready for inference.
        propagation: as the node's parameter names it.
        frames: that the two tracks get at least.
        timed_calls: of each network that runs alone.
        slow_runs: of Sh in the slow track, at least; the street goes on until it has done them.
    """
    prepare_for_timing()
    config = tracks.fast.config
    images = list(SyntheticStreet(size=config.input_size, frame_count=min(frames, PAINTED_FRAMES)).frames())
    fast, key, slow = _two_tracks_ms(tracks, propagation, images, frames, slow_runs)
    image = images[0]
    full = _median_ms(full_network(tracks), image, timed_calls)
    single = _median_ms(single_frame_network(tracks.fast), image, timed_calls)
    name = f"{platform.machine()} with {os.cpu_count()} cores, measured"
    return Profile(name, *(round(value, 1) for value in (fast, key, slow, full, single)))


def _two_tracks_ms(
    tracks: Tracks, propagation: str, images: list[NDArray[np.uint8]], frames: int, slow_runs: int
) -> tuple[float, float, float]:
    """Milliseconds of an ordinary frame, of a key frame, and of Sh."""
    ordinary: list[float] = []
    key: list[float] = []
    slow: list[float] = []
    threads = thread_counts()
    with _pytorch_threads(threads.fast), ThreadedSlowTrack(tracks.slow, intra_op_threads=threads.slow) as track:
        engine = StreamEngine(tracks.fast, track, FixedInterval(KEY_FRAME_INTERVAL), propagation=propagation)
        engine.warm_up()
        done = 0
        for index, image in enumerate(itertools.cycle(images)):
            if index >= frames and len(slow) >= slow_runs and key and ordinary:
                break
            result = engine.segment(image, index)
            runs = result.slow_track.done + result.slow_track.failed
            slow += [result.slow_track.last_milliseconds] if runs > done else []
            if result.key_age_frames:  # else there is no key frame yet, and nothing to propagate
                (key if result.is_key_frame else ordinary).append(result.milliseconds.total)
            done = runs
    return float(np.median(ordinary)), float(np.median(key)), float(np.median(slow))


@contextmanager
def _pytorch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _median_ms(label: Callable[[np.ndarray], np.ndarray], image: np.ndarray, timed_calls: int) -> float:
    milliseconds = []
    for number in range(WARM_UP_CALLS + timed_calls):
        start = time.perf_counter()
        label(image)
        if number >= WARM_UP_CALLS:
            milliseconds.append((time.perf_counter() - start) * 1000)
    return float(np.median(milliseconds))

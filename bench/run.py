"""All sections, one after the other, and the files that hold what came out."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch

from bench.clip import first_frames, measured_clip, name_of
from bench.environment import PAPER_MODEL, environment, machine_name
from bench.kernel import measure_kernels
from bench.measuring import rounded, write_files
from bench.modules import measure_modules
from bench.node import CLIP_FRAMES, NodeLoad, measure_node
from bench.report import report
from bench.scale import ScaleLoad, measure_scale
from bench.soak import measure_soak
from bench.tracks import TracksRig, measure_tracks
from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.evaluation.module_times import network_of
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.machine import usable_cores
from lowlat_seg_ros.runtime.steady_memory import freeze_gc
from lowlat_seg_ros.runtime.threads import thread_counts
from lowlat_seg_ros.stream.networks import load_networks


@dataclass(frozen=True)
class BenchSize:
    """How much of everything; the default takes under six minutes on two quiet cores."""

    module_rounds: int = 20
    paper_rounds: int = 6
    paper_size: tuple[int, int] = (256, 128)  # the paper's 2048x1024 takes minutes a frame on two cores
    track_rounds: int = 3
    track_frames: int = 42
    kernel_rounds: int = 7
    kernel_grids: tuple[tuple[int, int], ...] = ((45, 60), (64, 128))  # (h, w): the shipped model's, and issue 4's
    kernel_channels: tuple[int, ...] = (96, 256)
    node: NodeLoad = field(default_factory=NodeLoad)
    scale: ScaleLoad = field(default_factory=ScaleLoad)


FULL: Final = BenchSize()
VERSION: Final = ("commit", "weights", "torch")


class ResultsError(Error):
    """Results that a run may not be added to; the message says what was expected."""


def measure_all(model: str, names: Sequence[str], size: BenchSize = FULL) -> dict[str, Any]:
    """The chosen sections.

    Raises:
        Error, OSError: in one sentence, what went wrong.
    """
    network, runtimes = as_the_node_has_it(model)
    results: dict[str, Any] = {"environment": {**environment(model), "runtimes": runtimes}}
    scale = replace(size.scale, model=model, input_size=network.config.input_size)
    sections: dict[str, Callable[[], Any]] = {
        "modules": lambda: _modules(network, size),
        "tracks": lambda: _tracks(network, size),
        "node": lambda: _over_dds(measure_node, replace(size.node, model=model)),
        "kernel": lambda: _kernel(size),
        "scale": lambda: _over_dds(measure_scale, scale),
    }
    for name in names:
        began = time.monotonic()
        results[name] = sections[name]()
        print(f"bench: {name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return results


def measure_soak_only(model: str, frames: int) -> dict[str, Any]:
    """Memory over many frames; raises what `measure_all` does."""
    network, runtimes = as_the_node_has_it(model)
    clip = measured_clip()
    soak = measure_soak(network, first_frames(clip, clip.frame_count), frames, thread_counts(0, 0))
    return {"environment": {**environment(model), "runtimes": runtimes}, "soak": soak}


def as_the_node_has_it(model: str) -> tuple[SegmentationNetwork, list[str]]:
    """The network with both tracks where they run by default, and sentences that say where."""
    callers = torch.get_num_threads()
    torch.set_num_threads(thread_counts(0, 0).fast)
    try:
        networks = load_networks(load_checkpoint(model), model, torch.device("cpu"))
    finally:
        torch.set_num_threads(callers)
    assert isinstance(networks.slow, SegmentationNetwork)
    return networks.slow, networks.in_words()


def _modules(network: SegmentationNetwork, size: BenchSize) -> list[dict[str, Any]]:
    paper = network_of(str(PAPER_MODEL))
    return [
        measure_modules(network, network.config.input_size, usable_cores(), size.module_rounds),
        measure_modules(paper, size.paper_size, usable_cores(), size.paper_rounds),
    ]


def _tracks(network: SegmentationNetwork, size: BenchSize) -> dict[str, Any]:
    clip = measured_clip()
    frames = first_frames(clip, clip.frame_count)
    with TracksRig(network, frames, clip.rate_hz, thread_counts(0, 0), usable_cores()) as rig:
        freeze_gc()  # as the node does once it is ready
        return {"clip": name_of(clip), **measure_tracks(rig, size.track_rounds, size.track_frames)}


def _over_dds(measure: Callable[[Sequence[Any], Any, Path], dict[str, Any]], load: Any) -> dict[str, Any]:
    clip = measured_clip()
    frames = first_frames(clip, min(CLIP_FRAMES, clip.frame_count))
    with tempfile.TemporaryDirectory() as folder:
        return {"clip": name_of(clip), **measure(frames, load, Path(folder))}


def _kernel(size: BenchSize) -> dict[str, Any]:
    callers = torch.get_num_threads()
    torch.set_num_threads(usable_cores())
    try:
        rows = measure_kernels(size.kernel_rounds, size.kernel_grids, size.kernel_channels)
    finally:
        torch.set_num_threads(callers)
    return {"rounds": size.kernel_rounds, "rows": [rounded(asdict(row)) for row in rows]}


def write_results(results: Mapping[str, Any], folder: Path) -> None:
    """The machine's two files, each replaced whole; sections that this run did not measure stay as they are."""
    name = machine_name()
    file = folder / f"{name}.json"
    merged = {**_earlier(file), **results} if is_same_version(_earlier(file), results) else dict(results)
    write_files(folder, name, merged, report(merged))


def require_addable(folder: Path, model: str) -> None:
    """Raise ResultsError where sections of this commit would replace all sections of another one.

    A table never mixes two versions, and a part of the bench never throws away the whole.
    """
    file = folder / f"{machine_name()}.json"
    earlier = _earlier(file)
    facts = environment(model)
    if earlier and not is_same_version(earlier, {"environment": facts}):
        raise ResultsError(
            f"{file} is of {version_in_words(earlier.get('environment', {}))} and this is {version_in_words(facts)}; "
            "expected results of the same to add to: type 'make bench' first, or name another --out"
        )


def version_in_words(facts: Mapping[str, Any]) -> str:
    """What tables never mix."""
    return ", ".join(f"{key} {facts.get(key, 'unknown')}" for key in VERSION)


def is_same_version(earlier: Mapping[str, Any], results: Mapping[str, Any]) -> bool:
    """Whether both are of the same commit, weights and torch."""
    facts, earlier_facts = results["environment"], earlier.get("environment", {})
    return all(earlier_facts.get(key) == facts[key] for key in VERSION)


def _earlier(file: Path) -> Mapping[str, Any]:
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return earlier if isinstance(earlier, Mapping) else {}

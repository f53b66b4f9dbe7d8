"""``lowlat-seg evaluate --latency``: its options, and the networks that are timed beside the two tracks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.evaluation import Evaluation
from lowlat_seg_ros.evaluation.latency import (
    LatencySettings,
    SingleFrameCandidate,
    candidates_of,
    measure_latency,
)
from lowlat_seg_ros.evaluation.per_frame_network import full_network, single_frame_network
from lowlat_seg_ros.evaluation.rows import SettingsError
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.choice import Place
from lowlat_seg_ros.runtime.steady_memory import prepare_for_timing
from lowlat_seg_ros.runtime.threads import thread_counts
from lowlat_seg_ros.slow.network import SlowNetwork
from lowlat_seg_ros.slow.registry import Tracks
from lowlat_seg_ros.stream.networks import networks_in_every_place

ComparedNetworks = Mapping[str, Mapping[Place, SlowNetwork]]  # by their folders' or files' names


def add_latency_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--latency", action="store_true", help="time the two tracks and single-frame networks; takes a quiet machine"
    )
    parser.add_argument(
        "--compare",
        nargs="*",
        metavar="MODEL",
        help="time the full networks of these and of --model too, each in every runtime and precision that there is, "
        "where it is much slower than elsewhere in the first round alone",
    )
    parser.add_argument(
        "--rounds", type=int, help="passes through the clip; default: 3 with --latency, 1 with --table 1"
    )
    parser.add_argument(
        "--fast-threads",
        type=int,
        help="with --latency: CPU threads of the fast track; the default is the node's",
    )
    parser.add_argument("--slow-threads", type=int, help="with --latency: those of the slow track")
    parser.add_argument(
        "--single-frame-threads",
        type=int,
        help="with --latency: those of single-frame networks; default: both tracks' together",
    )


def check_latency_options(options: argparse.Namespace, *, has_labels: bool) -> None:
    if options.latency and not has_labels:
        raise SettingsError("--latency scores each network against the truth; expected --labels beside it")
    if options.compare is not None and not options.latency:
        raise SettingsError("--compare names networks to be timed; expected --latency beside it")
    for name in ("threads", "rounds"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise SettingsError(f"--{name} is {getattr(options, name)}; expected 1 or more")
    if options.single_frame_threads is not None and not options.latency:
        raise SettingsError("--single-frame-threads is of what is timed; expected --latency beside it")
    for name in ("rounds", "fast_threads", "slow_threads", "single_frame_threads"):
        count, option = getattr(options, name), f"--{name.replace('_', '-')}"
        if count is not None and not (options.latency or options.table == 1):
            raise SettingsError(f"{option} is of what is timed; expected --latency or --table 1 beside it")
        if count is not None and count < 0:
            raise SettingsError(f"{option} is {count}; expected 0 or more")


def compared_networks(options: argparse.Namespace, network: SlowNetwork) -> ComparedNetworks:
    """Those that are timed beside the model and the model itself, in every place; none without ``--compare``."""
    if options.compare is None:
        return {}
    models = [options.model, *options.compare]
    short = [Path(model).resolve().name for model in models]
    names = short if len(set(short)) == len(short) else models
    compared = {name: networks_in_every_place(model) for name, model in zip(names, models, strict=True)}
    for name, places in compared.items():
        if any(other.classes != network.classes for other in places.values()):
            raise SettingsError(f"--compare: the classes of {name} are not those of the model; expected the same")
    return compared


def add_latency(
    found: Evaluation, clip: EvaluatedClip, tracks: Tracks, compared: ComparedNetworks, options: argparse.Namespace
) -> None:
    threads = thread_counts(options.fast_threads or 0, options.slow_threads or 0)
    single_frame_threads = options.single_frame_threads or threads.fast + threads.slow
    settings, way = found.plan.settings, clip.propagation_name
    candidates = [
        *candidates_of(
            tracks, settings.adaptive, way, threads, single_frame_threads, options.rate, settings.slow_track_share
        ),
        *_single_frame_candidates(tracks, compared, single_frame_threads),
    ]
    prepare_for_timing()
    with found.timing("latency"):
        found.latency = measure_latency(
            candidates, clip.frames, clip.new_matrix, LatencySettings(options.rate, options.rounds or 3)
        )


def _single_frame_candidates(
    tracks: Tracks, compared: ComparedNetworks, threads: int
) -> Sequence[SingleFrameCandidate]:
    """The full network of each, and of ours Sl with a classifier of its own, each once, in every place."""
    candidates = []
    small_ones: list[SegmentationNetwork] = []
    for name, places in compared.items():
        own = next((network for network in places.values() if isinstance(network, SegmentationNetwork)), None)
        has_new_small = own is not None and not any(have_same_small(own, other) for other in small_ones)
        if own is not None and has_new_small:
            small_ones.append(own)
        for place, network in places.items():
            fast = network if isinstance(network, SegmentationNetwork) else tracks.fast
            labellers = {name: full_network(Tracks(network, fast))}
            if has_new_small:
                labellers[f"{name}'s Sl"] = single_frame_network(fast)
            candidates += [
                SingleFrameCandidate(f"{way} in {' '.join(place)}", label, fast.config.input_size, threads, way)
                for way, label in labellers.items()
            ]
    return candidates


def have_same_small(first: SegmentationNetwork, second: SegmentationNetwork) -> bool:
    """Whether two networks' Sl, with its classifier, is one on pictures of one size."""
    if first.config.input_size != second.config.input_size or not first.tracks.low_parts():
        return False
    mine, others = (
        nn.ModuleList([*network.tracks.low_parts(), network.fast_classifier]).state_dict()
        for network in (first, second)
    )
    return mine.keys() == others.keys() and all(map(torch.equal, mine.values(), others.values()))

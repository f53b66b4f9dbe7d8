"""``lowlat-seg evaluate --latency``: its options, and networks timed in one run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.evaluation import Evaluation
from lowlat_seg_ros.evaluation.latency import LatencySettings, candidates_of, measure_latency
from lowlat_seg_ros.evaluation.rows import SettingsError
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.steady_memory import freeze_gc, keep_large_buffers
from lowlat_seg_ros.runtime.threads import thread_counts
from lowlat_seg_ros.slow.network import SlowNetwork
from lowlat_seg_ros.slow.registry import Tracks


def add_latency_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--latency", action="store_true", help="time the two tracks and single-frame networks; takes a quiet machine"
    )
    parser.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="checkpoints whose full networks are timed too",
    )
    parser.add_argument(
        "--rounds", type=int, help="of --latency and --table 1: times through the clip; the default is 3, and 1"
    )
    parser.add_argument(
        "--fast-threads",
        type=int,
        default=0,
        help="with --latency: CPU threads of the fast track; the default is the node's",
    )
    parser.add_argument("--slow-threads", type=int, default=0, help="with --latency: those of the slow track")
    parser.add_argument(
        "--single-frame-threads",
        type=int,
        default=0,
        help="with --latency: those of single-frame networks; default: both tracks' together",
    )


def check_latency_options(options: argparse.Namespace, has_labels: bool) -> None:
    if options.latency and not has_labels:
        raise SettingsError("--latency scores each network against the truth; expected --labels beside it")
    if options.compare and not options.latency:
        raise SettingsError("--compare names networks to be timed; expected --latency beside it")
    for name in ("threads", "rounds"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise SettingsError(f"--{name} is {getattr(options, name)}; expected 1 or more")
    for name in ("fast_threads", "slow_threads", "single_frame_threads"):
        if getattr(options, name) < 0:
            raise SettingsError(f"--{name.replace('_', '-')} is {getattr(options, name)}; expected 0 or more")


def compared_networks(models: Sequence[str], network: SlowNetwork) -> dict[str, SegmentationNetwork]:
    """The networks that are timed beside the model, by their folders' names where these differ."""
    short = [Path(model).resolve().name for model in models]
    names = short if len(set(short)) == len(short) else models
    networks = {}
    for name, model in zip(names, models, strict=True):
        networks[name] = load_checkpoint(model)
        classes = networks[name].config.classes
        if classes != network.classes:
            raise SettingsError(f"--compare: the classes of {model} are not those of the model; expected the same")
    return networks


def add_latency(
    found: Evaluation,
    clip: EvaluatedClip,
    tracks: Tracks,
    compared: dict[str, SegmentationNetwork],
    options: argparse.Namespace,
) -> None:
    threads = thread_counts(options.fast_threads, options.slow_threads)
    single_frame_threads = options.single_frame_threads or threads.fast + threads.slow
    policy = found.plan.settings.adaptive
    candidates = candidates_of(
        tracks, compared, policy, clip.propagation_name, threads, single_frame_threads, options.rate
    )
    prepare_for_timing()
    with found.timing("latency"):
        found.latency = measure_latency(
            candidates, clip.frames, clip.new_matrix, LatencySettings(options.rate, options.rounds or 3)
        )


def prepare_for_timing() -> None:
    """As the node's process does."""
    keep_large_buffers()
    freeze_gc()

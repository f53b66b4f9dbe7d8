"""``lowlat-seg replay``: what the node would have done on recorded drives."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lowlat_seg_ros.commands.interruption import sigterm_as_ctrl_c
from lowlat_seg_ros.commands.label_options import add_label_options, given_classes
from lowlat_seg_ros.commands.policy_options import add_limit_options, limits_of
from lowlat_seg_ros.commands.replay_progress import ReplayProgress
from lowlat_seg_ros.commands.runtime_options import add_model_options, add_runtime_options, wishes_of
from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.label_classes import numbered_classes
from lowlat_seg_ros.data.own_folder import own_folder
from lowlat_seg_ros.data.problems import WARNING
from lowlat_seg_ros.errors import NEXT, Error, printable
from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.evaluation.rows import SettingsError
from lowlat_seg_ros.fast.registry import AUTO, PROPAGATIONS
from lowlat_seg_ros.replay.comparison import compare, comparison_text, require_no_worse
from lowlat_seg_ros.replay.fleet import FLEET_FILE, FLEET_FORMAT, FLEET_MARKDOWN_FILE, Fleet, find_bags, report_folders
from lowlat_seg_ros.replay.jobs import Endings, Failure, Job, run_in_processes, run_on_cluster
from lowlat_seg_ros.replay.profile import Profile, load_profile, measure_profile, reference_profile
from lowlat_seg_ros.replay.replay import Model, load_model
from lowlat_seg_ros.replay.report import FORMAT
from lowlat_seg_ros.replay.report_files import (
    MARKDOWN_FILE,
    PAGE_FILE,
    REPORT_FILE,
    read_document,
)
from lowlat_seg_ros.replay.settings import PolicySettings, ReplaySettings
from lowlat_seg_ros.stream.key_frames import POLICIES

PROFILE_FILE = "profile.json"


class ReplayError(Error):
    """No bag could be replayed; the message says why, a line a bag."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bags", type=Path, nargs="+", metavar="BAG", help="a bag, or a folder of bags")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report, or of a report for each bag")
    add_model_options(parser)
    parser.add_argument("--camera", action="append", default=[], metavar="TOPIC", help="one camera; default: every one")
    add_label_options(parser, "the ids of the fast track's classes")
    _add_policy_options(parser)
    profile = parser.add_mutually_exclusive_group()
    profile.add_argument(
        "--like",
        type=Path,
        metavar="FILE",
        help="imagine another computer: its profile.json, or a report.json made with it",
    )
    profile.add_argument(
        "--measure", action="store_true", help=f"measure this machine and imagine it; {PROFILE_FILE} keeps it"
    )
    add_runtime_options(parser)
    _add_live_options(parser)
    _add_fleet_options(parser)
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="OLD",
        help=f"say what got better or worse than in this older {REPORT_FILE} or {FLEET_FILE}",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.01,
        help="fail if a figure is worse than OLD's by more: fractions by that much, milliseconds by that share",
    )
    parser.set_defaults(run_command=replay_command)


def _add_policy_options(parser: argparse.ArgumentParser) -> None:
    defaults = PolicySettings()
    parser.add_argument("--policy", choices=POLICIES, default=defaults.name, help="when a frame becomes a key frame")
    parser.add_argument(
        "--threshold", type=float, help="predicted deviation, or feature difference, that makes a key frame"
    )
    parser.add_argument(
        "--interval",
        type=int,
        help=f"with --policy fixed_interval: frames from one key frame to the next; default: {defaults.interval}",
    )
    add_limit_options(parser)
    parser.add_argument(
        "--propagation",
        default=AUTO,
        help=f"how labels come from key frames: {', '.join([AUTO, *PROPAGATIONS])}; the default is {AUTO}",
    )
    parser.add_argument(
        "--wait-for-slow-track",
        action="store_true",
        help="make key frames wait for the slow network (the node's low_latency: false)",
    )


def _add_live_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--live", action="store_true", help="play the bag into the node itself, which takes ROS 2")
    parser.add_argument(
        "--rate",
        type=float,
        metavar="R",
        help="with --live: playback speed, in seconds of the drive per second; default: 1",
    )
    parser.add_argument(
        "--loop", type=int, metavar="N", help="with --live: play the bag N times in a row; default: once"
    )


def _add_fleet_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=int,
        help="how many bags to replay at once; default: one per core",
    )
    # On cores that others use too, threads wait for each other: one is up to twenty times as fast as two.
    parser.add_argument("--threads", type=int, help="CPU threads per bag; default: 1")
    parser.add_argument("--resume", action="store_true", help="keep the reports that an earlier run has finished")
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="replay on the workers of the Dask scheduler at this address"
    )


def replay_command(options: argparse.Namespace) -> None:
    settings = settings_from(options)
    with own_folder(options.out), sigterm_as_ctrl_c():
        replay_bags(options, settings)


def replay_bags(options: argparse.Namespace, settings: ReplaySettings) -> None:
    """Replay, write, print and compare; raises ReplayError where there is nothing to write."""
    old = read_document(options.compare, (FORMAT, FLEET_FORMAT)) if options.compare else None
    model = load_model(options.model, settings)
    if options.classes is not None or options.void is not None:
        own = model.tracks.fast.classes
        settings = replace(settings, truth=given_classes(options, numbered_classes(len(own), names=own)))
    profile = chosen_profile(options, model, settings)
    bags = find_bags(options.bags)
    folders = report_folders(bags, options.out)
    fleet = Fleet([Job(bag, options.model, settings, profile) for bag in bags], folders, command_line())
    kept = fleet.take_finished(model.weights_sha256) if options.resume else 0
    if kept:
        print(f"{kept} of {len(bags)} bags have their reports already")
    reasons = run_fleet(fleet, len(bags) - kept, options)
    if len(reasons) == len(bags):
        raise ReplayError(NEXT.join(reasons))
    new = finish_single(options.out) if len(bags) == 1 else finish_fleet(fleet, options.out)
    if old is not None:
        report_changes(old, new, options.tolerance)


def settings_from(options: argparse.Namespace) -> ReplaySettings:
    for name in ("workers", "threads"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise SettingsError(f"--{name} is {getattr(options, name)}; expected 1 or more")
    if not options.tolerance >= 0:
        raise SettingsError(f"--tolerance is {options.tolerance}; expected a number, 0 or more")
    policy = PolicySettings(options.policy, interval_of(options), options.threshold, *limits_of(options))
    check_live_options(options)
    return ReplaySettings(
        policy,
        not options.wait_for_slow_track,
        options.slow_track_share,
        tuple(options.camera),
        options.propagation,
        options.fast_model,
        wishes_of(options),
    )


def interval_of(options: argparse.Namespace) -> int:
    is_fixed = options.policy == "fixed_interval"
    for name, is_of_fixed in (("interval", True), ("threshold", False)):
        if getattr(options, name) is not None and is_fixed != is_of_fixed:
            expected = "expected" if is_of_fixed else "expected another policy than"
            raise SettingsError(f"--{name} is {getattr(options, name)}; {expected} --policy fixed_interval beside it")
    return PolicySettings.interval if options.interval is None else int(options.interval)


def check_live_options(options: argparse.Namespace) -> None:
    for name in ("rate", "loop"):
        if getattr(options, name) is not None and not options.live:
            raise SettingsError(f"--{name} is of live replays; expected --live beside it")
    if options.rate is not None and not 0 < options.rate < math.inf:
        raise SettingsError(f"--rate is {options.rate}; expected a number above 0")
    if options.loop is not None and options.loop < 1:
        raise SettingsError(f"--loop is {options.loop}; expected 1 or more")
    if options.live and (options.resume or options.cluster):
        raise SettingsError("--live plays into the node on this machine now; expected neither --resume nor --cluster")
    if options.live and (options.workers or options.threads):
        raise SettingsError("--live plays bag after bag into the node; expected neither --workers nor --threads")
    if options.cluster and options.workers:
        raise SettingsError("--cluster has its own workers; expected no --workers beside it")


def chosen_profile(options: argparse.Namespace, model: Model, settings: ReplaySettings) -> Profile:
    if options.like is not None:
        return load_profile(options.like)
    if not options.measure:
        return reference_profile()
    profile = measure_profile(model.tracks, settings.propagation)
    atomic_write(options.out / PROFILE_FILE, json_text(profile.to_mapping()).encode())
    return profile


def run_fleet(fleet: Fleet, count: int, options: argparse.Namespace) -> list[str]:
    """Replay what is not finished; returns why bags failed."""
    reasons = []
    with ReplayProgress(count) as progress:

        def run(jobs: Sequence[Job]) -> Endings:
            if options.live:
                return run_in_node(jobs, options.rate or 1.0, options.loop or 1, progress.frames_done)
            if options.cluster:
                return run_on_cluster(jobs, options.cluster, options.threads or 1)
            workers = max(1, min(options.workers or os.cpu_count() or 1, len(jobs)))
            return run_in_processes(jobs, workers, options.threads or 1, progress.frames_done)

        with closing(fleet.run(run)) as endings:
            for job, ending in endings:
                progress.bag_done()
                if isinstance(ending, Failure):
                    reasons.append(f"{job.bag}: {ending.reason}")
    return reasons


def run_in_node(jobs: Sequence[Job], rate: float, rounds: int, progress: Callable[[int, int, int], None]) -> Endings:
    """Replay live; raises SettingsError where there is no ROS."""
    try:
        from lowlat_seg_ros.ros.process_setup import set_up_process

        set_up_process()  # before rclpy is imported
        import lowlat_seg_ros.ros.harness  # noqa: F401
        from lowlat_seg_ros.replay.live import run_live
        from lowlat_seg_ros.replay.live_two_tracks import LiveOptions
    except ImportError as error:
        raise SettingsError(
            f"--live needs ROS 2 and this package built for it ({error}); source the workspace, or use scripts/with_ros"
        ) from error
    # Torch was loaded with threads that spin while they wait for each other, which on a busy machine costs tenfold.
    torch.set_num_threads(1)
    return run_live(jobs, LiveOptions(rate, rounds), progress)


def finish_single(out: Path) -> dict[str, Any]:
    print((out / MARKDOWN_FILE).read_text(encoding="utf-8"))
    print(f"the report is {out / PAGE_FILE}, its figures are in {out / REPORT_FILE}")
    document = read_document(out / REPORT_FILE, (FORMAT,))
    for line in document["bag"]["problems"]:
        if line.startswith(WARNING):
            print(line)
    return document


def finish_fleet(fleet: Fleet, out: Path) -> dict[str, Any]:
    mapping = fleet.write(out)
    print((out / FLEET_MARKDOWN_FILE).read_text(encoding="utf-8"))
    print(f"the table is {out / PAGE_FILE}, its figures are in {out / FLEET_FILE}; each bag's report is beside it")
    for bag in mapping["bags"]:
        name = printable(bag["name"])
        print(*(f"{name}: {line}\n" for line in bag["problems"] if line.startswith(WARNING)), sep="", end="")
    return mapping


def report_changes(old: dict[str, Any], new: dict[str, Any], tolerance: float) -> None:
    """Print what changed; raises RegressionError past the tolerance."""
    if old["format"] != new["format"]:
        raise SettingsError("--compare: one bag's report and a fleet's table cannot be compared")
    changes = compare(old, new)
    print(comparison_text(changes, tolerance))
    require_no_worse(changes, tolerance)


def command_line() -> str:
    """What was typed, for the page."""
    return shlex.join(["lowlat-seg", *sys.argv[1:]])

"""``lowlat-seg evaluate --table``: what goes with it, and the paper's table in the place of rows and analyses."""

from __future__ import annotations

import argparse
from typing import Any, Final

from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.evaluation import Evaluation, EvaluationPlan
from lowlat_seg_ros.evaluation.latency import LatencySettings
from lowlat_seg_ros.evaluation.paper_tables import paper_table
from lowlat_seg_ros.evaluation.rows import SettingsError
from lowlat_seg_ros.fast.registry import AUTO
from lowlat_seg_ros.runtime.steady_memory import prepare_for_timing
from lowlat_seg_ros.runtime.threads import thread_counts
from lowlat_seg_ros.stream.key_frames import FixedInterval

DELAYS: Final = [1, 2]  # frames, unless others are given


def check_table_options(options: argparse.Namespace, has_labels: bool) -> None:
    if options.table is None:
        return
    usual: dict[str, Any] = {
        "rows": None,
        "analyses": None,
        "cut_from": None,
        "propagation": AUTO,
        "interval": FixedInterval.interval,
    }
    if options.table < 4:
        usual |= {"delay_frames": DELAYS, "delay_ms": None}
    for name, value in usual.items():
        if getattr(options, name) != value:
            option = f"--{name.replace('_', '-')}"
            raise SettingsError(
                f"{option} chooses what table {options.table} of the paper does not have; expected it without --table"
            )
    if options.latency:
        raise SettingsError("--latency times other networks than a table of the paper; expected one of both")
    if not has_labels:
        raise SettingsError("--table scores labels against the truth; expected --labels beside it")
    if options.stills and options.table < 4:
        raise SettingsError(f"--table {options.table} takes a video; expected of stills --table 4")


def evaluate_table(
    clip: EvaluatedClip, plan: EvaluationPlan, names: tuple[str, str], options: argparse.Namespace
) -> Evaluation:
    """The paper's table that was asked for, in the place of rows and analyses."""
    if plan.is_video:
        clip.require_one_size()
    prepare_for_timing()
    found = Evaluation(*names, clip.classes, len(clip), plan, clip.full_rows)
    timing = LatencySettings(options.rate, options.rounds or 1)
    threads = thread_counts(options.fast_threads or 0, options.slow_threads or 0)
    with found.timing("table"):
        made = paper_table(options.table, clip, plan.settings, timing, threads, plan.is_video)
    found.table, found.rows, found.latency = made.table, list(made.rows), made.latency
    return found

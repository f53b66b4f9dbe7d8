"""The figures of a timeline: counts, and quantiles of latencies and agreements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.replay.report import Agreement, FrameCounts, Latency, Spread, known
from lowlat_seg_ros.replay.timeline import Timeline

QUANTILES: Final = (50, 95, 99, 100)  # per cent
LOW_QUANTILE: Final = 5


def spread_of(values: Sequence[float]) -> Spread:
    if not values:
        return Spread(0, None, None, None, None)
    return Spread(len(values), *(float(value) for value in np.percentile(values, QUANTILES)))


def frame_counts(timeline: Timeline) -> FrameCounts:
    """What became of the frames, once the late ones are marked."""
    statuses = timeline.columns["status"]
    dropped, late = statuses.count("dropped"), statuses.count("late")
    labelled, key_frames = len(statuses) - dropped, sum(timeline.columns["is_key_frame"])
    return FrameCounts(
        frames_in=len(statuses),
        labelled=labelled,
        dropped=dropped,
        late=late,
        deadline_misses=late + dropped,
        key_frames=key_frames,
        key_frame_ratio=key_frames / labelled if timeline.has_key_frames and labelled else None,
    )


def latency_report(timeline: Timeline) -> Latency:
    """Latencies of the labelled frames: all, and the first, key and other frames apart."""
    columns = timeline.columns
    by_kind: dict[str, list[float]] = {"first": [], "key": [], "other": []}
    for latency, is_first, is_key in zip(
        columns["latency_ms"], columns["is_first"], columns["is_key_frame"], strict=True
    ):
        if not math.isnan(latency):
            by_kind["first" if is_first else "key" if is_key else "other"].append(latency)
    return Latency(
        all_frames=spread_of([latency for latencies in by_kind.values() for latency in latencies]),
        key_frames=spread_of(by_kind["key"]),
        other_frames=spread_of(by_kind["other"]),
        first_frames=spread_of(by_kind["first"]),
    )


def agreement_report(timeline: Timeline, against_full: ConfusionMatrix) -> Agreement:
    """``against_full``: the system's labels with the full network's as truth."""
    agreements = [value for value in timeline.columns["agreement"] if not math.isnan(value)]
    if not agreements:
        return Agreement(None, None, None, None)
    return Agreement(
        mean=float(np.mean(agreements)),
        p5=float(np.percentile(agreements, LOW_QUANTILE)),
        min=min(agreements),
        mean_iou=known(against_full.mean_iou()),
    )

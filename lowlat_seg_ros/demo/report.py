"""The figures of a run: `latency.json` and the table that the demo prints."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lowlat_seg_ros.demo import DemoRun
from lowlat_seg_ros.runtime.machine import cpu_model, usable_cores
from lowlat_seg_ros.stream.result import has_key

if TYPE_CHECKING:
    from lowlat_seg_ros.msg import KeyFrameDiagnostics

STAGES = ("decode", "low", "schedule", "propagate", "labels", "publish", "total")


def percentiles(milliseconds: Sequence[float]) -> dict[str, float | int | None]:
    """p50, p95, p99 and max; None where there is no frame."""
    if not milliseconds:
        return {"frames": 0, "p50": None, "p95": None, "p99": None, "max": None}
    p50, p95, p99, maximum = np.percentile(milliseconds, (50, 95, 99, 100))
    figures = {"p50": p50, "p95": p95, "p99": p99, "max": maximum}
    return {"frames": len(milliseconds), **{name: round(float(value), 3) for name, value in figures.items()}}


def latency_report(run: DemoRun) -> dict[str, Any]:
    """All figures of one run, ready for JSON.

    Latency is callback entry to the return of the labels' publish call, in milliseconds; frames before the
    first key frame's answer was there, which Sl labels alone, and key frames are told apart.
    """
    messages = [None if answer is None else answer.key_frame for answer in run.answers]
    segmented = [message for message in messages if message is not None]
    early = [message for message in segmented if not has_key(message)]
    followed = [message for message in segmented if has_key(message)]
    return {
        "frames_in": len(run.stamps),
        "labels_out": len(segmented),
        "dropped": run.dropped,
        "key_frames": sum(message.is_key_frame for message in segmented),
        "slow_track_failed": max((int(message.slow_track_failed) for message in segmented), default=0),
        "latency_ms": {
            "all": _totals(segmented),
            "before_the_first_key_frame": _totals(early),
            "key_frames": _totals([message for message in followed if message.is_key_frame]),
            "other_frames": _totals([message for message in followed if not message.is_key_frame]),
        },
        "frames": [
            {"frame": number, "stamp_ns": stamp, **_frame(message)}
            for number, (stamp, message) in enumerate(zip(run.stamps, messages, strict=True))
        ],
    }


def environment(run: DemoRun) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "device": run.device,
        "threads": run.threads,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rmw": os.environ.get("RMW_IMPLEMENTATION", "default"),
    }


def table(report: Mapping[str, Any]) -> str:
    """The short table."""
    rows = [
        ("clip", report["clip"]),
        ("frames in", report["frames_in"]),
        ("labels out", report["labels_out"]),
        ("dropped (reported by the node)", report["dropped"]),
        ("key frames", report["key_frames"]),
        ("", "     p50      p99      max  ms"),
        *(
            (name, _milliseconds(report["latency_ms"][key]))
            for name, key in (
                ("frames before the first answer of Sh", "before_the_first_key_frame"),
                ("key frames after that", "key_frames"),
                ("other frames after that", "other_frames"),
            )
        ),
        ("full network on every frame", _milliseconds(report["full_network_ms"])),
    ]
    if "scores" in report:
        scores = report["scores"]
        rows.append(("pixel accuracy / mIoU", f"{scores['pixel_accuracy']:.1%} / {scores['mean_iou']:.1%}"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _totals(messages: Sequence[KeyFrameDiagnostics]) -> dict[str, float | int | None]:
    return percentiles([message.total_ms for message in messages])


def _frame(message: KeyFrameDiagnostics | None) -> dict[str, Any]:
    if message is None:
        return {"dropped": True}
    return {
        "is_key_frame": message.is_key_frame,
        "key_reason": message.key_reason,
        "key_age_frames": message.key_age_frames,
        "key_is_accurate": message.key_is_accurate,
        "waited_for_slow_track": message.waited_for_slow_track,
        "predicted_deviation": _finite(message.predicted_deviation),
        **{f"{stage}_ms": round(getattr(message, f"{stage}_ms"), 3) for stage in STAGES},
        "slow_track_ms": _finite(message.slow_track_ms),
    }


def _finite(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _milliseconds(figures: Mapping[str, float | int | None]) -> str:
    if not figures["frames"]:
        return "       -        -        -"
    return "".join(f"{figures[name]:9.1f}" for name in ("p50", "p99", "max")).removeprefix(" ")

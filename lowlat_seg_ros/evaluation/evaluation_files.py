"""An evaluation as files: figures for programs, tables for people, and the paper's figures as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import cv2

from lowlat_seg_ros.data.drawing import Picture
from lowlat_seg_ros.data.plot import Series, draw_plot
from lowlat_seg_ros.evaluation.deviations import DeviationPair, correlation
from lowlat_seg_ros.evaluation.distances import DistanceCurve
from lowlat_seg_ros.evaluation.evaluation import Evaluation
from lowlat_seg_ros.evaluation.evaluation_markdown import evaluation_markdown
from lowlat_seg_ros.evaluation.latency import TWO_TRACKS, LatencyRow
from lowlat_seg_ros.evaluation.policy_curves import POLICIES, PolicyPoint
from lowlat_seg_ros.evaluation.propagation_ways import PropagationScore
from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.evaluation.rows import full_network_at_its_best

FORMAT: Final = "lowlat_seg_ros evaluation"
VERSION: Final = 2
JSON_FILE: Final = "evaluation.json"
MARKDOWN_FILE: Final = "evaluation.md"


def evaluation_files(found: Evaluation) -> dict[str, bytes]:
    """Every file of the folder, by its name."""
    files = {
        JSON_FILE: json_text(evaluation_mapping(found)).encode(),
        MARKDOWN_FILE: evaluation_markdown(found).encode(),
    }
    return {**files, **{f"{name}.png": png(picture) for name, picture in plots(found).items()}}


def evaluation_mapping(found: Evaluation) -> dict[str, Any]:
    """Plain lists, numbers and strings; null where nothing is known. Only ``latency`` and ``timings`` ever change."""
    best = full_network_at_its_best(found.rows)
    mapping = {
        "format": FORMAT,
        "version": VERSION,
        "model": found.model,
        "clip": found.clip,
        "frames": found.frames,
        "classes": found.classes,
        "settings": asdict(found.plan.settings),
        "rows": [asdict(row) for row in found.rows],
        "full_network_at_its_best": None if best is None else best.name,
        "distances": None if found.distances is None else _distances(found.distances),
        "propagation_ways": _mappings(found.propagation_ways),
        "deviations": None if found.deviations is None else _deviations(found.deviations),
        "policies": _mappings(found.policies),
        "latency": None if found.latency is None else asdict(found.latency),
        "timings": found.seconds,
    }
    plain: dict[str, Any] = _plain(mapping)
    return plain


def _distances(curve: DistanceCurve) -> dict[str, Any]:
    return {**asdict(curve), "mean": curve.mean, "minimum": curve.minimum}


def _deviations(pairs: list[DeviationPair]) -> dict[str, Any]:
    predicted = [pair.predicted for pair in pairs]
    of_full_network, of_truth = [pair.of_full_network for pair in pairs], [pair.of_truth for pair in pairs]
    return {
        "pairs": len(pairs),
        "correlation_with_full_network": correlation(predicted, of_full_network),
        "correlation_with_truth": correlation(predicted, of_truth),
        "key": [pair.key for pair in pairs],
        "index": [pair.index for pair in pairs],
        "predicted": predicted,
        "of_full_network": of_full_network,
        "of_truth": of_truth,
    }


def _mappings(figures: Sequence[PropagationScore] | Sequence[PolicyPoint] | None) -> list[dict[str, Any]] | None:
    return None if figures is None else [asdict(figure) for figure in figures]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- The paper's figures ---------------------------------------------------------------------------------------------


def plots(found: Evaluation) -> dict[str, Picture]:
    """A picture of each analysis that was made, by its name."""
    pictures = {}
    if found.distances:
        pictures["distances"] = distance_plot(found.distances)
    if found.deviations:
        pictures["deviations"] = deviation_plot(found.deviations)
    if found.policies:
        pictures["policies"] = policy_plot(found.policies, found.frames)
    if found.latency:
        pictures["latency"] = latency_plot(found.latency.rows)
    return pictures


def distance_plot(curve: DistanceCurve) -> Picture:
    return draw_plot(
        [Series("propagated in one step, with fusion; at 0 Sh's own", list(enumerate(curve.mean_iou)))],
        "Accuracy by distance from the key frame",
        "frames since the key frame",
        "mIoU",
    )


def deviation_plot(pairs: list[DeviationPair]) -> Picture:
    """The paper's figure 3, as a cloud: each pair of frames is a point."""
    against = {
        "full network's labels": [pair.of_full_network for pair in pairs],
        "ground truth": [pair.of_truth for pair in pairs],
    }
    predicted = [pair.predicted for pair in pairs]
    clouds = [
        Series(f"{name}, {_pearson(predicted, true)}", list(zip(true, predicted, strict=True)), is_line=False)
        for name, true in against.items()
    ]
    return draw_plot(
        clouds[::-1],  # what the predictor learns comes last, on top
        "Predicted against true deviation",
        "fraction of pixels whose label differs",
        "predicted fraction",
        has_diagonal=True,
    )


def _pearson(predicted: list[float], true: list[float]) -> str:
    value = correlation(predicted, true)
    return "which do not vary" if math.isnan(value) else f"Pearson {value:.3f}"


def policy_plot(points: list[PolicyPoint], frames: int) -> Picture:
    """The paper's figure 5."""
    curves = [
        Series(name, [(frames / point.key_frames, point.mean_iou) for point in points if point.policy == name])
        for name in POLICIES
    ]
    return draw_plot(
        curves, "Accuracy against key-frame interval, waiting for Sh", "frames per key frame, on average", "mIoU"
    )


def latency_plot(rows: tuple[LatencyRow, ...]) -> Picture:
    """The paper's figure 1."""
    groups = {
        TWO_TRACKS: [row for row in rows if row.name == TWO_TRACKS],
        "single-frame networks": [row for row in rows if row.name != TWO_TRACKS],
    }
    clouds = [
        Series(name, [(row.p99_ms, row.mean_iou) for row in group], is_line=False, captions=[row.name for row in group])
        for name, group in groups.items()
    ]
    return draw_plot(clouds, "Accuracy against latency", "p99 of a frame's latency (ms)", "mIoU", x_from_zero=True)


def png(picture: Picture) -> bytes:
    """A picture as a PNG file holds it."""
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()

"""An evaluation as files: figures for programs, tables for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from lowlat_seg_ros.evaluation.corruptions import CorruptionScore
from lowlat_seg_ros.evaluation.deviations import DeviationPair, correlation, mean_error, slope
from lowlat_seg_ros.evaluation.distances import DistanceCurve
from lowlat_seg_ros.evaluation.evaluation import Evaluation
from lowlat_seg_ros.evaluation.evaluation_markdown import evaluation_markdown
from lowlat_seg_ros.evaluation.paper_tables import PaperTable
from lowlat_seg_ros.evaluation.policy_curves import PolicyPoint
from lowlat_seg_ros.evaluation.propagation_ways import PropagationScore
from lowlat_seg_ros.evaluation.reliability import ReliabilityCurve
from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.evaluation.rows import TrackSettings, full_network_at_its_best

FORMAT: Final = "lowlat_seg_ros evaluation"
VERSION: Final = 2
JSON_FILE: Final = "evaluation.json"
MARKDOWN_FILE: Final = "evaluation.md"
SHEET_FILE: Final = "corruptions.png"


def evaluation_files(found: Evaluation) -> dict[str, bytes]:
    """By their names; `plot_files` adds the plots."""
    return {
        JSON_FILE: json_text(evaluation_mapping(found)).encode(),
        MARKDOWN_FILE: evaluation_markdown(found).encode(),
        **({} if found.corrupted is None else {SHEET_FILE: found.corrupted.sheet}),
    }


def evaluation_mapping(found: Evaluation) -> dict[str, Any]:
    """Plain lists, numbers and strings; null where nothing is known. Only ``latency`` and ``timings`` ever change."""
    best = full_network_at_its_best(found.rows, found.full_rows)
    mapping = {
        "format": FORMAT,
        "version": VERSION,
        "model": found.model,
        "clip": found.clip,
        "frames": found.frames,
        "classes": found.classes,
        "problems": found.problems,
        "warning": found.warning,
        "settings": _settings(found.plan.settings),
        "rows": [asdict(row) for row in (*found.rows, *([] if found.cut is None else [found.cut]))],
        "full_network_at_its_best": None if best is None else best.name,
        "distances": None if found.distances is None else _distances(found.distances),
        "propagation_ways": _mappings(found.propagation_ways),
        "deviations": None if found.deviations is None else _deviations(found.deviations),
        "driven_deviations": None if found.driven_deviations is None else _deviations(found.driven_deviations),
        "policies": _mappings(found.policies),
        "reliability": _mappings(found.reliability),
        "corruptions": None if found.corrupted is None else _mappings(found.corrupted.scores),
        "latency": None if found.latency is None else asdict(found.latency),
        "table": None if found.table is None else _table(found.table),
        "timings": found.seconds,
    }
    plain: dict[str, Any] = _plain(mapping)
    return plain


def _settings(settings: TrackSettings) -> dict[str, Any]:
    mapping = asdict(settings)
    return {**mapping.pop("adaptive"), **mapping}


def _distances(curve: DistanceCurve) -> dict[str, Any]:
    return {**asdict(curve), "mean": curve.mean, "minimum": curve.minimum}


def _deviations(pairs: list[DeviationPair]) -> dict[str, Any]:
    predicted = [pair.predicted for pair in pairs]
    of_full_network, of_truth = [pair.of_full_network for pair in pairs], [pair.of_truth for pair in pairs]
    return {
        "pairs": len(pairs),
        "correlation_with_full_network": correlation(predicted, of_full_network),
        "correlation_with_truth": correlation(predicted, of_truth),
        "mean_error": mean_error(pairs),
        "slope": slope(pairs),
        "key": [pair.key for pair in pairs],
        "index": [pair.index for pair in pairs],
        "predicted": predicted,
        "of_full_network": of_full_network,
        "of_truth": of_truth,
    }


def _table(table: PaperTable) -> dict[str, Any]:
    rows = [{**asdict(row), "paper": row.paper._asdict()} for row in table.rows]
    return {**asdict(table), "rows": rows}


def _mappings(
    figures: Sequence[PropagationScore | PolicyPoint | ReliabilityCurve | CorruptionScore] | None,
) -> list[dict[str, Any]] | None:
    return None if figures is None else [asdict(figure) for figure in figures]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

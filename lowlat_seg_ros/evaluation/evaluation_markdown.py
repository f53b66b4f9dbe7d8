"""An evaluation as tables that read well as plain text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from lowlat_seg_ros.evaluation.corruptions import CorruptionScore
from lowlat_seg_ros.evaluation.deviations import correlation, mean_error, slope
from lowlat_seg_ros.evaluation.distances import DistanceCurve
from lowlat_seg_ros.evaluation.evaluation import Evaluation
from lowlat_seg_ros.evaluation.latency import TWO_TRACKS, LatencyReport
from lowlat_seg_ros.evaluation.paper_tables import PaperTable, table_cells
from lowlat_seg_ros.evaluation.policy_curves import FIXED, POLICIES, PREDICTED, TRUE, PolicyPoint, gain
from lowlat_seg_ros.evaluation.propagation_ways import PropagationScore
from lowlat_seg_ros.evaluation.reliability import ReliabilityCurve
from lowlat_seg_ros.evaluation.report_text import NO_VALUE, table
from lowlat_seg_ros.evaluation.rows import ScoreRow, full_network_at_its_best

# A table's columns, and the fields of a row that they show.
SCORES: Final = {"mIoU": "mean_iou", "PA": "pixel_accuracy", "CA": "class_accuracy", "of full": "share_of_full"}
AGREEMENT: Final = {"agreement, mIoU": "agreement_iou", "pixels": "agreement_pixels"}


def evaluation_markdown(found: Evaluation) -> str:
    """The whole evaluation in Markdown."""
    if found.table is not None:
        return "\n".join([*_paper_table(found.table, found), *_left_out(found)]) + "\n"
    kind = "consecutive frames" if found.plan.is_video else "stills"
    lines = [f"# {found.model} on {found.clip}", "", f"{found.frames} {kind}, the same for every row.", ""]
    lines += row_table(found.rows, found.full_rows)
    if found.rows:
        lines += ["", *class_table(found.rows, found.classes)]
    if found.cut:
        pixels = _figure(found.cut.agreement_pixels)
        agreement = f"As the full network's own: {pixels} of the pixels of {found.cut.description}."
        lines += ["", "## After a cut", "", agreement]
    what = "mIoU" if all(row.class_iou for row in found.rows) else "agreement, mIoU"
    if found.distances:
        lines += ["", "## By distance from the key frame", "", *_distances(found.distances, what)]
    if found.propagation_ways:
        lines += ["", f"## Ways to propagate ({what} without / with fusion)", "", *_propagation(found.propagation_ways)]
    if found.deviations:
        lines += ["", "## Predicted against true deviation", "", *_deviations(found)]
    if found.policies:
        lines += ["", f"## Policies at the same number of key frames ({what})", "", *_policies(found.policies)]
    if found.reliability:
        lines += ["", "## Confidence against agreement", "", *_reliability(found.reliability)]
    if found.corrupted:
        lines += ["", "## Corrupted pictures", "", *_corruptions(found.rows, found.corrupted.scores)]
    if found.latency:
        lines += ["", "## Accuracy against latency", "", *_latency(found.latency)]
    return "\n".join([*lines, *_left_out(found)]) + "\n"


def _left_out(found: Evaluation) -> list[str]:
    """What has no part in the figures, or was assumed."""
    lines = ["", "## Problems", "", *(f"- {problem}" for problem in found.problems)] if found.problems else []
    return [*lines, "", found.warning] if found.warning else lines


def _paper_table(paper: PaperTable, found: Evaluation) -> list[str]:
    title = f"# The paper's table {paper.number}, {found.model} on {found.clip}: {paper.title}"
    lines = [title, "", *table(*table_cells(paper))]
    for note in paper.notes:
        lines += ["", note]
    if paper.controls:
        cells = [[control.name, _figure(control.mean_iou), control.shows] for control in paper.controls]
        lines += ["", "## Why its rows are in this order", "", *table(["control", "mIoU", "shows"], cells)]
    return lines


def row_table(rows: Sequence[ScoreRow], full_rows: Sequence[str]) -> list[str]:
    """All rows, and under them what their shares are of, or what they agree with."""
    has_labels = all(row.class_iou for row in rows)
    scores = SCORES if has_labels else AGREEMENT
    head = ["row", *scores, "key frames", "consistency", ""]
    cells = [
        [
            row.name,
            *(_figure(getattr(row, name)) for name in scores.values()),
            f"{row.key_frame_ratio:.2f}",
            _figure(row.temporal_consistency),
            row.description,
        ]
        for row in rows
    ]
    if not has_labels:
        return [*table(head, cells), "", "There are no labels: agreement is with the full network's own."]
    best = full_network_at_its_best(rows, full_rows)
    if best is None:
        return table(head, cells)
    explanation = f"'of full' is the mIoU by that of the full network given its best, here {best.name}: "
    return [*table(head, cells), "", f"{explanation}{_figure(best.mean_iou)}."]


def class_table(rows: Sequence[ScoreRow], classes: Sequence[str]) -> list[str]:
    """IoU by class: against the labels, or where there are none against the full network's."""
    has_labels = all(row.class_iou for row in rows)
    by_class = [row.class_iou if has_labels else row.agreement_class_iou for row in rows]
    return table(
        ["IoU" if has_labels else "agreement, IoU", *(row.name for row in rows)],
        [[name, *(_figure(iou[index]) for iou in by_class)] for index, name in enumerate(classes)],
    )


def _distances(curve: DistanceCurve, what: str) -> list[str]:
    return [
        *table(
            ["frames since the key frame", *map(str, range(len(curve.mean_iou))), "mean", "minimum"],
            [[what, *map(_figure, (*curve.mean_iou, curve.mean, curve.minimum))]],
        ),
        "",
        f"The same {curve.frames} frames at every distance, each propagated in one step from the frame so far back. At "
        "0 the labels are Sh's own.",
    ]


def _propagation(scores: Sequence[PropagationScore]) -> list[str]:
    distances = sorted({score.distance for score in scores})
    names = list(dict.fromkeys(score.name for score in scores))
    by_cell = {(score.name, score.distance): score for score in scores}
    cells = []
    for name in names:
        across = [by_cell[name, distance] for distance in distances]
        figures = [f"{_figure(score.without_fusion)} / {_figure(score.with_fusion)}" for score in across]
        cells.append([name, *figures, across[0].description])
    return table(["way", *(f"{distance} frames" for distance in distances), ""], cells)


def _deviations(found: Evaluation) -> list[str]:
    settings = found.plan.settings.in_words()
    kinds = {
        "as the network predicts it, over all pairs of up to 10 frames": found.deviations,
        f"as the policy sees it, having learned from answers: {settings}": found.driven_deviations,
    }
    cells = []
    for kind, pairs in kinds.items():
        predicted, true = ([getattr(pair, name) for pair in pairs or ()] for name in ("predicted", "of_full_network"))
        of_truth = correlation(predicted, [pair.of_truth for pair in pairs or ()])
        figures = [_mean(predicted), _mean(true), mean_error(pairs or ()), slope(pairs or ())]
        figures += [correlation(predicted, true), of_truth]
        cells.append([kind, str(len(predicted)), *map(_figure, figures)])
    head = ["deviation", "pairs", "predicted, mean", "true", "too high by", "slope", "correlation", "with ground truth"]
    explanation = "True is that of the full network's labels; slope: by how much it grows where the predicted one does."
    return [*table(head, cells), "", explanation]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _policies(points: Sequence[PolicyPoint]) -> list[str]:
    by_cell = {(point.policy, point.interval): point for point in points}
    intervals = sorted({point.interval for point in points})
    cells = []
    for interval in intervals:
        fixed, *others = [by_cell[policy, interval] for policy in POLICIES]
        phases = f"{_figure(min(fixed.by_phase))} to {_figure(max(fixed.by_phase))}"
        cells.append([str(interval), str(fixed.key_frames), _figure(fixed.mean_iou), phases])
        for point in others:
            gained = gain(point, fixed)
            cells[-1].append(f"{_figure(point.mean_iou)} ({gained.mean:+.4f} ± {gained.error:.4f})")
    lines = table(["interval", "key frames", FIXED, "its phases", *POLICIES[1:]], cells)
    explanation = (
        "Means over up to 5 phases, frames at which all policies are begun anew; in brackets the gain over the fixed "
        "interval and its standard error over the phases."
    )
    lines += ["", explanation]
    by_more = "by more than twice the standard error"
    for policy in (PREDICTED, TRUE):
        gains = {interval: gain(by_cell[policy, interval], by_cell[FIXED, interval]) for interval in intervals}
        behind = [str(interval) for interval, gained in gains.items() if gained.mean < 0]
        surely = [str(interval) for interval, gained in gains.items() if gained.mean < -2 * gained.error]
        verdict = f"less accurate than the fixed interval at {', '.join(behind)}" if behind else "nowhere less accurate"
        certain = f"{by_more} at {', '.join(surely)}" if surely else f"nowhere {by_more}"
        overall = sum(gained.mean for gained in gains.values()) / len(gains)
        lines += ["", f"By {policy} the labels are {verdict}, {certain}; over all intervals {overall:+.4f}."]
    return lines


def _reliability(curves: Sequence[ReliabilityCurve]) -> list[str]:
    lines = []
    for curve in curves:
        predicted, observed = ([getattr(each, name) for each in curve.bins] for name in ("predicted", "observed"))
        what, predictions = f"{curve.name}, {curve.frames} frames", [f"{value:.2f}" for value in predicted]
        head = [what, *predictions, "all", "calibration error", "Brier"]
        errors = [_figure(curve.calibration_error), _figure(curve.brier)]
        agree = ["agree", *(f"{value:.2f}" for value in observed), f"{curve.observed:.3f}", *errors]
        share = ["of the pixels", *(f"{each.share:.3f}" for each in curve.bins), f"{curve.predicted:.3f} predicted"]
        lines += [*table(head, [agree, [*share, NO_VALUE, NO_VALUE]]), ""]
    return [
        *lines,
        "Over the frames from the slow network's first answer on. Above each column stands the predicted probability "
        "that a label is the full network's own, under it the share of those that are.",
    ]


def _corruptions(clean: Sequence[ScoreRow], scores: Sequence[CorruptionScore]) -> list[str]:
    """Every row at every corruption, and over all kinds by strength."""
    score = "mean_iou" if all(row.class_iou for row in clean) else "agreement_iou"
    strengths = sorted({each.strength for each in scores})
    cells = [["none", "-", *(_figure(getattr(row, score)) for row in clean)]]
    for each in scores:
        cells.append([each.kind, str(each.strength), *(_figure(getattr(row, score)) for row in each.rows)])
    for strength in strengths:
        same = [each.rows for each in scores if each.strength == strength]
        means = [sum(getattr(row, score) for row in rows) / len(rows) for rows in zip(*same, strict=True)]
        cells.append([f"mean of {len(same)}", str(strength), *map(_figure, means)])
    what = (
        "mIoU"
        if score == "mean_iou"
        else "agreement, mIoU, with the full network's labels of the pictures as they were"
    )
    return table([f"corruption ({what})", "strength", *(row.name for row in clean)], cells)


def _latency(report: LatencyReport) -> list[str]:
    head = ["", "mIoU", "median ms", "p99 ms", "max ms", "frames", "threads", "Sh beside it, ms"]
    lines = table(
        head,
        [
            [
                row.name,
                _figure(row.mean_iou),
                *(f"{value:.1f}" for value in (row.median_ms, row.p99_ms, row.max_ms)),
                str(row.frames),
                row.threads,
                NO_VALUE if row.slow_track_ms is None else f"{row.slow_track_ms:.1f}",
            ]
            for row in report.rows
        ],
    )
    most = max(row.frames for row in report.rows)
    once = " Fewer frames: not timed after the first round, where the same network was much quicker elsewhere."
    lines += [
        "",
        f"{report.conditions()}; frames at {report.rate_hz:g} Hz, {report.rounds} rounds of all in turn."
        f"{once if any(row.frames < most for row in report.rows) else ''}",
    ]
    return [*lines, "", *_verdict(report)]


def _verdict(report: LatencyReport) -> list[str]:
    """Whether a single-frame network that is no slower has better labels, by the median and by the p99."""
    tracks = next(row for row in report.rows if row.name == TWO_TRACKS)
    measures: Iterable[tuple[str, Callable[..., float]]] = (
        ("median", lambda row: row.median_ms),
        ("p99", lambda row: row.p99_ms),
    )
    lines = []
    for name, milliseconds in measures:
        rivals = [row for row in report.rows if row is not tracks and milliseconds(row) <= milliseconds(tracks)]
        better = [row.name for row in rivals if row.mean_iou >= tracks.mean_iou]
        found = f"{', '.join(better)} has labels as good" if better else "none has labels as good"
        lines.append(f"Of {len(rivals)} single-frame networks that are no slower by the {name}, {found}.")
    return lines


def _figure(value: float) -> str:
    return NO_VALUE if math.isnan(value) else f"{value:.4f}"

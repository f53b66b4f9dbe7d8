"""The paper's figures of an evaluation as PNG files, drawn with matplotlib (the extra `plots`)."""

from __future__ import annotations

import io
import itertools
import math
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from lowlat_seg_ros.evaluation.deviations import DeviationPair, correlation
from lowlat_seg_ros.evaluation.distances import DistanceCurve
from lowlat_seg_ros.evaluation.evaluation import Evaluation
from lowlat_seg_ros.evaluation.latency import TWO_TRACKS, LatencyRow
from lowlat_seg_ros.evaluation.policy_curves import FIXED, POLICIES, PolicyPoint
from lowlat_seg_ros.evaluation.reliability import ReliabilityCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_INCHES: Final = (6.4, 4.2)  # small for its dots, so that words can be read at a phone's width
DOTS_PER_INCH: Final = 200
MARKERS: Final = "osD^vPX<>*"
COLOURS: Final = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
)  # Okabe and Ito's: for colour-blind readers too


def plot_files(found: Evaluation) -> dict[str, bytes]:
    """A PNG of each analysis that was made, by its file's name; none without matplotlib, and one sentence says so."""
    if find_spec("matplotlib") is None:
        print(
            "There are no plots: drawing them needs matplotlib; pip install -r requirements/plots.txt", file=sys.stderr
        )
        return {}
    figures = {}
    if found.distances:
        figures["distances"] = distance_figure(found.distances)
    if found.deviations:
        figures["deviations"] = deviation_figure(found.deviations)
    if found.policies:
        figures["policies"] = policy_figure(found.policies, found.frames)
    if found.reliability:
        figures["reliability"] = reliability_figure(found.reliability)
    if found.latency:
        figures["latency"] = latency_figure(found.latency.rows)
    return {f"{name}.png": png_of(figure) for name, figure in figures.items()}


def distance_figure(curve: DistanceCurve) -> Figure:
    figure, axes = empty_figure("Accuracy by distance from the key frame", "frames since the key frame", "mIoU")
    axes.plot(curve.mean_iou, "o-", color=COLOURS[0], label="propagated in one step, with fusion; at 0: Sh's own")
    axes.set_xticks(range(len(curve.mean_iou)))
    axes.legend()
    return figure


def deviation_figure(pairs: list[DeviationPair]) -> Figure:
    """The paper's figure 3 as a cloud: each pair of frames is a point."""
    titles = "Predicted against true deviation", "fraction of pixels whose label differs", "predicted fraction"
    figure, axes = empty_figure(*titles)
    predicted = [pair.predicted for pair in pairs]
    against = {
        "ground truth": [pair.of_truth for pair in pairs],
        "full network's labels": [pair.of_full_network for pair in pairs],  # what is learned: drawn on top
    }
    for (name, true), colour in zip(against.items(), COLOURS[1::-1], strict=True):
        axes.scatter(true, predicted, 14, colour, alpha=0.5, linewidths=0, label=f"{name}, {_pearson(predicted, true)}")
    axes.axline((0, 0), slope=1, color="grey", linewidth=1, label="equal")
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.legend()
    return figure


def _pearson(predicted: list[float], true: list[float]) -> str:
    value = correlation(predicted, true)
    return "which do not vary" if math.isnan(value) else f"Pearson {value:.3f}"


def policy_figure(points: list[PolicyPoint], frames: int) -> Figure:
    """The paper's figure 5; ``frames``: of the clip."""
    titles = "Accuracy against key-frame interval, waiting for Sh", "frames per key frame, on average", "mIoU"
    figure, axes = empty_figure(*titles)
    for name, marker, colour in zip(POLICIES, MARKERS, COLOURS, strict=False):
        own = [point for point in points if point.policy == name]
        intervals = [frames / point.key_frames for point in own]
        axes.plot(intervals, [point.mean_iou for point in own], f"{marker}-", color=colour, label=name)
        if name == FIXED:
            lowest, highest = ([ends(point.by_phase) for point in own] for ends in (min, max))
            axes.fill_between(
                intervals, lowest, highest, color=colour, alpha=0.15, linewidth=0, zorder=0, label="its phases"
            )
    axes.legend()
    return figure


def reliability_figure(curves: Sequence[ReliabilityCurve]) -> Figure:
    """Right where it is on the diagonal; the larger a point, the more pixels."""
    titles = "Confidence against agreement", "predicted: the label is the full network's own", "share that is"
    figure, axes = empty_figure(*titles)
    axes.axline((0, 0), slope=1, color="grey", linewidth=1, label="right")
    for curve, colour, marker in zip(curves, itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False):
        predicted, observed = ([getattr(each, name) for each in curve.bins] for name in ("predicted", "observed"))
        label = f"{curve.name}: error {curve.calibration_error:.3f}"
        axes.plot(predicted, observed, "-", color=colour, marker=marker, markersize=4, label=label)
        sizes = [600 * each.share for each in curve.bins]
        axes.scatter(predicted, observed, sizes, colour, alpha=0.3, linewidths=0)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    return figure


def latency_figure(rows: tuple[LatencyRow, ...]) -> Figure:
    """The paper's figure 1. Names stand in the legend, where no two of them can meet."""
    figure, axes = empty_figure("Accuracy against latency", "p99 of a frame's latency (ms)", "mIoU")
    markers = itertools.cycle(MARKERS)
    for row in rows:
        colour = COLOURS[0] if row.name == TWO_TRACKS else COLOURS[1]
        axes.scatter(row.p99_ms, row.mean_iou, 90, colour, marker=next(markers), label=row.name)
    axes.set_xlim(0, None)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    return figure


def empty_figure(title: str, x_title: str, y_title: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(SIZE_INCHES, DOTS_PER_INCH, layout="constrained")
    axes: Any = figure.subplots()
    prepare(axes, title, x_title, y_title)
    return figure, axes


def prepare(axes: Axes, title: str, x_title: str, y_title: str) -> None:
    """Titles, and a grid below what is drawn."""
    axes.set(title=title, xlabel=x_title, ylabel=y_title)
    axes.grid(color="gainsboro")
    axes.set_axisbelow(True)


def png_of(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()

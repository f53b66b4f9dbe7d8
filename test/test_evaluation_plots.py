"""The paper's figures: values where they belong, names that do not meet, and one sentence without matplotlib."""

from __future__ import annotations

import itertools
import math
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lowlat_seg_ros.evaluation.deviations import DeviationPair
from lowlat_seg_ros.evaluation.distances import DistanceCurve
from lowlat_seg_ros.evaluation.latency import LatencyRow
from lowlat_seg_ros.evaluation.paper_figures import LINES_OF_TEXT, accuracy_against_latency, deviation_over_time, spread
from lowlat_seg_ros.evaluation.paper_tables import PaperTable, TableRow
from lowlat_seg_ros.evaluation.plots import deviation_figure, distance_figure, latency_figure, plot_files, policy_figure
from lowlat_seg_ros.evaluation.policy_curves import FIXED, POLICIES, PolicyPoint
from lowlat_seg_ros.evaluation.published import FIGURE_1, TABLE_1

PAIRS = [DeviationPair(0, index, 0.01 * index, 0.012 * index, 0.02 * index) for index in range(1, 9)]
POINTS = [
    PolicyPoint(name, interval, 60 // interval, 0.75 - 0.01 * interval, (0.7, 0.6) if name == FIXED else (0.8, 0.7), ())
    for name in POLICIES
    for interval in (2, 5)
]
ROWS = tuple(
    LatencyRow(name, "1", 0.7, 9, 18.5, 18.0, 24.0, 30.0, 28.0) for name in ("two tracks", "Sl alone", "full network")
)


def names_in(legend: Any) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def test_a_curve_of_distances_begins_at_the_key_frame() -> None:
    (axes,) = distance_figure(DistanceCurve(9, (0.75, 0.74, math.nan, 0.7))).axes
    (line,) = axes.lines
    assert np.asarray(line.get_xdata()).tolist() == [0, 1, 2, 3]
    assert np.asarray(line.get_ydata()).tolist()[:2] == [0.75, 0.74]


def test_each_pair_of_frames_is_a_point_for_the_truth_and_one_for_the_full_network() -> None:
    (axes,) = deviation_figure(PAIRS).axes
    assert [len(np.asarray(cloud.get_offsets())) for cloud in axes.collections] == [8, 8]
    assert names_in(axes.get_legend()) == [
        "ground truth, Pearson 1.000",
        "full network's labels, Pearson 1.000",
        "equal",
    ]


def test_every_policy_has_its_line() -> None:
    (axes,) = policy_figure(POINTS, frames=60).axes
    assert sorted(names_in(axes.get_legend())) == sorted([*POLICIES, "its phases"])
    assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines] == [[2, 5]] * len(POLICIES)


def test_networks_of_the_same_latency_and_accuracy_are_all_named() -> None:
    figure = latency_figure(ROWS)
    assert names_in(figure.legends[0]) == [row.name for row in ROWS]
    assert [tuple(np.asarray(cloud.get_offsets())[0]) for cloud in figure.axes[0].collections] == [(24.0, 0.7)] * 3


def test_without_matplotlib_there_are_no_plots_and_one_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plot_files(SimpleNamespace()) == {}  # type: ignore[arg-type]
    (line,) = capsys.readouterr().err.splitlines()
    assert "needs matplotlib; pip install" in line


def test_figure_1_has_the_papers_numbers_above_ours_and_quotes_within_the_picture() -> None:
    """A recorded row is marked as one; names of two that are as good as each other do not meet."""
    rows = (
        TableRow("baseline", TABLE_1["baseline"], 0.75, max_ms=180.0),
        TableRow("GRFP(5)", TABLE_1["GRFP(5)"], 0.755, max_ms=309.0, origin="recorded"),
        TableRow("just in time", mean_iou=0.68, max_ms=41.0),
    )
    figure = accuracy_against_latency(PaperTable(1, "", (), rows, ()))
    upper, lower = ([tuple(np.asarray(mark.get_offsets())[0]) for mark in axes.collections] for axes in figure.axes)
    assert upper == [(360, 0.802), (470, 0.694)] and lower == [(180.0, 0.75), (309.0, 0.755), (41.0, 0.68)]
    assert names_in(figure.legends[0]) == ["baseline", "GRFP(5) (recorded)", "just in time"]
    heights = [float(text.get_position()[1]) for text in figure.axes[0].texts]
    low, high = figure.axes[0].get_ylim()
    assert len(heights) == len(FIGURE_1)
    assert all(above - below >= 0.99 * (high - low) / LINES_OF_TEXT for below, above in itertools.pairwise(heights))


def test_names_are_moved_up_only_where_they_would_meet() -> None:
    assert spread([0.1, 0.5, 0.52, 0.53, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.6, 0.7, 0.9])


def test_figure_3_begins_anew_after_each_key_frame() -> None:
    predicted, true = [0.0, 0.1, 0.2, 0.1, 0.3], [0.0, 0.05, 0.1, 0.06, 0.2]
    (axes,) = deviation_over_time(predicted, true, [True, False, True, False, True], threshold=0.15).axes
    drawn = {tuple(np.asarray(line.get_xdata()).tolist()): np.asarray(line.get_ydata()).tolist() for line in axes.lines}
    assert drawn[1, 2] == [0.1, 0.2] and drawn[3, 4] == [0.1, 0.3]  # the last drawn are the predicted ones
    assert drawn[2, 4] == [0.2, 0.3]  # the rings around key frames but the first

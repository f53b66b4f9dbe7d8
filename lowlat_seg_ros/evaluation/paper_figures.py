"""The paper's figures 1, 3, 5, 6 and 7 from runs of our own, as PNG files. Read ``main`` first.

``python -m lowlat_seg_ros.evaluation.paper_figures --out figures_out`` draws them (`make figures` calls it). Figure 6,
Cityscapes in the paper, is of the synthetic street; figure 7, of CamVid's clip, must not be published: its pictures are
for research use.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.camvid import LabelledFolder
from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.drawing import FONT, PAPER, colourise, contact_sheet, encoded_png, legend, line_of_text
from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.evaluation.deviations import deviation
from lowlat_seg_ros.evaluation.evaluated_clip import CAMVID_HZ, EvaluatedClip
from lowlat_seg_ros.evaluation.key_pairs import drive
from lowlat_seg_ros.evaluation.latency import LatencySettings
from lowlat_seg_ros.evaluation.pair_scores import PairScores
from lowlat_seg_ros.evaluation.paper_tables import INTERVAL, PAPERS_PROPAGATION, PaperTable, table_1
from lowlat_seg_ros.evaluation.plots import (
    COLOURS,
    DOTS_PER_INCH,
    MARKERS,
    empty_figure,
    png_of,
    policy_figure,
    prepare,
)
from lowlat_seg_ros.evaluation.policy_curves import policy_curves
from lowlat_seg_ros.evaluation.published import FIGURE_1
from lowlat_seg_ros.evaluation.rows import TrackSettings, in_engine
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.steady_memory import prepare_for_timing
from lowlat_seg_ros.runtime.threads import thread_counts
from lowlat_seg_ros.stream.key_frames import DEFAULT_POLICY, FixedInterval, PredictedDeviation
from lowlat_seg_ros.stream.networks import load_networks
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAMVID: Final = Path("../shared/camvid")
STREET_FRAMES: Final = 60
SHOWN: Final = 4  # rows of a picture table
WINDOW: Final = (97, 73)  # pixels, of the regions that are marked
LEAST: Final = 0.03  # of a window's pixels: what differs less cannot be seen
BETTER, WORSE = ((220, 0, 0), "+"), ((0, 0, 0), "-")  # RGB and sign: ours alone is right, ours alone is wrong
MARKS_IN_WORDS: Final = (
    f"{INTERVAL - 1} frames after a key frame. Red, +: ours alone is right. Black, -: ours alone is wrong."
)
TILE_WIDTH: Final = 320  # pixels
TEXT_HEIGHT: Final = 15  # pixels, of capitals: five tiles are shown at a phone's width
TALL_INCHES: Final = (6.4, 7.4)  # of figure 1
LINES_OF_TEXT: Final = 14  # that are as high as one of its two parts
WAYS: Final = {"DFF": "optical_flow", "Clockwork": "clockwork", "ours": "adaptive"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 1 after one sentence on what was wrong."""
    parser = argparse.ArgumentParser(prog="paper_figures", description="Draw the paper's figures from our own runs.")
    parser.add_argument("--model", default="default", help="with comparisons, all rows and columns are measured")
    parser.add_argument("--camvid", type=Path, default=CAMVID, help="with val and valannot; else the street stands in")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--only", type=int, nargs="+", choices=sorted(FIGURES), help="some of the figures")
    options = parser.parse_args(arguments)
    try:
        draw(options)
    except (Error, OSError) as error:
        print(f"paper_figures: {error}", file=sys.stderr)
        return 1
    return 0


def draw(options: argparse.Namespace) -> None:
    network = load_networks(options.model, "default", torch.device("cpu")).fast
    assert isinstance(network, SegmentationNetwork)
    drive = SyntheticStreet(frame_count=STREET_FRAMES)
    clip_of = partial(EvaluatedClip, network, propagation=PAPERS_PROPAGATION, rate_hz=CAMVID_HZ)
    clip = street = clip_of(drive[index] for index in range(len(drive)))
    if (options.camvid / "val").is_dir():
        folder = LabelledFolder(options.camvid / "val", options.camvid / "valannot")
        clip = clip_of(folder)
    for number in options.only or FIGURES:
        if number == 7 and clip is street:
            print(f"figure 7 takes CamVid's clip, and {options.camvid} has none", file=sys.stderr)
            continue
        picture = FIGURES[number](street if number == 6 else clip)
        atomic_write(options.out / f"figure_{number}.png", picture)
        print(options.out / f"figure_{number}.png")


# --- Plots ------------------------------------------------------------------------------------------------------------


def figure_1(clip: EvaluatedClip) -> bytes:
    """Accuracy against latency, of table 1."""
    prepare_for_timing()
    settings = TrackSettings(INTERVAL, DEFAULT_POLICY, (1,))
    made = table_1(clip, settings, LatencySettings(CAMVID_HZ, 1), thread_counts(0, 0))
    return png_of(accuracy_against_latency(made.table))


def accuracy_against_latency(table: PaperTable) -> Figure:
    """The paper's numbers above, ours below, each method by the same mark; quoted ones at the edge."""
    from matplotlib.figure import Figure

    figure = Figure(TALL_INCHES, DOTS_PER_INCH, layout="constrained")
    upper, lower = figure.subplots(2, 1)
    prepare(upper, "The paper's: Cityscapes, its authors' machine", "", "mIoU")
    prepare(lower, "Ours", "slowest frame (ms)", "mIoU")
    for index, row in enumerate(table.rows):
        style: dict[str, Any] = {
            "marker": MARKERS[index % len(MARKERS)],
            "color": COLOURS[index % len(COLOURS)],
            "s": 70,
        }
        if row.paper.max_ms is not None and row.paper.mean_iou is not None:
            upper.scatter([row.paper.max_ms], [row.paper.mean_iou], **style)
        if row.max_ms is not None and row.mean_iou is not None:
            label = row.name + (" (recorded)" if row.origin == "recorded" else "")
            lower.scatter([row.max_ms], [row.mean_iou], **style, label=label)
    for axes in (upper, lower):
        axes.set_xlim(0, None)
    _quote(upper)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    return figure


def _quote(axes: Axes) -> None:
    """Who gave no latency has a height and no place: a dotted line, and the name beside the picture."""
    points = sorted(FIGURE_1, key=lambda point: point.mean_iou)
    low, high = axes.get_ylim()
    names = spread([point.mean_iou for point in points], (high - low) / LINES_OF_TEXT)
    for point, height in zip(points, names, strict=True):
        axes.axhline(point.mean_iou, color="grey", linestyle=":", linewidth=1, zorder=0)
        at_edge = axes.get_yaxis_transform()
        name = f"{point.name}, {'quoted' if point.is_checked else 'unchecked'}"
        axes.text(1.01, height, name, transform=at_edge, va="center", fontsize="small")


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The heights, ascending, each moved up until it is ``gap`` above the one before."""
    moved: list[float] = []
    for height in heights:
        moved.append(height if not moved else max(height, moved[-1] + gap))
    return moved


@torch.inference_mode()
def figure_3(clip: EvaluatedClip) -> bytes:
    """The deviation from the key frame over time, and where it makes a new one."""
    policy = PredictedDeviation(DEFAULT_POLICY.threshold)
    steps = drive(clip, policy)
    predicted = [0.0, *(step.deviation for step in steps)]
    true = [0.0, *(deviation(clip.full_labels(step.key), clip.full_labels(step.frame)) for step in steps)]
    is_key_frame = [True, *(step.is_key_frame for step in steps)]
    return png_of(deviation_over_time(predicted, true, is_key_frame, policy.threshold))


def deviation_over_time(
    predicted: Sequence[float], true: Sequence[float], is_key_frame: Sequence[bool], threshold: float
) -> Figure:
    """One tooth of the saw from each key frame to the next, which is judged by the one before."""
    figure, axes = empty_figure("Deviation from the last key frame", "frame", "fraction of pixels whose label differs")
    axes.grid(visible=False, axis="x")
    keys = [index for index, is_key in enumerate(is_key_frame) if is_key]
    teeth = list(itertools.pairwise([*keys, len(predicted) - 1]))
    for values, style, colour in ((true, "-", COLOURS[1]), (predicted, ".-", COLOURS[0])):
        for key, last in teeth:
            frames = range(key + 1, last + 1)
            axes.plot(frames, values[key + 1 : last + 1], style, color=colour, linewidth=1)
    axes.plot([], [], "-", color=COLOURS[1], label="of the full network's labels")
    axes.plot([], [], ".-", color=COLOURS[0], label="predicted")
    chosen = [predicted[key] for key in keys[1:]]
    axes.plot(keys[1:], chosen, "o", color=COLOURS[0], markerfacecolor="none", markersize=8, label="key frame")
    axes.axhline(threshold, color="grey", linestyle="--", label=f"threshold {threshold:g}")
    axes.set_ylim(0, None)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    return figure


def figure_5(clip: EvaluatedClip) -> bytes:
    """Accuracy against the key-frame interval, by policy."""
    return png_of(policy_figure(policy_curves(clip, PairScores(clip)), len(clip)))


# --- Picture tables ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """One frame's labels, by every way that there are weights for."""

    index: int
    labels: dict[str, NDArray[np.uint8]]  # by the names of ``WAYS``
    gain: NDArray[np.float32]  # at each pixel 1 where ours alone is right, -1 where ours alone is wrong


def picture_table(clip: EvaluatedClip) -> bytes:
    """Figures 6 and 7: input, DFF, Clockwork, ours, truth, of the frames that differ most, last before a key frame."""
    frames = [frame for frame in compared_frames(clip) if frame.index % INTERVAL == INTERVAL - 1]
    differing = sorted(frames, key=lambda frame: -float(np.abs(frame.gain).sum()))[:SHOWN]
    colours = clip.slow.colours
    tiles = []
    for frame in sorted(differing, key=lambda frame: frame.index):
        source = clip.frames[frame.index]
        columns = {"input": source.image}
        columns |= {name: colourise(labels, colours) for name, labels in frame.labels.items()}
        columns["truth"] = colourise(source.truth, colours)
        marks = [(region(frame.gain), BETTER), (region(-frame.gain), WORSE)]
        tiles += [(marked(picture, marks), f"{name}, {frame.index}") for name, picture in columns.items()]
    sheet = contact_sheet(tiles, len(tiles) // len(differing), TILE_WIDTH, TEXT_HEIGHT)
    width = sheet.shape[1]
    words = line_of_text(MARKS_IN_WORDS, TEXT_HEIGHT, PAPER, width)
    words = np.pad(words, ((0, 0), (0, width - words.shape[1]), (0, 0)), constant_values=PAPER[0])
    sheet = np.vstack([sheet, words, legend(clip.classes, colours, width, TEXT_HEIGHT)])
    return encoded_png(sheet)


def compared_frames(clip: EvaluatedClip) -> list[Compared]:
    """Every frame's labels with a key frame each five frames that waits for Sh."""
    settings, policy = TrackSettings(INTERVAL, DEFAULT_POLICY, (1,)), FixedInterval(INTERVAL)
    ways = {
        name: in_engine(clip, settings, policy, low_latency=False, propagation=propagation)
        for name, propagation in WAYS.items()
        if propagation != "clockwork" or clip.network.comparisons is not None
    }
    found = []
    for frame in tqdm(clip.frames, desc="picture table", leave=False, disable=None):
        labels = {name: label(frame).labels for name, label in ways.items()}
        is_known = frame.truth != UNLABELLED
        right = {name: (ids == frame.truth) & is_known for name, ids in labels.items()}
        ours = right.pop("ours")
        others = np.stack(list(right.values()))
        better, worse = ours & ~others.any(axis=0), ~ours & is_known & others.all(axis=0)
        found.append(Compared(frame.index, labels, better.astype(np.float32) - worse.astype(np.float32)))
    return found


def region(gain: NDArray[np.float32]) -> tuple[int, int] | None:
    """The middle (x, y) of the window with the largest sum, within the picture; None where it is too little to see."""
    sums = cv2.boxFilter(gain, -1, WINDOW, normalize=False, borderType=cv2.BORDER_CONSTANT)
    _, largest, _, place = cv2.minMaxLoc(sums)
    if largest < LEAST * WINDOW[0] * WINDOW[1]:
        return None
    (height, width), (half_width, half_height) = gain.shape, (WINDOW[0] // 2, WINDOW[1] // 2)
    return (
        min(max(place[0], half_width), max(half_width, width - 1 - half_width)),
        min(max(place[1], half_height), max(half_height, height - 1 - half_height)),
    )


Mark = tuple[tuple[int, int] | None, tuple[tuple[int, int, int], str]]
"""The middle of a window, and its colour and sign."""


def marked(picture: NDArray[np.uint8], marks: Sequence[Mark]) -> NDArray[np.uint8]:
    """A copy with a rectangle around each place, edged in white: its colour may be that of the labels around it."""
    copy = picture.copy()
    half = np.array([WINDOW[0] // 2, WINDOW[1] // 2])
    for place, (colour, sign) in marks:
        if place is None:
            continue
        first, last = np.array(place) - half, np.array(place) + half
        corner = first + np.array([6, 26])
        for width, paint in ((7, PAPER), (3, colour)):
            cv2.rectangle(copy, first.tolist(), last.tolist(), paint, width)
            cv2.putText(copy, sign, corner.tolist(), FONT, 1.1, paint, width, cv2.LINE_AA)
    return copy


FIGURES: Final = {1: figure_1, 3: figure_3, 5: figure_5, 6: picture_table, 7: picture_table}


if __name__ == "__main__":
    sys.exit(main())

"""``lowlat-seg evaluate``: how good a model's labels are on a labelled clip or split."""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lowlat_seg_ros.commands.evaluate_latency import (
    add_latency,
    add_latency_options,
    check_latency_options,
    compared_networks,
)
from lowlat_seg_ros.commands.evaluate_table import DELAYS, check_table_options, evaluate_table
from lowlat_seg_ros.commands.label_options import add_label_options, given_classes
from lowlat_seg_ros.commands.policy_options import add_limit_options, limits_of
from lowlat_seg_ros.commands.runtime_options import add_model_options, add_runtime_options, wishes_of
from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.classes import CAMVID_CLASSES
from lowlat_seg_ros.data.clips import STREET, open_clip
from lowlat_seg_ros.data.corruptions import KINDS, Corruption, parse_corruption
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS
from lowlat_seg_ros.data.label_classes import LabelClasses, numbered_classes
from lowlat_seg_ros.data.parts import EXPECTED, last_share
from lowlat_seg_ros.data.problems import Problems
from lowlat_seg_ros.evaluation.classes_by_name import ClassesByName
from lowlat_seg_ros.evaluation.corruptions import STANDARD
from lowlat_seg_ros.evaluation.cut import CUT, FRAMES_BEFORE, cut_row
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.evaluation import (
    ANALYSES,
    CORRUPTIONS,
    OF_ANY_NETWORK,
    ON_DEMAND,
    Evaluation,
    EvaluationPlan,
    evaluate,
)
from lowlat_seg_ros.evaluation.evaluation_files import JSON_FILE, evaluation_files
from lowlat_seg_ros.evaluation.evaluation_markdown import evaluation_markdown
from lowlat_seg_ros.evaluation.given_frames import given_frames
from lowlat_seg_ros.evaluation.paper_tables import NUMBERS, PAPERS_PROPAGATION
from lowlat_seg_ros.evaluation.plots import plot_files
from lowlat_seg_ros.evaluation.rows import ROWS, SINGLE_FRAME_ROWS, SettingsError, TrackSettings, usual_rows
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.registry import AUTO, PROPAGATIONS
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.slow.network import SlowNetwork
from lowlat_seg_ros.slow.registry import Tracks
from lowlat_seg_ros.stream.key_frames import DEFAULT_POLICY, FixedInterval, PredictedDeviation
from lowlat_seg_ros.stream.networks import load_networks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--frames",
        required=True,
        help="folder with the clip's pictures, in their order, a video, or the word street, which has its own labels",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        help="folder with the labels, PNGs of the same names; without it rows are scored by their agreement with the "
        "full network",
    )
    add_label_options(parser, "the model's own ids, of a foreign model CamVid's")
    parser.add_argument(
        "--part", metavar="WORDS", help="'last fifth' or 'last 20 %%': of the clip, as train's --hold-out leaves it"
    )
    add_model_options(parser)
    parser.add_argument("--rows", help=f"of {','.join(ROWS)}; the default is all that differ")
    parser.add_argument(
        "--analyses",
        help=f"of {','.join(ANALYSES)}, or none; the default is all but {','.join(ON_DEMAND)}",
    )
    parser.add_argument(
        "--corruptions",
        nargs="+",
        metavar="KIND:STRENGTH",
        help=f"what the analysis {CORRUPTIONS} does to the pictures, of {', '.join(KINDS)} at strength 1 to 5; the "
        "default is all at 1, 3 and 5",
    )
    parser.add_argument(
        "--table", type=int, choices=NUMBERS, help="print that table of the paper, the paper's numbers beside ours"
    )
    parser.add_argument(
        "--stills", action="store_true", help="the pictures are unrelated, no video: no propagation, no optical flow"
    )
    parser.add_argument("--threads", type=int, help="CPU threads of PyTorch; on a busy machine 1 is fastest")
    _add_track_options(parser)
    add_runtime_options(parser)
    add_latency_options(parser)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--out", type=Path, help="folder for the figures, the tables and the plots")
    parser.set_defaults(run_command=evaluate_command)


def _add_track_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interval", type=int, default=FixedInterval.interval, help="frames between key frames in the row 'fixed'"
    )
    parser.add_argument(
        "--threshold", type=float, default=DEFAULT_POLICY.threshold, help="predicted deviation that makes a key frame"
    )
    add_limit_options(parser)
    late = parser.add_mutually_exclusive_group()
    late.add_argument(
        "--delay-frames",
        type=int,
        nargs="+",
        default=DELAYS,
        metavar="N",
        help="frames the slow network lags, a row of 'low-latency' each; default: 1 2",
    )
    late.add_argument(
        "--delay-ms",
        type=float,
        metavar="MS",
        help="how long the slow network takes, in milliseconds, instead of --delay-frames",
    )
    parser.add_argument("--rate", type=float, metavar="HZ", help="frames per second; default: a video's own, else 15")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="use every N-th frame only, and divide the rate by N"
    )
    parser.add_argument(
        "--cut-from",
        metavar="FRAMES",
        help=f"pictures of another scene, a folder, a video or street: {FRAMES_BEFORE} of them go before the clip in "
        f"the row '{CUT}', which tells what the first labels after a cut are worth",
    )
    parser.add_argument(
        "--propagation",
        default=AUTO,
        help=f"how labels come from key frames: {', '.join([AUTO, *PROPAGATIONS])}; the default is {AUTO}",
    )


def evaluate_command(options: argparse.Namespace) -> None:
    thin_out(options)
    plan = plan_from(options)
    check_latency_options(options, has_labels=has_labels(options))
    check_table_options(options, has_labels(options))
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.out is not None:
        require_writable(options.out / JSON_FILE, "--out")
    if options.json is not None:
        require_writable(options.json, "--json")
    networks = load_networks(options.model, options.fast_model, torch.device("cpu"), wishes_of(options))
    slow, network = networks.slow, networks.fast
    if not isinstance(network, SegmentationNetwork):
        raise SettingsError(f"the fast track of {options.model} is no checkpoint's; expected one of those")
    plan = fitting_plan(plan, network, slow, options)
    compared = compared_networks(options, slow)
    given = open_clip(options.frames, rate_hz=options.given_rate, is_video=not options.stills)
    classes = classes_of_labels(options, slow, given.problems)
    by_name = names_matched(options, slow, classes, given.problems)
    frames = given_frames(given, options.labels, classes, every=options.every, last=part_of(options))
    clip = EvaluatedClip(
        network,
        frames if by_name is None else by_name.renamed(frames, given.problems),
        scored=None if by_name is None else by_name.scored,
        slow=slow,
        places=(networks.fast_choice.place, networks.slow_choice.place),
        propagation=options.propagation if options.table is None else PAPERS_PROPAGATION,
        rate_hz=options.rate,
        has_labels=has_labels(options),
    )
    names = Path(options.model).resolve().name, Path(options.frames).resolve().name
    try:
        found = evaluate(clip, plan, *names) if options.table is None else evaluate_table(clip, plan, names, options)
    except FloatingPointError as error:
        raise SettingsError(f"the model {options.model} cannot be evaluated: {error}") from error
    found.problems, found.warning = given.problems.lines(), given.problems.warning()
    if options.cut_from is not None:
        with found.timing("cut"):
            found.cut = cut_row(clip, scene_before(options.cut_from), plan.settings)
    if options.latency:
        add_latency(found, clip, Tracks(slow, network), compared, options)
    for sentence in networks.in_words():
        print(f"lowlat-seg: {sentence}", file=sys.stderr)
    print(evaluation_markdown(found), end="")
    write(found, options)


def scene_before(frames: str) -> list[NDArray[np.uint8]]:
    """The first frames of a folder, a video or the street."""
    pictures = list(itertools.islice(open_clip(frames).frames(), FRAMES_BEFORE))
    if len(pictures) < FRAMES_BEFORE:
        raise SettingsError(f"--cut-from {frames} has {len(pictures)} frames; expected {FRAMES_BEFORE} or more")
    return pictures


def thin_out(options: argparse.Namespace) -> None:
    """Let ``--rate`` be that of the frames that ``--every`` leaves; unless given it is the clip's own."""
    if options.every < 1:
        raise SettingsError(f"--every is {options.every}; expected 1 or more")
    options.given_rate = options.rate
    if options.rate is None:
        options.rate = open_clip(options.frames).rate_hz
    require_positive("--rate", options.rate)
    options.rate /= options.every


def part_of(options: argparse.Namespace) -> float | None:
    """The share of the clip, from its end, that ``--part`` names."""
    if options.part is None:
        return None
    share = last_share(options.part)
    if share is None:
        raise SettingsError(f"--part is {options.part!r}; expected {EXPECTED}")
    return share


def classes_of_labels(options: argparse.Namespace, slow: SlowNetwork, problems: Problems) -> LabelClasses:
    """What the labels hold: as ``--classes`` says, else the model's own ids, of a foreign model CamVid's."""
    for name in ("classes", "void"):
        if getattr(options, name) is not None and options.labels is None:
            given = getattr(options, name)
            raise SettingsError(f"--{name} is {given}, which explains labels; expected --labels beside it")
    if options.classes is not None:
        return given_classes(options, CAMVID_LABELS)
    if options.frames == STREET and options.labels is None:
        return CAMVID_LABELS
    if slow.own_fast_network is None:
        if options.labels is not None:
            problems.add("classes", "The labels are taken for CamVid's ids; --classes says otherwise")
        return CAMVID_LABELS.with_void(options.void)
    if tuple(slow.classes) == CAMVID_CLASSES:
        return CAMVID_LABELS.with_void(options.void)
    return numbered_classes(len(slow.classes), options.void, slow.classes, slow.colours)


def names_matched(
    options: argparse.Namespace, slow: SlowNetwork, classes: LabelClasses, problems: Problems
) -> ClassesByName | None:
    """The labels' classes and the model's, matched by name; None where they are the same or there are no labels."""
    if not has_labels(options) or classes.names == tuple(slow.classes):
        return None
    by_name = ClassesByName.match(slow.classes, classes.names)
    for sentence in by_name.sentences():
        problems.add(sentence, sentence.removesuffix("."))
    return by_name


def has_labels(options: argparse.Namespace) -> bool:
    """Whether there is a truth to score against."""
    return options.labels is not None or options.frames == STREET


def fitting_plan(
    plan: EvaluationPlan, fast: FastNetwork, slow: SlowNetwork, options: argparse.Namespace
) -> EvaluationPlan:
    """The plan, or of what was not asked for by name the part that a network without a feature of its own has."""
    if slow.own_fast_network is not None:
        return plan
    missing = {"per-frame-fused"} if fast.classes == slow.classes else {"per-frame-fused", "single-frame"}
    if options.table is not None:
        raise SettingsError(f"--table takes a model with a fast track of its own; {options.model} has none")
    rows = sorted(set((options.rows or "").split(",")) & missing)
    analyses = (
        [] if options.analyses in (None, "none") else [name for name in plan.analyses if name not in OF_ANY_NETWORK]
    )
    named = [f"the rows {', '.join(rows)}"] if rows else []
    named += [f"the analyses {', '.join(analyses)}"] if analyses else []
    if named:
        what = " and ".join(named)
        raise SettingsError(f"{what} take a model with a fast track of its own; {options.model} has none")
    is_asked_for = options.analyses is not None or not has_labels(options)
    analysed = tuple(name for name in OF_ANY_NETWORK if is_asked_for and name in plan.analyses)
    return replace(plan, rows=tuple(row for row in plan.rows if row not in missing), analyses=analysed)


def plan_from(options: argparse.Namespace) -> EvaluationPlan:
    rows: tuple[str, ...] = SINGLE_FRAME_ROWS if options.stills else usual_rows(options.propagation)
    has_none = options.stills or options.analyses == "none"
    # Without labels the full network's are the truth: how far propagation agrees with it is worth knowing unasked.
    usual = ANALYSES if has_labels(options) else OF_ANY_NETWORK
    analyses: tuple[str, ...] = () if has_none else tuple(name for name in usual if name not in ON_DEMAND)
    if options.analyses not in (None, "none"):
        analyses = chosen("--analyses", options.analyses, ANALYSES)
    if options.rows is not None:
        rows = chosen("--rows", options.rows, ROWS)
    settings = TrackSettings(options.interval, adaptive_policy(options), delays(options), options.slow_track_share)
    return EvaluationPlan(rows, analyses, settings, corruptions_from(options, analyses), is_video=not options.stills)


def corruptions_from(options: argparse.Namespace, analyses: Sequence[str]) -> tuple[Corruption, ...]:
    if options.corruptions is None:
        return STANDARD
    if CORRUPTIONS not in analyses:
        raise SettingsError(f"--corruptions takes the analysis of that name; expected --analyses {CORRUPTIONS}")
    return tuple(dict.fromkeys(map(parse_corruption, options.corruptions)))


def adaptive_policy(options: argparse.Namespace) -> PredictedDeviation:
    try:
        return PredictedDeviation(options.threshold, *limits_of(options))
    except ValueError as error:
        raise SettingsError(str(error)) from error


def chosen(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names in a list such as ``fixed,adaptive``, each once."""
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            raise SettingsError(f"{option} names {name!r}; expected some of {', '.join(known)}")
    return names


def delays(options: argparse.Namespace) -> tuple[int, ...]:
    """Frames by which the slow track is late, one or several."""
    if options.delay_ms is None:
        return tuple(dict.fromkeys(options.delay_frames))
    require_positive("--delay-ms", options.delay_ms)
    return (max(1, math.ceil(options.delay_ms * options.rate / 1000)),)


def require_positive(option: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise SettingsError(f"{option} is {value}; expected a number above 0")


def require_writable(file: Path, option: str) -> None:
    """Raise SettingsError now where a file could not be written at the end, rather than after minutes of work."""
    folder = file.parent
    while not folder.exists():
        folder = folder.parent
    if file.is_dir():
        raise SettingsError(f"{option}: {file} is a folder; expected a file")
    if not folder.is_dir():
        raise SettingsError(f"{option}: {folder} is a file; expected a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"{option}: the folder {folder} cannot be written to")


def write(found: Evaluation, options: argparse.Namespace) -> None:
    """All files, each whole; what they hold is there before the first one is written."""
    files = evaluation_files(found)
    plots = {} if options.out is None else plot_files(found)
    if options.json is not None:
        atomic_write(options.json, files[JSON_FILE])
    if options.out is not None:
        for name, content in {**files, **plots}.items():
            atomic_write(options.out / name, content)

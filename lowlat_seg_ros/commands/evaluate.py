"""``lowlat-seg evaluate``: how good a model's labels are on a labelled clip or split."""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lowlat_seg_ros.commands.policy_options import add_limit_options, limits_of
from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.camvid import LabelledFolder, LabelledImage
from lowlat_seg_ros.data.classes import CAMVID_CLASSES
from lowlat_seg_ros.data.clips import STREET, open_clip
from lowlat_seg_ros.evaluation.classes_by_name import ClassesByName
from lowlat_seg_ros.evaluation.cut import CUT, FRAMES_BEFORE, cut_row
from lowlat_seg_ros.evaluation.evaluated_clip import CAMVID_HZ, EvaluatedClip
from lowlat_seg_ros.evaluation.evaluation import ANALYSES, Evaluation, Plan, evaluate
from lowlat_seg_ros.evaluation.evaluation_files import JSON_FILE, evaluation_files
from lowlat_seg_ros.evaluation.evaluation_markdown import evaluation_markdown
from lowlat_seg_ros.evaluation.latency import LatencySettings, candidates_of, measure_latency
from lowlat_seg_ros.evaluation.paper_tables import NUMBERS, paper_table
from lowlat_seg_ros.evaluation.plots import plot_files
from lowlat_seg_ros.evaluation.rows import ROWS, SINGLE_FRAME_ROWS, SettingsError, TrackSettings
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.pictures import frame_size, unlabelled_image
from lowlat_seg_ros.fast.registry import AUTO, PROPAGATIONS
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.steady_memory import freeze_gc, keep_large_buffers
from lowlat_seg_ros.runtime.threads import thread_counts
from lowlat_seg_ros.slow.network import SlowNetwork
from lowlat_seg_ros.slow.registry import Tracks, load_tracks
from lowlat_seg_ros.stream.key_frames import DEFAULT_POLICY, FixedInterval, PredictedDeviation
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--frames",
        required=True,
        help="folder with the clip's pictures, in their order, a video, or the word street, which has its own labels",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        help="folder with CamVid labels of the same names; without it rows are scored by their agreement with the full "
        "network",
    )
    parser.add_argument(
        "--model", default="default", help="a shipped model's name, a checkpoint's folder, or a network"
    )
    parser.add_argument(
        "--fast-model",
        default="default",
        help="whose Sl carries the labels of a model that has no fast track of its own",
    )
    parser.add_argument("--rows", help=f"of {','.join(ROWS)}; the default is all")
    parser.add_argument("--analyses", help=f"of {','.join(ANALYSES)}, or none; the default is all")
    parser.add_argument(
        "--table", type=int, choices=NUMBERS, help="print that table of the paper, the paper's numbers beside ours"
    )
    parser.add_argument("--stills", action="store_true", help="the pictures are no video: no propagation, no flow")
    parser.add_argument("--threads", type=int, help="CPU threads of PyTorch; on a busy machine 1 is fastest")
    _add_track_options(parser)
    _add_latency_options(parser)
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
        default=[1, 2],
        metavar="N",
        help="by how many frames Sh is late in 'low-latency' and 'just-in-time', a row for each N; the default is 1 2",
    )
    late.add_argument("--delay-ms", type=float, metavar="MS", help="milliseconds that Sh takes, instead")
    parser.add_argument("--rate", type=float, metavar="HZ", help="of the clip; the default is a video's own, else 15")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="take each N-th frame alone, and divide the rate by N"
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


def _add_latency_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--latency", action="store_true", help="time the two tracks and single-frame networks; takes a quiet machine"
    )
    parser.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="checkpoints whose full networks are timed too",
    )
    parser.add_argument(
        "--rounds", type=int, help="of --latency and --table 1: times through the clip; the default is 3, and 1"
    )
    parser.add_argument("--fast-threads", type=int, default=0, help="of --latency; the default is the node's")
    parser.add_argument("--slow-threads", type=int, default=0, help="likewise")
    parser.add_argument(
        "--single-frame-threads", type=int, default=0, help="likewise; the default is those of both tracks together"
    )


def evaluate_command(options: argparse.Namespace) -> None:
    thin_out(options)
    plan = plan_from(options)
    check_latency_options(options)
    check_table_options(options)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.out is not None:
        require_writable(options.out / JSON_FILE, "--out")
    if options.json is not None:
        require_writable(options.json, "--json")
    tracks = load_tracks(options.model, options.fast_model)
    slow, network = tracks
    if not isinstance(network, SegmentationNetwork):
        raise SettingsError(f"the fast track of {options.model} is no checkpoint's; expected one of those")
    plan = fitting_plan(plan, network, slow, options)
    compared = compared_networks(options.compare, slow)
    frames, by_name = frames_of(options), None
    if has_labels(options) and slow.own_fast_network is None:
        by_name = ClassesByName.match(slow.classes, CAMVID_CLASSES)
        frames = by_name.renamed(frames)
        for sentence in by_name.sentences():
            print(sentence, file=sys.stderr)
    clip = EvaluatedClip(
        network,
        frames,
        scored=None if by_name is None else by_name.scored,
        slow=slow,
        propagation=options.propagation,
        rate_hz=options.rate,
        has_labels=has_labels(options),
    )
    names = Path(options.model).resolve().name, Path(options.frames).resolve().name
    try:
        found = evaluate(clip, plan, *names) if options.table is None else evaluate_table(clip, plan, names, options)
    except FloatingPointError as error:
        raise SettingsError(f"the model {options.model} cannot be evaluated: {error}") from error
    if options.cut_from is not None:
        with found.timing("cut"):
            found.cut = cut_row(clip, scene_before(options.cut_from), plan.settings)
    if options.latency:
        add_latency(found, clip, tracks, compared, options)
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
    if options.rate is None:
        options.rate = CAMVID_HZ if options.labels is not None else open_clip(options.frames).rate_hz
    require_positive("--rate", options.rate)
    options.rate /= options.every


def frames_of(options: argparse.Namespace) -> Iterator[LabelledImage]:
    """Each N-th frame of the folder or the video; where there are no labels, all of a frame is unlabelled."""
    if options.labels is not None:
        folder = LabelledFolder(Path(options.frames), options.labels)
        return (folder[index] for index in range(0, len(folder), options.every))
    clip = open_clip(options.frames)
    if isinstance(clip, SyntheticStreet):
        return (clip[index] for index in range(0, len(clip), options.every))
    frames = itertools.islice(clip.frames(), 0, None, options.every)
    return (
        LabelledImage(f"frame {index * options.every}", frame, unlabelled_image(frame_size(frame)))
        for index, frame in enumerate(frames)
    )


def evaluate_table(clip: EvaluatedClip, plan: Plan, names: tuple[str, str], options: argparse.Namespace) -> Evaluation:
    """The paper's table that was asked for, in the place of rows and analyses."""
    if plan.is_video:
        clip.require_one_size()
    prepare_for_timing()
    found = Evaluation(*names, clip.classes, len(clip), plan, clip.full_rows)
    timing = LatencySettings(options.rate, options.rounds or 1)
    threads = thread_counts(options.fast_threads, options.slow_threads)
    with found.timing("table"):
        made = paper_table(options.table, clip, plan.settings, timing, threads, plan.is_video)
    found.table, found.rows, found.latency = made.table, list(made.rows), made.latency
    return found


def has_labels(options: argparse.Namespace) -> bool:
    """Whether there is a truth to score against."""
    return options.labels is not None or options.frames == STREET


def fitting_plan(plan: Plan, fast: FastNetwork, slow: SlowNetwork, options: argparse.Namespace) -> Plan:
    """The plan, or of what was not asked for by name the part that a network without a feature of its own has."""
    if slow.own_fast_network is not None:
        return plan
    missing = {"per-frame-fused"} if fast.classes == slow.classes else {"per-frame-fused", "single-frame"}
    if options.table is not None:
        raise SettingsError(f"--table takes a model with a fast track of its own; {options.model} has none")
    named = set((options.rows or "").split(",")) & missing
    if named or options.analyses not in (None, "none"):
        what = f"the rows {', '.join(sorted(named))}" if named else "--analyses"
        raise SettingsError(f"{what} take a model with a fast track of its own; {options.model} has none")
    return replace(plan, rows=tuple(row for row in plan.rows if row not in missing), analyses=())


def plan_from(options: argparse.Namespace) -> Plan:
    rows: tuple[str, ...] = SINGLE_FRAME_ROWS if options.stills else ROWS
    has_none = options.stills or not has_labels(options) or options.analyses == "none"
    analyses: tuple[str, ...] = () if has_none else ANALYSES
    if not has_labels(options) and options.analyses not in (None, "none"):
        raise SettingsError(f"--analyses is {options.analyses!r}, and analyses need --labels; expected none")
    if options.analyses not in (None, "none"):
        analyses = chosen("--analyses", options.analyses, ANALYSES)
    if options.rows is not None:
        rows = chosen("--rows", options.rows, ROWS)
    settings = TrackSettings(options.interval, adaptive_policy(options), delays(options), options.slow_track_share)
    return Plan(rows, analyses, settings, is_video=not options.stills)


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


def check_latency_options(options: argparse.Namespace) -> None:
    if options.latency and not has_labels(options):
        raise SettingsError("--latency scores each network against the truth; expected --labels beside it")
    if options.compare and not options.latency:
        raise SettingsError("--compare names networks to be timed; expected --latency beside it")
    for name in ("threads", "rounds"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise SettingsError(f"--{name} is {getattr(options, name)}; expected 1 or more")
    for name in ("fast_threads", "slow_threads", "single_frame_threads"):
        if getattr(options, name) < 0:
            raise SettingsError(f"--{name.replace('_', '-')} is {getattr(options, name)}; expected 0 or more")


def check_table_options(options: argparse.Namespace) -> None:
    if options.table is None:
        return
    for name in ("rows", "analyses"):
        if getattr(options, name) is not None:
            raise SettingsError(
                f"--{name} chooses what a table of the paper does not have; expected it without --table"
            )
    if options.latency:
        raise SettingsError("--latency times other networks than a table of the paper; expected one of both")
    if not has_labels(options):
        raise SettingsError("--table scores labels against the truth; expected --labels beside it")
    if options.stills and options.table < 4:
        raise SettingsError(f"--table {options.table} takes a video; expected of stills --table 4")


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


def compared_networks(models: Sequence[str], network: SlowNetwork) -> dict[str, SegmentationNetwork]:
    """The networks that are timed beside the model, by their folders' names where these differ."""
    short = [Path(model).resolve().name for model in models]
    names = short if len(set(short)) == len(short) else models
    networks = {}
    for name, model in zip(names, models, strict=True):
        networks[name] = load_checkpoint(model)
        classes = networks[name].config.classes
        if classes != network.classes:
            raise SettingsError(f"--compare: the classes of {model} are not those of the model; expected the same")
    return networks


def add_latency(
    found: Evaluation,
    clip: EvaluatedClip,
    tracks: Tracks,
    compared: dict[str, SegmentationNetwork],
    options: argparse.Namespace,
) -> None:
    threads = thread_counts(options.fast_threads, options.slow_threads)
    single_frame_threads = options.single_frame_threads or threads.fast + threads.slow
    policy = found.plan.settings.adaptive
    candidates = candidates_of(
        tracks, compared, policy, clip.propagation_name, threads, single_frame_threads, options.rate
    )
    prepare_for_timing()
    with found.timing("latency"):
        found.latency = measure_latency(
            candidates, clip.frames, clip.new_matrix, LatencySettings(options.rate, options.rounds or 3)
        )


def prepare_for_timing() -> None:
    """As the node's process does."""
    keep_large_buffers()
    freeze_gc()


def write(found: Evaluation, options: argparse.Namespace) -> None:
    """All files, each whole; what they hold is there before the first one is written."""
    files = evaluation_files(found)
    plots = {} if options.out is None else plot_files(found)
    if options.json is not None:
        atomic_write(options.json, files[JSON_FILE])
    if options.out is not None:
        for name, content in {**files, **plots}.items():
            atomic_write(options.out / name, content)

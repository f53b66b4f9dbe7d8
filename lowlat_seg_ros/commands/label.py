"""``lowlat-seg label``: label images and an overlay of a video, pictures, a bag or a camera."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import tee
from pathlib import Path
from typing import Final

import numpy as np
from tqdm import tqdm

from lowlat_seg_ros.commands.interruption import sigterm_as_ctrl_c
from lowlat_seg_ros.commands.label_inputs import LabelInput, NamedFrame, open_inputs
from lowlat_seg_ros.commands.label_outputs import (
    FRAMES,
    KINDS,
    LABELS,
    OVERLAY,
    SIDE_BY_SIDE,
    LabelOutputs,
    OutputError,
)
from lowlat_seg_ros.commands.runtime_options import add_model_options, add_runtime_options
from lowlat_seg_ros.data.own_folder import own_folder
from lowlat_seg_ros.errors import Error, printable
from lowlat_seg_ros.fast.registry import AUTO, PROPAGATIONS
from lowlat_seg_ros.runtime.steady_memory import freeze_gc, keep_large_buffers
from lowlat_seg_ros.segmenter import DELAY_FRAMES, Segmenter
from lowlat_seg_ros.stream.result import SegmentationResult

LONGEST_TITLE: Final = 60  # characters before a progress bar
LONGEST_LINE: Final = 1000  # topics' and folders' names may be anything


class LabelError(Error):
    """An input that could not be labelled to its end; the message says where it stopped and why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Label every frame of a video, a folder of pictures, a bag or a camera."
    parser.add_argument(
        "input",
        help="a video, a folder of pictures or a glob in quotes (one camera's frames, in order), a picture, a ROS 2 "
        "bag, the number of a camera, or the word street",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    add_model_options(parser)
    written = parser.add_argument_group("what is written; without any of these, --labels and --overlay")
    written.add_argument("--labels", action="append_const", dest="kinds", const=LABELS, help="PNGs of class ids")
    written.add_argument("--overlay", action="append_const", dest="kinds", const=OVERLAY, help="a video, overlay.webm")
    written.add_argument(
        "--side-by-side",
        action="append_const",
        dest="kinds",
        const=SIDE_BY_SIDE,
        help="a video of frame and overlay, side_by_side.webm",
    )
    parser.add_argument("--topic", help="which camera to label, for a bag with several")
    parser.add_argument(
        "--stills", action="store_true", help="the pictures are unrelated, no video: run the full network on each"
    )
    parser.add_argument("--rate", type=float, metavar="HZ", help="frames per second, overriding the input's own rate")
    parser.add_argument(
        "--delay-frames",
        type=int,
        default=DELAY_FRAMES,
        metavar="N",
        help=f"how many frames the slow network lags behind its key frame; default: {DELAY_FRAMES}",
    )
    parser.add_argument("--propagation", default=AUTO, help=f"{', '.join([AUTO, *PROPAGATIONS])}; default: {AUTO}")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N; default: auto")
    add_runtime_options(parser)
    parser.set_defaults(run_command=label_command)


def label_command(options: argparse.Namespace) -> None:
    if options.delay_frames < 1:
        raise LabelError(f"--delay-frames is {options.delay_frames}; expected 1 or more")
    keep_large_buffers()  # as the node's process does
    inputs = open_inputs(options.input, rate_hz=options.rate, topic=options.topic, stills=options.stills)
    with (
        own_folder(options.out),
        sigterm_as_ctrl_c(),
        Segmenter(
            options.model,
            device=options.device,
            propagation=options.propagation,
            fast_model=options.fast_model,
            fast_runtime=options.fast_runtime,
            slow_runtime=options.slow_runtime,
            fast_precision=options.fast_precision,
            slow_precision=options.slow_precision,
        ) as segmenter,
    ):
        freeze_gc()
        for sentence in segmenter.runtimes:
            print(f"lowlat-seg: {sentence}", file=sys.stderr)
        for given, folder in zip(inputs, _folders(inputs, options.out), strict=True):
            _label(segmenter, given, folder, options)


def _folders(inputs: list[LabelInput], out: Path) -> list[Path]:
    """One for each: the folder itself for the only one, else folders in it by the inputs' names."""
    if len(inputs) == 1:
        return [out]
    names = [Path(given.title).stem for given in inputs]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise LabelError(f"several videos are called {twice}; expected names that differ, for a folder each")
    return [out / name for name in names]


class LabelRun:
    """What is told of an input: a progress bar and warnings while it is labelled, and figures at its end."""

    def __init__(self, given: LabelInput) -> None:
        self.milliseconds: list[float] = []
        self.ended_by = ""  # why before its end
        title = printable(given.title, LONGEST_TITLE)
        self.bar = tqdm(total=given.count, unit="frame", desc=title, disable=not sys.stderr.isatty())
        self._given = given
        self._key_frames = self._unlabelled = self._shown = 0
        self._first_stamp: int | None = None
        self._drift = 0.0  # seconds by which a frame was taken earlier or later than its place in a video shows it
        self._warned: set[str] = set()

    def note(self, frame: NamedFrame, result: SegmentationResult) -> int:
        """Returns how many times the frame is to be shown: a camera's video keeps the time in which it was taken."""
        self.milliseconds.append(result.milliseconds.total)
        self._key_frames += result.is_key_frame
        self._unlabelled += bool(result.unlabelled_reason)
        for warning in (result.unlabelled_reason, *result.warnings):
            if warning and warning not in self._warned:
                self._warned.add(warning)
                self.bar.write(f"lowlat-seg: frame {len(self.milliseconds) - 1}: {warning}", file=sys.stderr)
        self.bar.update()
        self._first_stamp = frame.stamp_ns if self._first_stamp is None else self._first_stamp
        seconds = (frame.stamp_ns - self._first_stamp) / 1e9
        if not self._given.is_live:
            self._drift = max(self._drift, abs(seconds - (len(self.milliseconds) - 1) / self._given.rate_hz))
            return 1
        due = 1 + round(seconds * self._given.rate_hz)
        repeats = max(0, due - self._shown)
        self._shown += repeats
        return repeats

    def problems(self, has_videos: bool) -> list[str]:
        """What is to be known of the input, and of the videos that show it."""
        found = self._given.problems()
        if has_videos and self._drift > 1 / self._given.rate_hz:
            found = [
                *found,
                f"The frames were not taken evenly; the videos show them at {self._given.rate_hz:.4g} Hz, up to "
                f"{self._drift:.2f} s away from when they were taken ({FRAMES} has their stamps).",
            ]
        return found

    def closing_line(self) -> str:
        """Frames, milliseconds of each and key frames, in one line."""
        count = len(self.milliseconds)
        median, p99, longest = np.percentile(self.milliseconds, (50, 99, 100))
        unlabelled = f", {self._unlabelled} of them without labels" if self._unlabelled else ""
        return (
            f"{self._given.title}: {count} frame{'s' * (count > 1)}{unlabelled}; p50 {median:.1f}, p99 {p99:.1f}, max "
            f"{longest:.1f} ms; {self._key_frames / count:.0%} key frames"
        )


def _label(segmenter: Segmenter, given: LabelInput, folder: Path, options: argparse.Namespace) -> None:
    """Label one input, and say what came of it whatever ends it."""
    kinds = [kind for kind in KINDS if kind in (options.kinds or (LABELS, OVERLAY))]
    rate_hz = None if given.are_stills else given.rate_hz
    run = LabelRun(given)
    outputs = LabelOutputs(folder, kinds, segmenter.classes, segmenter.colours, rate_hz)
    try:
        with outputs:
            for frame, result in _results(segmenter, given, options.delay_frames):
                outputs.write(frame, result, run.note(frame, result))
    except KeyboardInterrupt:
        run.ended_by = "Ctrl-C"
    except OutputError:
        raise
    except (Error, OSError, ValueError) as error:
        run.ended_by = str(error)
    finally:
        run.bar.close()
    for sentence in run.problems(kinds != [LABELS] and rate_hz is not None):
        print(f"lowlat-seg: {sentence}", file=sys.stderr)
    if run.milliseconds:
        print(printable(f"{run.closing_line()}; written to {folder}: {outputs.written()}", LONGEST_LINE))
    if run.ended_by == "Ctrl-C" and not given.is_live:
        raise KeyboardInterrupt
    if run.ended_by not in ("", "Ctrl-C"):
        raise LabelError(
            f"stopped after {len(run.milliseconds)} frame{'s' * (len(run.milliseconds) != 1)}: {run.ended_by}"
        )
    if not run.milliseconds:
        raise LabelError(f"{given.title} gave no frame")


def _results(
    segmenter: Segmenter, given: LabelInput, delay_frames: int
) -> Iterator[tuple[NamedFrame, SegmentationResult]]:
    frames = given.frames()
    if given.is_live:
        with closing(frames):
            for frame in frames:
                yield frame, segmenter.segment(frame.image, frame.stamp_ns)
        return
    first, second = tee(frames)
    if given.are_stills:
        labelled = segmenter.stills(frame.image for frame in second)
    else:
        labelled = segmenter.frames(((frame.image, frame.stamp_ns) for frame in second), delay_frames=delay_frames)
    for frame, (_, result) in zip(first, labelled, strict=True):
        yield frame, result

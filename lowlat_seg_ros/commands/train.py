"""``lowlat-seg train``: the stages of the training recipe."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from lowlat_seg_ros.commands.label_options import add_label_options
from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.own_folder import own_folder
from lowlat_seg_ros.errors import printable
from lowlat_seg_ros.models.config import load_config
from lowlat_seg_ros.models.shipped_files import shipped_config
from lowlat_seg_ros.runtime.steady_memory import keep_large_buffers
from lowlat_seg_ros.training.data_plan import load_data_plan
from lowlat_seg_ros.training.folds import FOLD_LENGTH, cross_validate, table_of
from lowlat_seg_ros.training.plan import PlanError, load_plan
from lowlat_seg_ros.training.processes import Processes, done_by_leader, joined_processes
from lowlat_seg_ros.training.run import SINGLE_FRAME_STAGES, STAGES, TABLES, Run, stages_of, surveyed, train_stages
from lowlat_seg_ros.training.start import IMAGENET, NOTHING
from lowlat_seg_ros.training.step import Hardware

ALL, SURVEY, FOLDS = "all", "survey", "folds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "stage",
        choices=(*STAGES, ALL, TABLES, SURVEY, FOLDS),
        help=f"one stage, each after the one before, or {ALL}; {TABLES} trains what the paper's tables compare with; "
        f"{SURVEY} reads the data and says what is there; {FOLDS} trains without each drive in turn, for "
        f"{FOLD_LENGTH:g} of the recipe's epochs, and scores it on that drive",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of this training run")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out where it stopped")
    parser.add_argument(
        "--model",
        type=Path,
        default=shipped_config("models/default.yaml"),
        help="the network's description; the default is that of the shipped model",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=shipped_config("training/default.yaml"),
        help="the stages' recipes; the default is how the shipped model was trained",
    )
    parser.add_argument(
        "--from",
        dest="start",
        default=IMAGENET,
        help=f"of the stage base: {IMAGENET}, {NOTHING}, or a checkpoint to go on from; of small and {TABLES}, "
        "where the run has no stage before: a checkpoint",
    )
    parser.add_argument("--epochs", type=int, help="number of epochs, overriding the recipe's")
    _add_data_options(parser.add_argument_group("data", "also in the recipe's section 'data', under the same names"))
    _add_hardware_options(parser.add_argument_group("hardware"))
    parser.set_defaults(run_command=train_command)


def _add_data_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data", type=Path, help="CamVid's folder or Cityscapes' ('root' in the recipe)")
    group.add_argument("--frames", type=Path, help="pictures, a video, or a folder of drives that are either")
    group.add_argument("--labels", type=Path, help="class ids as PNG, under the frames' names")
    add_label_options(group, "the model's own ids")
    group.add_argument("--consecutive", action="store_true", help="the pictures are a camera's frames in order")
    group.add_argument(
        "--video", type=Path, nargs="+", default=[], help="without labels, for the stage schedule ('videos')"
    )
    group.add_argument(
        "--hold-out", help="'every N' pictures, 'last fifth' or 'drive NAME': scored after each epoch, not trained on"
    )


def _add_hardware_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    group.add_argument(
        "--parts", type=int, default=1, help="split each batch into this many parts, to need less memory"
    )
    group.add_argument("--threads", type=int, help="CPU threads; the default is PyTorch's")


def train_command(options: argparse.Namespace) -> None:
    if options.threads is not None:
        if options.threads < 1:
            raise PlanError(f"--threads is {options.threads}; expected 1 or more")
        torch.set_num_threads(options.threads)
    if options.parts < 1:
        raise PlanError(f"--parts is {options.parts}; expected at least 1")
    config = load_config(options.model)
    several = {ALL: STAGES, SURVEY: STAGES, FOLDS: SINGLE_FRAME_STAGES}
    stages = stages_of(config, several[options.stage]) if options.stage in several else [options.stage]
    plans = {stage: load_plan(options.config, stage, epochs=options.epochs) for stage in stages}
    data = load_data_plan(
        options.config,
        root=options.data,
        frames=options.frames,
        labels=options.labels,
        void=options.void,
        classes=options.classes,
        consecutive=options.consecutive,
        videos=tuple(options.video),
        hold_out=options.hold_out,
    )
    keep_large_buffers()  # a batch is else faulted in anew in every layer of every step
    with joined_processes(options.device) as processes, _folder_of_run(options.out, processes):
        hardware = Hardware(processes, options.parts, precision_for(processes.device))
        command = shlex.join(["lowlat-seg", *sys.argv[1:]])
        run = Run(options.out, config, plans, data, options.start, options.resume, command, hardware)
        if options.stage == SURVEY:
            print_survey(run)
            return
        if options.stage == FOLDS:
            scores = cross_validate(run, is_shortened=options.epochs is None)
            if processes.leads:
                print(table_of(scores))
            return
        folder = train_stages(run, stages)
        if processes.leads:
            print(f"the checkpoint is in {folder}")


@contextmanager
def _folder_of_run(folder: Path, processes: Processes) -> Iterator[None]:
    """Made if it is missing; no other run trains in it meanwhile."""
    with ExitStack() as stack:

        def hold() -> bool:
            stack.enter_context(own_folder(folder))
            return True

        done_by_leader(processes, hold)
        yield


def print_survey(run: Run) -> None:
    """What training would learn from: the frames, and each class's share of their labelled pixels."""
    data, class_pixels = surveyed(run)
    labelled = max(1, int(class_pixels[:UNLABELLED].sum()))
    print(f"{printable(data.name)}: {len(data.trained)} frames to train on, {len(data.held_out)} held out")
    for name, pixels in zip(run.config.classes, class_pixels.tolist(), strict=False):
        print(f"  {printable(name)}  {pixels / labelled:.2%}")
    print(f"  unlabelled  {class_pixels[UNLABELLED] / max(1, class_pixels.sum()):.2%} of all pixels")


def precision_for(device: torch.device) -> torch.dtype | None:
    """Half precision where it is quicker: on GPUs, in bfloat16 where they have it."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16

"""``lowlat-seg train``: one stage of the training recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from lowlat_seg_ros.network.config import load_config
from lowlat_seg_ros.training.plan import load_plan
from lowlat_seg_ros.training.run import STAGES, run_stage


def add_train_command(commands: Any) -> None:
    """``commands`` is what argparse's add_subparsers returned."""
    parser = commands.add_parser("train", help="train one stage of the network")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--data", type=Path, required=True, help="CamVid's folder, with train/ and trainannot/")
    parser.add_argument(
        "--run", type=Path, required=True, help="folder of this training run; an interrupted stage goes on"
    )
    parser.add_argument(
        "--model", type=Path, default=Path("config/models/default.yaml"), help="the network's description"
    )
    parser.add_argument("--config", type=Path, default=Path("config/training/default.yaml"), help="the stages' recipes")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, help="CPU threads; the default is PyTorch's")
    parser.set_defaults(run_command=train_command)


def train_command(options: argparse.Namespace) -> None:
    if options.threads:
        torch.set_num_threads(options.threads)
    plan = load_plan(options.config, options.stage, epochs=options.epochs)
    folder = run_stage(options.stage, load_config(options.model), plan, options.data, options.run)
    print(f"the checkpoint is in {folder}")

"""The command ``lowlat-seg``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lowlat_seg_ros.commands.bag import add_bag_command
from lowlat_seg_ros.commands.evaluate import add_evaluate_command
from lowlat_seg_ros.commands.replay import ReplayError, add_replay_command
from lowlat_seg_ros.commands.train import add_train_command
from lowlat_seg_ros.data.camvid import DataError
from lowlat_seg_ros.data.clips import ClipError
from lowlat_seg_ros.evaluation.rows import SettingsError
from lowlat_seg_ros.models.checkpoint import CheckpointError
from lowlat_seg_ros.models.config import ConfigError
from lowlat_seg_ros.replay.bags import BagError
from lowlat_seg_ros.replay.comparison import Worse
from lowlat_seg_ros.training.imagenet import WeightsError
from lowlat_seg_ros.training.plan import PlanError
from lowlat_seg_ros.training.run_state import RunError

USER_ERRORS = (
    BagError,
    CheckpointError,
    ClipError,
    ConfigError,
    DataError,
    OSError,
    PlanError,
    ReplayError,
    RunError,
    SettingsError,
    WeightsError,
    Worse,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, 1 after one sentence on what was wrong, or 130 after Ctrl-C."""
    options = build_parser().parse_args(arguments)
    try:
        options.run_command(options)
    except USER_ERRORS as error:
        print(f"lowlat-seg: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lowlat-seg", description="Low-latency video semantic segmentation.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_bag_command(commands)
    add_evaluate_command(commands)
    add_replay_command(commands)
    add_train_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

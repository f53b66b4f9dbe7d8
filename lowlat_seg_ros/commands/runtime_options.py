"""Options that say which networks the tracks have and where each runs; each is the node's parameter of that name."""

from __future__ import annotations

import argparse

from lowlat_seg_ros.runtime.choice import AUTO, PRECISION_NAMES, RUNTIME_NAMES
from lowlat_seg_ros.stream.networks import Wishes


def add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="default", help="a shipped model's name, a checkpoint's folder, or a network"
    )
    parser.add_argument(
        "--fast-model",
        default="default",
        help="our model whose fast network (Sl) carries the labels of a --model without one; default: default",
    )


def add_runtime_options(parser: argparse.ArgumentParser) -> None:
    """Whatever is typed is looked at by ``wishes_of``."""
    for track in ("fast", "slow"):
        parser.add_argument(
            f"--{track}-runtime",
            default=AUTO,
            metavar="NAME",
            help=f"where the {track} track's network runs: {', '.join(RUNTIME_NAMES)}; default: {AUTO}",
        )
        parser.add_argument(
            f"--{track}-precision",
            default=AUTO,
            metavar="NAME",
            help=f"the precision it computes in: {', '.join(PRECISION_NAMES)}; default: {AUTO}",
        )


def wishes_of(options: argparse.Namespace) -> Wishes:
    """What ``add_runtime_options`` has added; raises ParameterError for names that there are not."""
    return Wishes.named(options.fast_runtime, options.slow_runtime, options.fast_precision, options.slow_precision)

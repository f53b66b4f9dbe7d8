"""Options of the key-frame policies that commands share; each is the node's parameter of that name."""

from __future__ import annotations

import argparse

from lowlat_seg_ros.stream.key_frames import DEFAULT_POLICY
from lowlat_seg_ros.stream.time_share import DEFAULT_SHARE


def limits_of(options: argparse.Namespace) -> tuple[int, int, float, float, float]:
    """What ``add_limit_options`` has added, in the order of ``ThresholdPolicy``'s fields after the threshold."""
    intervals = options.minimum_interval, options.maximum_interval
    return *intervals, options.minimum_key_period, options.maximum_key_period, options.idle_threshold


def add_limit_options(parser: argparse.ArgumentParser) -> None:
    """How soon and how late a key frame follows the last one, and what an idle slow track does."""
    node = DEFAULT_POLICY
    parser.add_argument(
        "--minimum-key-period",
        type=float,
        default=node.minimum_period,
        metavar="S",
        help=f"seconds before which no key frame is due; the default is {node.minimum_period:g}",
    )
    parser.add_argument(
        "--maximum-key-period",
        type=float,
        default=node.maximum_period,
        metavar="S",
        help=f"seconds after which a key frame is due anyway, 0 for never; the default is {node.maximum_period:g}",
    )
    parser.add_argument(
        "--minimum-interval", type=int, default=node.minimum_interval, metavar="N", help="likewise in frames"
    )
    parser.add_argument(
        "--maximum-interval", type=int, default=node.maximum_interval, metavar="N", help="likewise in frames"
    )
    parser.add_argument(
        "--idle-threshold",
        type=float,
        default=node.idle_threshold,
        metavar="D",
        help="deviation beyond which an idle slow track takes a frame, 1 for never; "
        f"the default is {node.idle_threshold:g}",
    )
    parser.add_argument(
        "--slow-track-share",
        type=float,
        default=DEFAULT_SHARE,
        metavar="F",
        help="share of the time that the slow track may be at work before it leaves that out; "
        f"the default is {DEFAULT_SHARE:g}",
    )

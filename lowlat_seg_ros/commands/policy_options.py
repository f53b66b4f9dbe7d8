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
    for name, default, unit, meaning in (
        ("minimum-key-period", node.minimum_period, "S", "seconds that must pass before another key frame is due"),
        ("maximum-key-period", node.maximum_period, "S", "seconds after which the next one is due anyway, 0: never"),
        ("minimum-interval", node.minimum_interval, "N", "the same in frames, 0: no limit"),
        ("maximum-interval", node.maximum_interval, "N", "the same in frames, 0: never"),
        ("idle-threshold", node.idle_threshold, "D", "deviation at which an idle slow track takes a frame, 1: never"),
        (
            "slow-track-share",
            DEFAULT_SHARE,
            "F",
            "share of the time, 0 to 1, that the slow track may be at work before it leaves out such frames and "
            "learns less",
        ),
    ):
        text = f"{meaning}; the default is {default:g}"
        parser.add_argument(f"--{name}", type=type(default), default=default, metavar=unit, help=text)

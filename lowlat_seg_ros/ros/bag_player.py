"""A recorded drive in its cameras' place: `python -m lowlat_seg_ros.ros.bag_player BAG --clock --loop 3`.

`ros2 bag play` sends a bag's messages as well. This one needs no rosbag2, sends the good part of a damaged bag, and
tells who supervises it when each picture went out.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from lowlat_seg_ros.ros.process_setup import run_process
from lowlat_seg_ros.ros.stop_signals import StopSignals


def main(arguments: list[str] | None = None) -> int:
    """Play a bag; returns 0 at its end or after a signal, 1 for a bag that cannot be read."""
    return run_process(_play, arguments)


def _play(arguments: list[str], signals: StopSignals) -> int:
    from rclpy.utilities import remove_ros_args

    from lowlat_seg_ros.replay.bags import BagError, open_bag
    from lowlat_seg_ros.ros.player import BagSource, Player, player_node

    options = _parser().parse_args(remove_ros_args(["bag_player", *arguments])[1:])
    try:
        with open_bag(options.bag) as bag:
            names = options.camera or bag.camera_topics or (None,)
            cameras = tuple(dict.fromkeys(bag.choose_camera(name) for name in names))
            source = BagSource(bag, cameras, options.rate, options.loop)
            with player_node("bag_player", arguments, signals) as node:
                Player(node, source, options.supervised, options.clock).run()
    except BagError as error:
        print(f"bag_player: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bag_player", description="Publish a bag's pictures as its cameras did.")
    parser.add_argument("bag", type=Path, help="a bag's folder, or a single .mcap or .db3 file")
    parser.add_argument("--camera", action="append", default=[], metavar="TOPIC", help="the default is every camera")
    parser.add_argument("--rate", type=_rate, default=1.0, help="seconds of the drive a second (default: 1)")
    parser.add_argument("--loop", type=_rounds, default=1, metavar="N", help="play it N times (default: once)")
    parser.add_argument("--clock", action="store_true", help="publish the drive's time on /clock")
    parser.add_argument(
        "--supervised",
        action="store_true",
        help="start at a line on standard input, print a line for every frame sent, end when standard input is closed",
    )
    return parser


def _rate(text: str) -> float:
    rate = float(text)
    if not (math.isfinite(rate) and rate > 0):
        raise argparse.ArgumentTypeError(f"{text} is no rate; expected a number above 0")
    return rate


def _rounds(text: str) -> int:
    rounds = int(text)
    if rounds < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of rounds; expected 1 or more")
    return rounds


if __name__ == "__main__":
    sys.exit(main())

"""The executable `camera_player`: a clip in a camera's place.

    ros2 run lowlat_seg_ros camera_player street --loop

Every frame is sent once, at the clip's own rate, with the stamp of the time it was due.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from lowlat_seg_ros.ros.process_setup import run_process
from lowlat_seg_ros.ros.stop_signals import StopSignals


def main(arguments: list[str] | None = None) -> int:
    """Play a clip; returns 0 at its end or after a signal, 1 for a clip that cannot be read."""
    return run_process(_play, arguments)


def _play(arguments: list[str], signals: StopSignals) -> int:
    from rclpy.utilities import remove_ros_args

    from lowlat_seg_ros.data.clips import ClipError, open_clip
    from lowlat_seg_ros.ros.player import FROM_RGB, ClipOptions, ClipSource, Player, player_node

    options = _parser(FROM_RGB).parse_args(remove_ros_args(["camera_player", *arguments])[1:])
    try:
        clip = open_clip(options.clip, rate_hz=options.rate)
    except ClipError as error:
        print(f"camera_player: {error}", file=sys.stderr)
        return 1
    how = ClipOptions(
        topics=tuple(options.topic or ["image"]),
        encoding=options.encoding,
        frame_id=options.frame_id,
        rounds=None if options.loop else options.rounds,
        in_memory=options.in_memory,
    )
    with player_node("camera_player", arguments, signals) as node:
        try:
            Player(node, ClipSource(clip, how), options.supervised, reliability=options.reliability).run()
        except ClipError as error:
            node.get_logger().fatal(str(error))
            return 1
    return 0


def _parser(encodings: Iterable[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="camera_player", description="Publish a clip as a camera would.")
    parser.add_argument("clip", help="a video, a folder of pictures, or 'street' for the synthetic street")
    parser.add_argument("--topic", action="append", help="where to publish, once or more (default: image)")
    parser.add_argument("--rate", type=float, help="frames a second (default: the clip's own)")
    parser.add_argument("--encoding", choices=encodings, default="bgr8", help="of the images (default: bgr8)")
    parser.add_argument("--frame-id", default="camera", help="of the images (default: camera)")
    parser.add_argument(
        "--reliability", choices=("reliable", "best_effort"), default="reliable", help="offered (default: reliable)"
    )
    parser.add_argument("--loop", action="store_true", help="play again and again")
    parser.add_argument("--rounds", type=_rounds, default=1, help="how often the clip is played (default: 1)")
    parser.add_argument("--in-memory", action="store_true", help="read all frames before the first is sent")
    parser.add_argument(
        "--supervised",
        action="store_true",
        help="play at every line on standard input, print a line for every frame sent, end when the input is closed",
    )
    return parser


def _rounds(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; expected a whole number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

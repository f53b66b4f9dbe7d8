"""`python -m lowlat_seg_ros.demo`: parses, plays, draws, reports."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns 0 if every frame was labelled or reported as dropped, else 1 after one sentence."""
    from lowlat_seg_ros.ros.process_setup import set_up_process
    from lowlat_seg_ros.ros.stop_signals import Stopped, StopSignals

    StopSignals()
    try:
        set_up_process()
        return run(parse(arguments))
    except Stopped:
        print("demo: stopped", file=sys.stderr)
        return INTERRUPTED


def parse(arguments: list[str] | None) -> argparse.Namespace:
    from lowlat_seg_ros.commands.runtime_options import add_runtime_options

    parser = argparse.ArgumentParser(prog="demo", description="Play a clip as a camera into the node.")
    parser.add_argument("--clip", default="street", help="a video, a folder of pictures, or 'street' (default)")
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder for the results (default: demo_out)")
    parser.add_argument("--rate", type=float, help="frames a second (default: the clip's own)")
    parser.add_argument("--model", default="default", help="a shipped model's name or a checkpoint (default: default)")
    parser.add_argument(
        "-p", "--parameter", action="append", default=[], metavar="NAME:=VALUE", help="a parameter of the node"
    )
    add_runtime_options(parser)
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Returns 0, or 1 after one sentence on what was wrong."""
    # Imported here: rclpy must come after set_up_process, and in the seconds that torch takes Ctrl-C must count.
    from lowlat_seg_ros.commands.runtime_options import wishes_of
    from lowlat_seg_ros.demo.run import run_demo
    from lowlat_seg_ros.errors import Error

    try:
        wishes = wishes_of(options)
        run_demo(options.clip, options.rate, options.model, wishes, tuple(options.parameter), options.out)
    except Error as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"demo: {error.filename or options.out}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

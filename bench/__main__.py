"""`make bench`: all that can be measured without a GPU, into bench/results/<machine>.json and a table beside it.

scripts/with_ros scripts/run_contained.py python -m bench
scripts/with_ros scripts/run_contained.py python -m bench --only modules tracks
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.ros.process_setup import set_up_process
from lowlat_seg_ros.ros.stop_signals import Stopped, StopSignals

INTERRUPTED: Final = 130
SECTIONS: Final = ("modules", "tracks", "node", "kernel", "scale")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 after one sentence on what was wrong; stopped by a signal, the old results stay whole."""
    StopSignals()
    try:
        set_up_process()
        return run(parse(arguments))
    except Stopped:
        print("bench: stopped; the results of an earlier run are as they were", file=sys.stderr)
        return INTERRUPTED


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure latency on this machine's CPU.")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections (default: all)")
    parser.add_argument("--out", type=Path, default=Path("bench", "results"), help="folder (default: bench/results)")
    parser.add_argument("--model", default="default", help="a shipped model's name or a checkpoint (default: default)")
    parser.add_argument("--soak", type=int, metavar="FRAMES", help="only watch the memory over so many frames")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Returns 0, or 1 after one sentence on what was wrong."""
    # Imported here: torch and Fast DDS must come after set_up_process, and in these seconds Ctrl-C must count.
    try:
        import rclpy  # noqa: F401
        from lowlat_seg_ros.msg import KeyFrameDiagnostics  # noqa: F401
    except ImportError as error:
        print(f"bench: the package is not built or not sourced ({error}); type 'make bench'", file=sys.stderr)
        return 1
    from bench.run import measure_all, measure_soak_only, require_addable, write_results

    try:
        if options.soak is not None or set(options.only) != set(SECTIONS):
            require_addable(options.out, options.model)
        if options.soak is None:
            write_results(measure_all(options.model, options.only), options.out)
        else:
            write_results(measure_soak_only(options.model, options.soak), options.out)
    except Error as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"bench: {error.filename or options.out}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The floor under the node: the same way of an image through a process, with a memory copy for a network.

    scripts/with_ros python -m bench.floor_node --ros-args -r __ns:=/bench

It subscribes, copies and publishes as `seg_node` does, and reports the same messages, so that whatever plays to one and
listens to it can play to the other.
"""

from __future__ import annotations

import sys

from lowlat_seg_ros.ros.process_setup import run_process
from lowlat_seg_ros.ros.stop_signals import StopSignals


def _run(arguments: list[str], signals: StopSignals) -> int:
    """Until SIGINT or SIGTERM."""
    from rclpy.executors import SingleThreadedExecutor

    from bench.floor import Floor
    from lowlat_seg_ros.ros.boundary import LONGEST_WAIT_SECONDS
    from lowlat_seg_ros.ros.player import player_node

    with player_node("floor", arguments, signals) as node:
        Floor(node)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not signals.arrived:
            executor.spin_once(timeout_sec=LONGEST_WAIT_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(run_process(_run, None))

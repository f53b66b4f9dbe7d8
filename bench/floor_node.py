"""The floor under the node: the same way of an image through a process, with a memory copy for a network.

    scripts/with_ros python -m bench.floor_node --ros-args -r __ns:=/bench

It subscribes, copies and publishes as `seg_node` does, and reports the same messages, so that whatever plays to one and
listens to it can play to the other.
"""

from __future__ import annotations

import sys

from lowlat_seg_ros.ros.process_setup import set_up_process
from lowlat_seg_ros.ros.stop_signals import Stopped, StopSignals


def main() -> int:
    """Run until SIGINT or SIGTERM; returns 0."""
    signals = StopSignals()
    try:
        set_up_process()
        _run(signals)
    except Stopped:
        pass
    return 0


def _run(signals: StopSignals) -> None:
    # Imported here: what set_up_process sets is read when Fast DDS is loaded.
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from bench.floor import FloorNode
    from lowlat_seg_ros.ros.main import LONGEST_WAIT_SECONDS

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = FloorNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not signals.arrived:
            executor.spin_once(timeout_sec=LONGEST_WAIT_SECONDS)
    finally:
        signals.ignore()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())

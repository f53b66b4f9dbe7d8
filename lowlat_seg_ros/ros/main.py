"""The executable `seg_node`: one process, one node, one executor."""

from __future__ import annotations

import os
import sys
from typing import Final, NoReturn

from lowlat_seg_ros.ros.process_setup import set_up_process
from lowlat_seg_ros.ros.stop_signals import Stopped, StopSignals
from lowlat_seg_ros.runtime.steady_memory import freeze_gc

LONGEST_WAIT_SECONDS: Final = 0.2


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the node until SIGINT or SIGTERM and end the process.

    With 0 after a signal, with 1 after a start-up that failed, which says in one line what was wrong.
    """
    signals = StopSignals()
    try:
        set_up_process()
        code = _run(sys.argv if arguments is None else arguments, signals)
    except Stopped:
        code = 0
    _end_at_once(code)


def _run(arguments: list[str], signals: StopSignals) -> int:
    # Imported here: what set_up_process sets is read when Fast DDS is loaded, and a signal in these seconds must count.
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    try:
        # Without rclpy's own handlers, which shut the context down under a callback that is about to publish.
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # RuntimeError and types of rclpy's own, for arguments that cannot be parsed
        print(f"seg_node: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    try:
        return _run_node(signals)
    finally:
        rclpy.try_shutdown()


def _run_node(signals: StopSignals) -> int:
    from rclpy.executors import SingleThreadedExecutor

    from lowlat_seg_ros.errors import Error
    from lowlat_seg_ros.ros.node import SegmentationNode

    node = SegmentationNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        node.start()
        freeze_gc()
        # Python runs signal handlers only between waits, so these must not be long.
        while not signals.arrived:
            executor.spin_once(timeout_sec=LONGEST_WAIT_SECONDS)
    except Stopped:
        pass
    except Error as error:
        node.get_logger().fatal(str(error))
        return 1
    finally:
        signals.ignore()
        node.stop()
        executor.shutdown()
        node.destroy_node()
    return 0


def _end_at_once(code: int) -> NoReturn:
    """End without Python's own finalisation: it takes torch most of a second, and crashes under a thread inside Sh."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()

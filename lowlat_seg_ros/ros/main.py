"""The executable `seg_node`: one process, one node, one executor. `docs/node.md` says what ends it, and how."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from lowlat_seg_ros.ros.process_setup import set_up_process
from lowlat_seg_ros.ros.stop_signals import Stopped, StopSignals


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the node until SIGINT or SIGTERM and end the process.

    With 0 after a signal; with 1 after a start-up that failed or something that it cannot go on after, which one line
    says.
    """
    signals = StopSignals()
    try:
        set_up_process()
        code = _run(sys.argv if arguments is None else arguments, signals)
    except BaseException:
        if not signals.arrived:
            raise
        code = 0  # Stopped, or what a module's initialisation in C made of it
    _end_at_once(code)


def _run(arguments: list[str], signals: StopSignals) -> int:
    # Imported here: what set_up_process sets is read when Fast DDS is loaded, and a signal in these seconds must count.
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    signals.raise_if_arrived()
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

    from lowlat_seg_ros.errors import Error, printable
    from lowlat_seg_ros.ros.boundary import spin_guarded
    from lowlat_seg_ros.ros.node import SegmentationNode

    node = SegmentationNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.prepare():
            signals.raise_if_arrived()
            node.start()
        spin_guarded(executor, node.faults, lambda: signals.arrived)
    except Stopped:
        pass
    except Exception as error:
        if signals.arrived:
            return 0
        if not isinstance(error, Error):
            node.faults.note("the start", error)  # with its traceback
        node.get_logger().fatal(printable(str(error) or type(error).__name__, 1000))
        return 1
    finally:
        signals.ignore()
        for step in (node.stop, executor.shutdown, node.destroy_node):
            with contextlib.suppress(Exception):  # what the process ends for may keep one of them from working
                step()
    return 0


def _end_at_once(code: int) -> NoReturn:
    """End without Python's own finalisation: it takes torch most of a second, and crashes under a thread inside Sh."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or None
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()

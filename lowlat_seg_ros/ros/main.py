"""The executable `seg_node`: one process, one node, one executor. `docs/node.md` says what ends it, and how."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final, NoReturn

from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.ros.process_setup import set_up_process
from lowlat_seg_ros.ros.stop_signals import Stopped, StopSignals

_WITH_VALUE: Final = (
    *("-r", "--remap", "-p", "--param", "--params-file", "-e", "--enclave"),
    *("--log-level", "--log-config-file", "--log-file-name"),
)
"""ROS's options that an argument follows."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the node until SIGINT or SIGTERM and end the process.

    With 0 after a signal; with 1 after a start-up that failed or something that it cannot go on after, which one line
    says.
    """
    signals = StopSignals()
    try:
        set_up_process()
        code = _run(sys.argv if arguments is None else arguments, signals)
    except Error as error:  # before there is a log
        print(f"seg_node: {error}", file=sys.stderr)
        code = 1
    except BaseException:
        if not signals.arrived:
            raise
        code = 0  # Stopped, or what a module's initialisation in C made of it
    _end_at_once(code)


def _run(arguments: list[str], signals: StopSignals) -> int:
    if problem := misplaced_argument(arguments):
        print(f"seg_node: {problem}", file=sys.stderr)
        return 1
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
        return _run_node(arguments, signals)
    finally:
        rclpy.try_shutdown()


def misplaced_argument(arguments: list[str]) -> str:
    """A sentence on the first argument that ROS would ignore or refuse in words of its own; empty if there is none.

    Args:
        arguments: the program's name, then what was typed.
    """
    is_ros, takes_value = False, False
    for argument in arguments[1:]:
        if takes_value:
            takes_value = False
        elif argument == "--ros-args" and not is_ros:
            is_ros = True
        elif argument == "--" and is_ros:
            is_ros = False
        elif ":=" in argument and not argument.startswith("-"):
            option = "-r" if is_ros else "--ros-args -r"
            return f"{argument!r} stands without -r (a topic) or -p (a parameter); expected {option} {argument}"
        elif not is_ros:
            return f"{argument!r} is no argument of seg_node; expected only ROS's own, after --ros-args"
        else:
            takes_value = argument in _WITH_VALUE
    return ""


def _run_node(arguments: list[str], signals: StopSignals) -> int:
    from rclpy.executors import SingleThreadedExecutor

    from lowlat_seg_ros.errors import in_one_line, printable
    from lowlat_seg_ros.ros.boundary import spin_guarded
    from lowlat_seg_ros.ros.node import SegmentationNode
    from lowlat_seg_ros.ros.parameter_files import unheard_files

    try:
        node = SegmentationNode()
    except Exception as error:  # a name, or a value of one of rclpy's own parameters, that ROS takes until here
        print(f"seg_node: {in_one_line(error)}", file=sys.stderr)
        return 1
    for sentence in unheard_files(arguments, node.get_fully_qualified_name()):
        node.get_logger().warning(sentence)
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

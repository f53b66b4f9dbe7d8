"""How the programs that play to the node begin and end: the camera player and the bag player."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lowlat_seg_ros.ros.process_setup import set_up_process
from lowlat_seg_ros.ros.stop_signals import Stopped, StopSignals

if TYPE_CHECKING:  # what set_up_process sets is read when Fast DDS is loaded
    from rclpy.node import Node


def run_player(play: Callable[[list[str], StopSignals], int], arguments: list[str] | None) -> int:
    """``play(arguments, signals)`` in a process that moves images; returns its exit status, 0 after a signal.

    Args:
        play: imports all of ROS itself.
        arguments: the process's own unless given.
    """
    signals = StopSignals()
    try:
        set_up_process()
        return play(sys.argv[1:] if arguments is None else arguments, signals)
    except Stopped:
        return 0


@contextmanager
def player_node(name: str, arguments: list[str], signals: StopSignals) -> Iterator[Node]:
    """A ROS node for the block, which a signal to stop ends early and well."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(name)
    try:
        yield node
    except Stopped:
        pass
    finally:
        signals.ignore()
        node.destroy_node()
        rclpy.try_shutdown()

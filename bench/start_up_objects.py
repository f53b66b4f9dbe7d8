"""What Python's cyclic garbage collection costs in the node's process, before and after its start-up is set apart.

    scripts/with_ros python -m bench.start_up_objects

A full collection looks at every object that the imports left, and stops the frame in whose time it falls. CPU time, so
that whatever else the machine does does not show.
"""

from __future__ import annotations

import gc
import time

from lowlat_seg_ros.ros.process_setup import set_up_process
from lowlat_seg_ros.runtime.steady_memory import set_start_up_apart

RUNS = 5


def main() -> None:
    set_up_process()
    # What seg_node has in memory when it begins to take images.
    import rclpy  # noqa: F401

    from lowlat_seg_ros.models.checkpoint import load_checkpoint
    from lowlat_seg_ros.ros.node import SegmentationNode  # noqa: F401

    network = load_checkpoint("default")
    print(f"model {network.config.name}, {len(gc.get_objects())} objects")
    print(f"a full collection takes {milliseconds()} ms")
    set_start_up_apart()
    print(f"with the start-up set apart it takes {milliseconds()} ms")


def milliseconds() -> str:
    """The shortest and the longest of some full collections."""
    times = []
    for _ in range(RUNS):
        began = time.process_time()
        gc.collect()
        times.append(1000 * (time.process_time() - began))
    return f"{min(times):.2f} to {max(times):.2f}"


if __name__ == "__main__":
    main()

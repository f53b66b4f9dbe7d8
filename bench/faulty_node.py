"""The node with a slow network that fails at random, for bench.faults.

    scripts/with_ros python -m bench.faulty_node SEED SECONDS --ros-args …

A run may raise, give NaN, or end its thread; one after a third of the time hangs, and one after four fifths, so that
the node first loads its network again and then goes on alone. Each fault is a line on standard error.
"""

from __future__ import annotations

import random
import sys
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

    from lowlat_seg_ros.fast.frames import Answer
    from lowlat_seg_ros.slow.network import SlowNetwork

SAYS: Final = "the slow network fails: "
SHARES: Final = {"raises": 0.02, "gives NaN": 0.02, "dies": 0.01}
HANGS_AFTER: Final = (1 / 3, 4 / 5)  # of the time


class FaultySlowNetwork:
    """Another slow network, and what becomes of its runs. The faults of all copies are one sequence."""

    def __init__(self, network: SlowNetwork, faults: Faults) -> None:
        self._network = network
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        """As the network's, or none, or of no use."""
        fault = self._faults.next()
        if fault == "raises":
            raise RuntimeError("a fault that was asked for")
        if fault == "dies":
            raise SystemExit("a fault that was asked for")
        if fault == "hangs":
            time.sleep(self._faults.seconds)
        answer = self._network.answer(image, low)
        return answer._replace(logits=answer.logits * float("nan")) if fault == "gives NaN" else answer


class Faults:
    """What is to become of each run in turn."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.seconds = seconds
        self._chance = random.Random(seed)
        self._began = 0.0  # with the first run, the warm-up's, which nothing happens to
        self._hangs = [share * seconds for share in HANGS_AFTER]

    def next(self) -> str:
        """Of one more run; empty for nothing."""
        if not self._began:
            self._began = time.monotonic()
            return ""
        fault = ""
        if self._hangs and time.monotonic() - self._began > self._hangs[0]:
            del self._hangs[0]
            fault = "hangs"
        elif self._chance.random() < sum(SHARES.values()):
            (fault,) = self._chance.choices(list(SHARES), list(SHARES.values()))
        if fault:
            print(f"{SAYS}{fault}", file=sys.stderr, flush=True)
        return fault


def _main(arguments: list[str]) -> None:
    from lowlat_seg_ros.ros import main, process_setup

    process_setup.set_up_process()  # before anything loads torch or Fast DDS
    from lowlat_seg_ros.ros import pipeline

    faults = Faults(int(arguments[0]), float(arguments[1]))
    load_networks, load_slow = pipeline.load_networks, pipeline.load_slow

    def load_faulty_networks(*wanted: Any) -> Any:
        networks = load_networks(*wanted)
        return networks._replace(slow=FaultySlowNetwork(networks.slow, faults))

    vars(pipeline).update(
        load_networks=load_faulty_networks, load_slow=lambda *wanted: FaultySlowNetwork(load_slow(*wanted), faults)
    )
    main.main([sys.argv[0], *arguments[2:]])


if __name__ == "__main__":
    _main(sys.argv[1:])

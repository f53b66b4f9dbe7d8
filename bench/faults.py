"""The node under random faults: is everything that was sent to it accounted for?

    scripts/with_ros scripts/run_contained.py python -m bench.faults --minutes 30

Images of every bad kind, stamps that jump, bursts, impossible requests and a clock that goes back come to a node over
real DDS beside good images at the camera's rate, and its slow network raises, gives NaN, dies and hangs
(bench.faulty_node). At the end each image must be labelled or counted as what became of it, each request answered, each
of the slow network's faults told, and the node must end well.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.ros.process_setup import run_process
from lowlat_seg_ros.ros.stop_signals import StopSignals

FAULT_SHARE: Final = 0.15
SECONDS_TO_SETTLE: Final = 60
SIZES: Final = ((64, 48), (96, 72), (1, 1))

COUNTS: Final = ("segmented", "dropped", "refused", "failed", "out of order")
"""What can become of an image, as /diagnostics calls it."""


class FaultyCamera:
    """Sends good and bad images and requests to the node, and hears what it says of them."""

    def __init__(self, node: Any, chance: random.Random) -> None:
        """`node` is this process's, in the segmentation node's namespace."""
        from diagnostic_msgs.msg import DiagnosticArray
        from rcl_interfaces.srv import SetParameters
        from rclpy.qos import qos_profile_parameters
        from rosgraph_msgs.msg import Clock
        from sensor_msgs.msg import Image

        self.sent: Counter[str] = Counter()
        self.labelled = 0
        self.unanswered: list[Any] = []
        self.statuses: dict[str, dict[str, str]] = {}
        self._node = node
        self._chance = chance
        self._stamp = time.time_ns()
        self._images = node.create_publisher(Image, "image", 100)
        self._clock = node.create_publisher(Clock, "/clock", 10)
        # As deep as the node's side: a service's own ten answers are soon overtaken where this process had no core.
        self._parameters = node.create_client(
            SetParameters, "lowlat_seg/set_parameters", qos_profile=qos_profile_parameters
        )
        self._picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        node.create_subscription(Image, "lowlat_seg/labels", self._on_labels, 1000)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._faults: dict[str, Callable[[], None]] = {
            "unknown encoding": lambda: self.send(encoding=f"\x1b{chance.random()}" + "x" * chance.randrange(100_000)),
            "depth image": lambda: self.send(encoding="32FC1"),
            "short data": lambda: self.send(height=chance.randrange(49, 2**31)),
            "no pixels": lambda: self.send(width=0),
            "short rows": lambda: self.send(step=chance.randrange(64 * 3)),
            "another size": self._send_another_size,
            "a step back": lambda: self.send(stamp=self._stamp - chance.randrange(1, 400_000_000)),
            "a jump back": self._jump_back,
            "the other byte order": lambda: self.send(is_bigendian=1),
            "an encoding in capitals": lambda: self.send(encoding="RGB8"),
            "an encoding of another length": lambda: self.send(encoding=chance.choice(OTHER_ENCODINGS)),
            "no stamp": lambda: self.send(stamp=0),
            "the last stamp there is": lambda: self.send(stamp=2**31 * 10**9 - 1),
            "a burst": self._send_burst,
            "a parameter of no type": lambda: self.set_parameter("interval", type=200),
            "a parameter out of range": lambda: self.set_parameter("interval", type=2, integer_value=-(2**63)),
            "an unknown parameter": lambda: self.set_parameter("\n" * 1000, type=4, string_value="x" * 100_000),
            "another policy": lambda: self.set_parameter("policy", type=4, string_value=chance.choice(POLICIES)),
            "a negative clock": lambda: self.tell_time(chance.randrange(-(2**31), 0)),
            "a clock": lambda: self.tell_time(chance.randrange(2**31)),
        }

    @property
    def status(self) -> dict[str, str]:
        """Of the camera, as the node told it last."""
        return next((values for name, values in self.statuses.items() if name.endswith("/image")), {})

    @property
    def is_connected(self) -> bool:
        return self.status.get("image publishers") == "1" and self.status.get("labels subscribers") == "1"

    @property
    def accounted(self) -> int:
        """Images that the node says it has labelled or lost."""
        return sum(int(self.status.get(f"images {name}", 0)) for name in COUNTS)

    def tick(self) -> None:
        """A frame's turn: a good image, or a fault."""
        self._stamp += 33_333_333
        if self._chance.random() < FAULT_SHARE:
            name = self._chance.choice(list(self._faults))
            self.sent[name] += 1
            self._faults[name]()
        else:
            self.send()

    def send(self, stamp: int | None = None, pixels: Any = None, **changes: Any) -> None:
        """An image, `changes` replacing fields of its message."""
        from std_msgs.msg import Header

        from lowlat_seg_ros.ros.conversions import image_message, stamp_of

        header = Header(stamp=stamp_of(self._stamp if stamp is None else stamp), frame_id="camera")
        message = image_message(self._picture if pixels is None else pixels, "rgb8", header)
        for name, value in changes.items():
            setattr(message, name, value)
        self._images.publish(message)
        self.sent["images"] += 1

    def set_parameter(self, name: str, **value: Any) -> None:
        """A request, whose answer is waited for at the end."""
        from rcl_interfaces.msg import Parameter, ParameterValue
        from rcl_interfaces.srv import SetParameters

        parameter = Parameter(name=name, value=ParameterValue(**value))
        self.unanswered = [future for future in self.unanswered if not future.done()]
        self.unanswered.append(self._parameters.call_async(SetParameters.Request(parameters=[parameter])))
        self.sent["requests"] += 1

    def tell_time(self, seconds: int) -> None:
        """For the node's simulated clock."""
        from builtin_interfaces.msg import Time
        from rosgraph_msgs.msg import Clock

        self._clock.publish(Clock(clock=Time(sec=seconds)))

    def _send_another_size(self) -> None:
        width, height = self._chance.choice(SIZES)
        self.send(pixels=np.zeros((height, width, 3), np.uint8))

    def _send_burst(self) -> None:
        for _ in range(self._chance.randrange(2, 20)):
            self.send()

    def _jump_back(self) -> None:
        self._stamp -= self._chance.randrange(10**9, 10**12)
        self.send()

    def _on_labels(self, message: Any) -> None:
        self.labelled += 1

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(f"{self._node.get_namespace()}/"):
                values = {pair.key: pair.value for pair in status.values}
                self.statuses[status.name] = {**values, "message": status.message, "level": str(status.level[0])}


OTHER_ENCODINGS: Final = ("bgra8", "rgb16", "mono16", "nv12", "uyvy", "bayer_rggb8", "8UC3", "jpeg", "")

MUST_BE_0: Final = ("unaccounted_images", "unheard_labels", "unanswered_requests", "untold_slow_faults")

POLICIES: Final = ("predicted_deviation", "feature_difference", "fixed_interval", "every_full_moon")


def run_faults(minutes: float, rate_hz: float, seed: int, model: str, logs: Path) -> dict[str, Any]:
    """Play to a node of its own; returns what was sent, what became of it, and what is missing.

    Raises:
        HarnessError: the node ended, or was not ready for too long.
    """
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from bench.faulty_node import SAYS
    from lowlat_seg_ros.ros.harness import SECONDS_TO_START, Harness, HarnessError

    with Harness("faults", logs) as harness:
        parameters = [f"model:={model}", "use_sim_time:=true", "input_size:=[240, 180]", "error_key_age:=4.0"]
        faults_of_slow_network = [str(seed), str(minutes * 60)]
        process = harness.start("bench.faulty_node", "node", parameters, arguments=faults_of_slow_network)
        node = rclpy.create_node("faulty_camera", namespace=harness.namespace)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        camera = FaultyCamera(node, random.Random(seed))

        def work_until(is_done: Callable[[], bool], seconds: float) -> bool:
            end = time.monotonic() + seconds
            while not is_done() and time.monotonic() < end:
                executor.spin_once(timeout_sec=max(0.0, min(0.05, end - time.monotonic())))
            process.require_alive()
            return is_done()

        if not work_until(lambda: camera.is_connected, SECONDS_TO_START):
            raise HarnessError("the node was not ready")
        began = due = time.monotonic()
        while time.monotonic() - began < minutes * 60:
            camera.tick()
            due = max(due + 1 / rate_hz, time.monotonic() - 1)
            work_until(lambda: False, due - time.monotonic())

        def is_settled() -> bool:
            is_accounted = camera.accounted == camera.sent["images"]
            return is_accounted and camera.labelled == int(camera.status["images segmented"])

        # One more has to arrive: only then are those that were lost before it counted. It may be lost, too.
        for _ in range(SECONDS_TO_SETTLE):
            camera.send()
            if work_until(is_settled, 1.0):
                break
        work_until(lambda: all(future.done() for future in camera.unanswered), SECONDS_TO_SETTLE)
        own = next(values for name, values in camera.statuses.items() if name.endswith(": node"))
        executor.shutdown()
        node.destroy_node()
        harness.finish()  # raises where the node does not end with 0
    images = {name: int(camera.status[f"images {name}"]) for name in COUNTS}
    log = (logs / "node.log").read_text(errors="replace")
    slow = Counter(line.removeprefix(SAYS) for line in log.splitlines() if line.startswith(SAYS))
    failures, restarts = int(camera.status["slow-track failures"]), int(camera.status["slow-track restarts"])
    # A run that a busy machine holds up for long enough is abandoned, too, so that more may be told.
    untold = max(0, slow.total() - failures) + max(0, slow["dies"] + min(slow["hangs"], 1) - restarts)
    untold += slow["hangs"] == 2 and "goes on alone" not in camera.status["message"]
    return {
        "minutes": minutes,
        "rate_hz": rate_hz,
        "seed": seed,
        "sent": dict(camera.sent),
        "images": images,
        "labels_received": camera.labelled,
        "stream_restarts": int(camera.status["stream restarts"]),
        "faults": int(own["faults"]),
        "slow_network": dict(slow),
        "slow_track_failures": failures,
        "slow_track_restarts": restarts,
        "status": camera.status["message"],
        "log_bytes": len(log),
        "unaccounted_images": camera.sent["images"] - sum(images.values()),
        "unheard_labels": images["segmented"] - camera.labelled,
        "unanswered_requests": sum(not future.done() for future in camera.unanswered),
        "untold_slow_faults": untold,
    }


def _main(arguments: list[str], signals: StopSignals) -> int:
    parser = argparse.ArgumentParser(prog="bench.faults", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="(default: 30)")
    parser.add_argument("--rate", type=float, default=30.0, metavar="HZ", help="images a second (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults (default: 0)")
    parser.add_argument("--model", default="default", help="(default: default)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        try:
            report = run_faults(options.minutes, options.rate, options.seed, options.model, Path(folder))
        except Error as error:
            print(f"bench.faults: {error}", file=sys.stderr)
            return 1
    print(json.dumps(report, indent=2))
    return 1 if any(report[name] for name in MUST_BE_0) else 0


if __name__ == "__main__":
    sys.exit(run_process(_main, None))

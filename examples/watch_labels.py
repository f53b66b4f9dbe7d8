"""Listen to the node: what it says of its frames, once a second, and of which classes their labels are.

scripts/with_ros python examples/watch_labels.py [/lowlat_seg] [--seconds 10]
"""

import argparse
import contextlib
import json

import numpy as np
import rclpy
from lowlat_seg_ros.msg import KeyFrameDiagnostics
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String


class Watcher:
    """Counts label images, and keeps the newest message of either topic."""

    def __init__(self, node: str) -> None:
        self._ros = rclpy.create_node("watch_labels")
        self._classes: list[str] = []
        self._labels: Image | None = None
        self._frame: KeyFrameDiagnostics | None = None
        self._count = 0
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._ros.create_subscription(String, f"{node}/classes", self._on_classes, latched)
        self._ros.create_subscription(Image, f"{node}/labels", self._on_labels, 5)
        self._ros.create_subscription(KeyFrameDiagnostics, f"{node}/keyframe", self._on_frame, 5)
        self._ros.create_timer(1.0, self._print)

    def run(self, seconds: float | None) -> None:
        """Until Ctrl-C, or for so many seconds."""
        clock = self._ros.get_clock()
        begun = clock.now()
        while seconds is None or (clock.now() - begun).nanoseconds < seconds * 1e9:
            rclpy.spin_once(self._ros, timeout_sec=0.2)

    def _on_classes(self, message: String) -> None:
        self._classes = [each["name"] for each in json.loads(message.data)]

    def _on_labels(self, message: Image) -> None:
        self._labels, self._count = message, self._count + 1

    def _on_frame(self, message: KeyFrameDiagnostics) -> None:
        self._frame = message

    def _print(self) -> None:
        if self._labels is None or self._frame is None:
            print("no labels yet", flush=True)
            return
        shares = np.bincount(np.frombuffer(self._labels.data, np.uint8), minlength=256) / len(self._labels.data)
        largest = [label for label in np.argsort(shares)[::-1][:3] if shares[label] > 0]
        named = [f"{self._name(label)} {shares[label]:.0%}" for label in largest]
        print(
            f"{self._count} labels a second, the newest in {self._frame.total_ms:.1f} ms, its key frame "
            f"{self._frame.key_age_frames} frames old: {', '.join(named)}",
            flush=True,
        )
        self._count = 0

    def _name(self, label: int) -> str:
        return self._classes[label] if label < len(self._classes) else str(label)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("node", nargs="?", default="/lowlat_seg", help="its name (default: /lowlat_seg)")
    parser.add_argument("--seconds", type=float, help="for so long (default: until Ctrl-C)")
    options = parser.parse_args()
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt):
        Watcher(options.node).run(options.seconds)


if __name__ == "__main__":
    main()

"""What compose.yaml starts, without a container engine: a network, a /dev/shm and a process space of their own.

That takes the rights of root, which a container engine has, too.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")

CHECKOUT = Path(__file__).parents[1]
UNSHARE = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "bash", "-c"]
PREPARE = "mount -t proc proc /proc && mount -t tmpfs -o size=64m tmpfs /dev/shm && ip link set lo up"

# Foxglove's bridge subscribes like this, and by compressed pictures.
LISTENER = """
import rclpy, time
from sensor_msgs.msg import CompressedImage, Image
rclpy.init()
node = rclpy.create_node("listener")
heard = {"labels": 0, "overlay/compressed": 0}
def count(topic):
    heard[topic] += 1
for topic, kind in (("labels", Image), ("overlay/compressed", CompressedImage)):
    node.create_subscription(kind, f"/lowlat_seg/{topic}", lambda message, topic=topic: count(topic), 10)
end = time.monotonic() + 150
while min(heard.values()) < 10 and time.monotonic() < end:
    rclpy.spin_once(node, timeout_sec=0.1)
print("heard", min(heard.values()), flush=True)
"""


def isolated(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*UNSHARE, f"{PREPARE} || exit 1\n{script}", "bash", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, text=True, stdout=-1, stderr=subprocess.STDOUT, check=False)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(
    not (shutil.which("unshare") and shutil.which("ip")) or isolated("true").returncode != 0,
    reason="needs the rights of root and iproute2",
)
def test_camera_and_node_of_the_compose_file_find_each_other_in_64_mb_and_end_well() -> None:
    instructions = dict(re.findall(r"^(ENTRYPOINT|CMD) (\[.*\])$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE))
    camera = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())["services"]["camera"]["command"]
    (entry_point,), node = json.loads(instructions["ENTRYPOINT"]), json.loads(instructions["CMD"])
    script = f"""
        {entry_point} {" ".join(node)} & node=$!
        {entry_point} {" ".join(camera)} & camera=$!
        {entry_point} python -c "$1"
        kill -TERM $node $camera
        wait $node; echo "node ended with $?"
        wait $camera; echo "camera ended with $?"
    """
    output = isolated(script, LISTENER).stdout
    assert "heard 10" in output, output
    assert "node ended with 0" in output and "camera ended with 0" in output, output

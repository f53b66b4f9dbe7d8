"""In a container's 64 MB of /dev/shm: every image of 1080p is labelled, and a segment that does not fit is said.

/dev/shm is a file system of that size, mounted for the test's processes alone; that takes the right to mount.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

CHECKOUT = Path(__file__).parents[1]
UNSHARE = ["unshare", "--mount", "sh", "-c"]


def in_small_shared_memory(megabytes: int, *command: str) -> subprocess.CompletedProcess[str]:
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs /dev/shm && exec "$@"'
    return subprocess.run(
        [*UNSHARE, mount, "sh", *command],
        cwd=CHECKOUT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


pytestmark = pytest.mark.skipif(
    shutil.which("unshare") is None or in_small_shared_memory(64, "true").returncode != 0,
    reason="needs the right to mount a /dev/shm of its own",
)

NODE = """
import sys
from lowlat_seg_ros.ros.process_setup import choose_transport_profile
if sys.argv[1] == "fitted":
    choose_transport_profile()
import rclpy
rclpy.init()
node = rclpy.create_node("small")
from lowlat_seg_ros.ros.loss_causes import segment_trouble
from lowlat_seg_ros.ros.shared_memory import own_segments
print("largest segment", max(own_segments().values(), default=0) >> 20)
print("trouble:", segment_trouble(rclpy.get_rmw_implementation_identifier()))
"""


def test_the_segment_that_is_made_fits() -> None:
    output = in_small_shared_memory(64, sys.executable, "-c", NODE, "fitted").stdout
    assert "largest segment 1" in output  # 16 MB and what Fast DDS adds
    assert "trouble: \n" in output


def test_one_that_does_not_fit_is_said() -> None:
    """As a user's own profile may ask for; ours as it is, here."""
    output = in_small_shared_memory(64, sys.executable, "-c", NODE, "as it is").stdout
    assert "trouble: this process has no shared memory for images (/dev/shm has" in output


@pytest.mark.parametrize("module", ["main", "camera_player"])
def test_where_it_is_full_a_sentence_says_so_instead_of_a_bus_error(module: str) -> None:
    fill = f'head -c 2M /dev/zero > /dev/shm/full 2>&-; exec "{sys.executable}" -m lowlat_seg_ros.ros.{module}'
    run = in_small_shared_memory(1, "sh", "-c", fill)
    assert run.returncode == 1, run.stdout
    (line,) = run.stdout.splitlines()
    assert "/dev/shm is full, and ROS 2 does not start without a page of it" in line


@pytest.mark.slow
def test_every_image_of_1080p_is_labelled() -> None:
    cases = "size1-reliable and profile"
    tests = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test/test_ordinary_cameras.py"]
    run = in_small_shared_memory(64, *tests, "-k", cases)
    assert run.returncode == 0, run.stdout
    assert "15 of 15 labelled" in run.stdout

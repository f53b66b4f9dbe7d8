"""Drivers as they are found: reliable or best effort, with our Fast DDS profile or without, started first or last.

Camera and node are processes of their own, over real DDS.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from node_setup import wait_until

from lowlat_seg_ros.ros.harness import NODE, Harness, Player
from lowlat_seg_ros.ros.recorder import Recording
from lowlat_seg_ros.ros.shared_memory import PROFILE_VARIABLES

CAMERA = "lowlat_seg_ros.ros.camera_player"
IMAGES = 15
RATE = "3"
PLAYS = 3  # a machine that others use may hold the node up; what the transport loses, it loses in each
NO_PROFILE = '<?xml version="1.0"?><profiles xmlns="http://www.eprosima.com"/>'

VGA, FULL_HD = (640, 480), (1920, 1080)
ALL = itertools.product((VGA, FULL_HD), ("reliable", "best_effort"), ("our profile", "no profile"), ("node", "camera"))
QUICK = ((VGA, "reliable", "no profile", "camera"), (VGA, "best_effort", "our profile", "node"))


def clip(folder: Path, size: tuple[int, int]) -> Path:
    """Three pictures of noise: nothing about them is easy to send."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
    return folder


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("size", "reliability", "profile", "first"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in ALL],
)
def test_every_image_is_labelled_or_its_loss_counted_with_its_remedy(
    tmp_path: Path,
    checkpoint: Path,
    size: tuple[int, int],
    reliability: str,
    profile: str,
    first: str,
) -> None:
    """Only a best-effort driver whose shared memory is smaller than its image may lose any."""
    images = ["--rate", RATE, "--reliability", reliability, "--in-memory", "--rounds", str(IMAGES // 3)]
    (tmp_path / "none.xml").write_text(NO_PROFILE)
    recording = Recording(keeps_labels=False)
    with Harness("ordinary", tmp_path) as harness:

        def start_camera() -> None:
            with pytest.MonkeyPatch.context() as camera_only:
                if profile == "no profile":
                    for name in PROFILE_VARIABLES:
                        camera_only.setenv(name, str(tmp_path / "none.xml"))
                played_images = [str(clip(tmp_path / "clip", size)), *images]
                players.append(harness.start_player(CAMERA, "camera", played_images))
            wait_until(lambda: "waiting for a subscriber" in (tmp_path / "camera.log").read_text(), "the camera")

        def start_node() -> None:
            harness.start(NODE, "node", [f"model:={checkpoint}", "device:=cpu", "fast_track_threads:=1"])
            wait_until(lambda: "ready on" in (tmp_path / "node.log").read_text(), "the node")

        players: list[Player] = []
        for start in (start_node, start_camera) if first == "node" else (start_camera, start_node):
            start()
        harness.record("image", "lowlat_seg", recording)
        harness.wait_until_connected()
        sent: list[int] = []
        labelled = [False]
        while not all(labelled) and len(sent) < PLAYS * IMAGES:
            played = harness.play(players[0]).stamps
            sent.extend(played)
            harness.wait_for_answers(lambda: recording.accounts_for(len(sent)), seconds_without_progress=5.0)
            labelled = [answer is not None for answer in recording.answers(played)]
            print(f"{sum(labelled)} of {len(labelled)} labelled, {recording.dropped_count} lost so far")
        log = (tmp_path / "node.log").read_text()
    if reliability == "best_effort" and profile == "no profile":
        arrived = [number for number, answer in enumerate(recording.answers(sent)) if answer is not None]
        between = arrived[-1] - arrived[0] + 1 - len(arrived) if arrived else 0
        assert between <= recording.dropped_count <= len(sent) - len(arrived)
        assert all(labelled) or not recording.dropped_count or "FASTDDS_DEFAULT_PROFILES_FILE" in log
    else:
        assert all(labelled)

"""docs/training.md's walk, run as it is written: its data, its recipe, its commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import PredictedDeviation
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

CHECKOUT = Path(__file__).parents[1]
WALK = (CHECKOUT / "docs" / "training.md").read_text().split("\n## ")[1]
LANGUAGES = ["python", "yaml", "sh", "sh", "sh", "sh"]


def blocks() -> list[tuple[str, str]]:
    """(language, text) of the walk's blocks that name a language."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", WALK, re.DOTALL | re.MULTILINE)


def run(folder: Path, *command: str) -> str:
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "OMP_NUM_THREADS": "1",
    }
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_walk_ends_in_a_checkpoint_that_runs(tmp_path: Path) -> None:
    (tmp_path / "config").symlink_to(CHECKOUT / "config")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "lowlat-seg"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lowlat_seg_ros.cli "$@"\n')
    command.chmod(0o755)
    assert [language for language, _ in blocks()] == LANGUAGES
    printed = []
    for language, text in blocks():
        if language == "yaml":
            (tmp_path / "walk" / "recipe.yaml").write_text(text)
        else:
            printed.append(run(tmp_path, *((sys.executable, "-c") if language == "python" else ("bash", "-ec")), text))
    _, surveyed, trained, evaluated, replayed = printed
    assert "16 frames to train on, 4 held out" in surveyed and "unlabelled  0.00% of all pixels" in surveyed
    assert "epoch,loss,held_out_loss,held_out_mean_iou\n1," in trained
    assert evaluated.count("4 consecutive frames") == 2 and evaluated.count("| vehicle | 0.") == 2
    assert "20 frames at 15 Hz, 20 of them with labels" in replayed and "20 with ground truth" in replayed
    assert "WARNING" not in evaluated + replayed and "problems:" not in evaluated + replayed
    network = load_checkpoint(tmp_path / "walk" / "run" / "schedule" / "checkpoint")
    with ThreadedSlowTrack(network) as slow_track:
        engine = StreamEngine(network, slow_track, PredictedDeviation(threshold=0.1))
        labels = engine.segment(SyntheticStreet(seed=101, frame_count=1)[0].image, 0).labels
    assert labels.shape == (360, 480) and set(np.unique(labels)) <= {0, 1, 2} and len(np.unique(labels)) > 1

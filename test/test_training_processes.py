"""Several processes train one network: as torchrun starts them, with gloo on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from data_trees import camvid_tree, write_labels
from double_precision import ROUNDING
from small_networks import small_network
from training_setup import STAGES, write_setup
from two_processes import WEIGHTS_FILE
from two_processes import main as train_alone

from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.training.frames import TrainingPicture
from lowlat_seg_ros.training.processes import Processes
from lowlat_seg_ros.training.samples import EpochBatches, Samples

TEST = Path(__file__).parent
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def torchrun(count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TEST.parent), str(TEST)]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *TORCHRUN, str(count), *arguments],
        env=environment,
        cwd=TEST.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("count", "parts"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)])
def test_a_batch_is_the_same_however_it_is_divided(count: int, parts: int) -> None:
    picture = TrainingPicture("", np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8))
    samples = Samples([picture] * 11, lambda picture, random: (), seed=5)
    whole = list(EpochBatches(samples, 3, 4))
    assert len(whole) == len(EpochBatches(samples, 3, 4)) == 2
    pieces = [
        list(EpochBatches(samples, 3, 4, Processes(rank, count, torch.device("cpu")), parts)) for rank in range(count)
    ]
    assert all(len(own) == 2 * parts for own in pieces)
    for step, batch in enumerate(whole):
        own = [pieces[rank][step * parts + part] for rank in range(count) for part in range(parts)]
        assert [address for piece in own for address in piece] == batch


def test_two_processes_with_half_batches_learn_what_one_learns(tmp_path: Path) -> None:
    """The same weights up to rounding, BatchNorm's statistics aside."""
    data = camvid_tree(tmp_path / "data", count=8)
    folders = [tmp_path / "alone", tmp_path / "together"]
    for folder in folders:
        folder.mkdir()
    train_alone(data, folders[0])
    result = torchrun(2, str(TEST / "two_processes.py"), str(data), str(folders[1]))
    assert result.returncode == 0, result.stderr
    alone, together = (torch.load(folder / WEIGHTS_FILE, weights_only=True) for folder in folders)
    start = small_network(seed=0).double()
    moves = [
        torch.cat([(weights[name] - tensor).flatten() for name, tensor in start.named_parameters()])
        for weights in (alone, together)
    ]
    assert moves[0].norm() > 1e-3
    assert (moves[0] - moves[1]).norm() < ROUNDING * moves[0].norm()


@pytest.mark.slow
def test_the_command_trains_in_two_processes(tmp_path: Path) -> None:
    options = write_setup(tmp_path, batch_size=4)
    arguments = ["-m", "lowlat_seg_ros.cli", "train", "all", "--out", str(tmp_path / "run"), *options, "--epochs", "1"]
    result = torchrun(2, *arguments, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("the checkpoint is in") == 1
    for stage in STAGES:
        load_checkpoint(tmp_path / "run" / stage / "checkpoint")


@pytest.mark.slow
def test_a_batch_of_one_picture_a_process_is_too_few_for_batch_norm(tmp_path: Path) -> None:
    options = write_setup(tmp_path, batch_size=2)
    arguments = ["-m", "lowlat_seg_ros.cli", "train", "base", "--out", str(tmp_path / "run"), *options]
    result = torchrun(2, *arguments, "--device", "cpu")
    sentence = "BatchNorm sees 1 picture at a time in the stage base; expected a batch_size of at least 4"
    assert result.returncode != 0 and result.stderr.count(sentence) == 1


@pytest.mark.slow
def test_bad_data_are_named_by_one_process_and_end_all(tmp_path: Path) -> None:
    options = write_setup(tmp_path)
    write_labels(next((tmp_path / "camvid" / "trainannot").iterdir()), np.full((72, 96), 40))
    arguments = ["-m", "lowlat_seg_ros.cli", "train", "base", "--out", str(tmp_path / "run"), *options]
    result = torchrun(2, *arguments, "--device", "cpu")
    assert result.returncode != 0 and result.stderr.count("hold the id 40") == 1

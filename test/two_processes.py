"""Trains the stage propagation of a small network and stores its weights; started by torchrun, or alone.

python -m torch.distributed.run --nproc-per-node 2 test/two_processes.py DATA FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from data_trees import SIZE
from double_precision import DoubleSamples, float_is_double
from small_networks import small_network
from torch import nn
from training_setup import RECIPE

from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.base import class_weights
from lowlat_seg_ros.training.data_plan import DataPlan
from lowlat_seg_ros.training.data_set import find_data
from lowlat_seg_ros.training.frames import Pictures
from lowlat_seg_ros.training.loop import StageData, StageFolder, train
from lowlat_seg_ros.training.pair_samples import pair_maker
from lowlat_seg_ros.training.plan import StagePlan
from lowlat_seg_ros.training.processes import joined_processes
from lowlat_seg_ros.training.propagation import PropagationStage
from lowlat_seg_ros.training.step import Batch, Hardware
from lowlat_seg_ros.training.survey import survey

WEIGHTS_FILE = "weights.pt"


class WithoutStatistics(PropagationStage):
    """BatchNorm uses its running averages, as if it were frozen: batch statistics are those of a process's part."""

    def loss(self, network: SegmentationNetwork, batch: Batch) -> torch.Tensor:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return super().loss(network, batch)


def main(data: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    plan = StagePlan(**{**RECIPE, "batch_size": 4, "crop": (64, 48), "scales": (1.0, 1.2)})
    found = find_data(DataPlan(root=data), class_count=11)
    with joined_processes("cpu") as processes, float_is_double():
        # Process 0's weights are what counts: the others begin with weights of their own.
        network = small_network(seed=processes.rank).double()
        weights = class_weights(survey(found, folder / f"survey{processes.rank}.json"), 11).double()
        samples = DoubleSamples(Pictures(found.trained, SIZE), pair_maker(network.config, plan), plan.seed)
        hardware = Hardware(processes)
        train(network, WithoutStatistics(weights), StageData(samples), plan, StageFolder(folder), hardware)
        if processes.leads:
            torch.save(network.state_dict(), folder / WEIGHTS_FILE)
    assert not gloo_threads(), "the processes' group outlives the training"


def gloo_threads() -> list[str]:
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return [name for name in names if "gloo" in name]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Training samples as tensors. A sample depends on (seed, epoch, index) alone: a resumed run sees the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lowlat_seg_ros.models.config import ModelConfig
from lowlat_seg_ros.training.frames import TrainingPicture
from lowlat_seg_ros.training.processes import ALONE, Processes

MakeSample = Callable[[TrainingPicture, np.random.Generator], tuple[Any, ...]]


class Samples(Dataset[tuple[Any, ...]]):
    """Pictures, each turned into a sample by ``make``; addressed by (epoch, index)."""

    def __init__(self, pictures: Sequence[TrainingPicture], make: MakeSample, seed: int) -> None:
        self.pictures, self.make, self.seed = pictures, make, seed

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, address: tuple[int, int]) -> tuple[Any, ...]:
        epoch, index = address
        return self.make(self.pictures[index], np.random.default_rng([self.seed, epoch, index]))


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The addresses of one epoch, shuffled by (seed, epoch), in the parts of batches that this process works on.

    A batch is the same however many processes share it and in however many parts each of them takes its share. An
    incomplete last one is left out, since BatchNorm of few pictures is noise.
    """

    def __init__(
        self, samples: Samples, epoch: int, batch_size: int, processes: Processes = ALONE, parts: int = 1
    ) -> None:
        """``batch_size`` is divisible by the number of processes times ``parts``."""
        self.samples, self.epoch, self.batch_size = samples, epoch, batch_size
        self.processes, self.parts = processes, parts

    def __len__(self) -> int:
        return len(self.samples) // self.batch_size * self.parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        count = len(self.samples)
        order = np.random.default_rng([self.samples.seed, self.epoch]).permutation(count)
        part_size = self.batch_size // (self.processes.count * self.parts)
        own = self.processes.rank * self.parts * part_size
        for first in range(0, count - self.batch_size + 1, self.batch_size):
            for part in range(self.parts):
                start = first + own + part * part_size
                yield [(self.epoch, int(index)) for index in order[start : start + part_size]]


def loader(samples: Samples, batches: EpochBatches, workers: int, device: torch.device) -> DataLoader[tuple[Any, ...]]:
    """Reads the batches ahead, in ``workers`` processes."""
    pinned = device.type == "cuda"
    return DataLoader(samples, batch_sampler=batches, num_workers=workers, pin_memory=pinned)


def image_tensor(image: NDArray[np.uint8], config: ModelConfig) -> Tensor:
    """(H, W, 3) uint8 RGB to (3, H, W) float32, normalised as the network expects it."""
    mean, std = np.asarray(config.mean, np.float32), np.asarray(config.std, np.float32)
    return torch.from_numpy(((image - mean) / std).transpose(2, 0, 1))


def labels_tensor(labels: NDArray[np.uint8]) -> Tensor:
    """(H, W) uint8 to int64, as the loss takes them; 255 stays 255."""
    return torch.from_numpy(labels.astype(np.int64))

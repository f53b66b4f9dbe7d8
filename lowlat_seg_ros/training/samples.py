"""Training samples as tensors. A sample depends on (seed, epoch, index) alone: a resumed run sees the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lowlat_seg_ros.data.camvid import LabelledImage
from lowlat_seg_ros.network.config import ModelConfig

MakeSample = Callable[[LabelledImage, np.random.Generator], tuple[Any, ...]]


class Samples(Dataset[tuple[Any, ...]]):
    """Labelled pictures, each turned into a sample by ``make``; addressed by (epoch, index)."""

    def __init__(self, pictures: Sequence[LabelledImage], make: MakeSample, seed: int) -> None:
        self.pictures, self.make, self.seed = pictures, make, seed

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, address: tuple[int, int]) -> tuple[Any, ...]:
        epoch, index = address
        return self.make(self.pictures[index], np.random.default_rng([self.seed, epoch, index]))


class EpochOrder(Sampler[tuple[int, int]]):
    """All addresses of one epoch, shuffled by (seed, epoch)."""

    def __init__(self, length: int, seed: int, epoch: int) -> None:
        self.length, self.seed, self.epoch = length, seed, epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        return ((self.epoch, int(index)) for index in order)


def epoch_batches(samples: Samples, epoch: int, batch_size: int, workers: int) -> DataLoader[tuple[Any, ...]]:
    """The batches of one epoch; an incomplete last one is left out, since BatchNorm of few pictures is noise."""
    order = EpochOrder(len(samples), samples.seed, epoch)
    return DataLoader(samples, batch_size=batch_size, sampler=order, num_workers=workers, drop_last=True)


def image_tensor(image: NDArray[np.uint8], config: ModelConfig) -> Tensor:
    """(H, W, 3) uint8 RGB to (3, H, W) float32, normalised as the network expects it."""
    mean, std = np.asarray(config.mean, np.float32), np.asarray(config.std, np.float32)
    return torch.from_numpy(((image - mean) / std).transpose(2, 0, 1))


def labels_tensor(labels: NDArray[np.uint8]) -> Tensor:
    """(H, W) uint8 to int64, as the loss takes them; 255 stays 255."""
    return torch.from_numpy(labels.astype(np.int64))

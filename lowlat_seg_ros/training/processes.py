"""The processes that train together, as torchrun starts them: one a GPU, on one machine or several."""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lowlat_seg_ros.training.plan import PlanError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int  # 0: it also reads the run's folder and writes to it
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        return self.rank == 0


ALONE = Processes(0, 1, torch.device("cpu"))


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, or be the only one; leave them at the end.

    Args:
        device: auto (a GPU where there is one), cpu or cuda.

    Raises:
        PlanError: CUDA is asked for and not there.
    """
    count, rank, local_rank = (int(os.environ.get(name, default)) for name, default in _TORCHRUN)
    chosen = training_device(device, local_rank)
    if count == 1:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    # Its functions hold the group of the time when it is loaded, for ever: gloo's threads then outlive the group, and
    # abort a process that ends while one of them lets go of a tensor.
    importlib.import_module("torch.distributed.nn")
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(rank, count, chosen)
    finally:
        gc.collect()  # what DistributedDataParallel leaves in cycles holds the group as well
        distributed.destroy_process_group()


_TORCHRUN = (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))


def training_device(requested: str, local_rank: int) -> torch.device:
    """The device of the machine's process number ``local_rank``."""
    if requested == "cpu" or (requested == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise PlanError(f"device is {requested!r} but torch {torch.__version__} finds no CUDA device")
    if local_rank >= torch.cuda.device_count():
        raise PlanError(
            f"this machine has {torch.cuda.device_count()} CUDA devices but process {local_rank} was started on it; "
            "expected one process a device, the first being process 0"
        )
    return torch.device("cuda", local_rank)


def done_by_leader(processes: Processes, work: Callable[[], Result]) -> Result:
    """What ``work`` returns in process 0, in every process. If it fails there, the other processes end quietly."""
    if processes.count == 1:
        return work()
    if not processes.leads:
        box: list[Result | None] = [None]
        distributed.broadcast_object_list(box, device=processes.device)
        if box[0] is None:
            raise SystemExit(1)  # process 0 says why
        return box[0]
    try:
        result = work()
    except BaseException:
        distributed.broadcast_object_list([None], device=processes.device)
        raise
    distributed.broadcast_object_list([result], device=processes.device)
    return result


def summed(value: Tensor, processes: Processes) -> Tensor:
    """The sum over all processes, in every process."""
    if processes.count > 1:
        value = value.clone()
        distributed.all_reduce(value)
    return value


def shared(module: nn.Module, processes: Processes) -> nn.Module:
    """The module with process 0's weights, and with gradients that are averaged over all processes."""
    if processes.count == 1:
        return module
    device_ids = [processes.device.index] if processes.device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=device_ids)


def share_statistics(trained: Iterable[nn.Module], processes: Processes) -> None:
    """On several GPUs, make the BatchNorms in these modules see the whole batch.

    On CPUs, where PyTorch cannot, each process's BatchNorms see its own part.
    """
    if processes.count > 1 and processes.device.type == "cuda":
        for module in trained:
            nn.SyncBatchNorm.convert_sync_batchnorm(module)  # in place, but for a module that is a BatchNorm itself

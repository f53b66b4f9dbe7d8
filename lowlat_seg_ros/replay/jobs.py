"""A replay as a job for another process of this machine or, over Dask's distributed scheduler, for another machine.

Here a process does one bag, so that none can take another down. For Dask see https://distributed.dask.org.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from distributed import Client, Future

from lowlat_seg_ros.errors import Error, in_one_line, printable
from lowlat_seg_ros.evaluation.rows import SettingsError
from lowlat_seg_ros.replay.problems import LONGEST_LINE
from lowlat_seg_ros.replay.profile import Profile
from lowlat_seg_ros.replay.replay import Outcome, Progress, load_model, replay_bag
from lowlat_seg_ros.replay.settings import ReplaySettings

SECONDS_TO_END: Final = 5.0
CONNECT_SECONDS: Final = 10
WORKER_SECONDS: Final = 60.0
"""How long a cluster may be without any worker: one that has died is back in less where Dask looks after it."""
LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Job:
    """One bag to replay. Whoever does it must find the bag and the model at these places."""

    bag: Path
    model: str  # as the node's parameter names it
    settings: ReplaySettings
    profile: Profile


@dataclass(frozen=True)
class Failure:
    """Why a bag has no report, in a sentence."""

    reason: str


Ending = Outcome | Failure
Endings = Generator[tuple[int, Ending], None, None]
"""Jobs' numbers with what became of them, as they end."""


def run_job(job: Job, progress: Progress = lambda done, all: None) -> Ending:
    """Replay the job's bag offline, on whichever machine has it."""
    return ending_of(
        lambda: replay_bag(job.bag, load_model(job.model, job.settings), job.settings, job.profile, progress)
    )


def ending_of(replay: Callable[[], Outcome]) -> Ending:
    """What a replay gives; whatever goes wrong becomes a Failure, so that it stops no other bag."""
    try:
        return replay()
    except (Error, OSError) as error:
        return Failure(printable(str(error), LONGEST_LINE))
    except Exception as error:  # a defect that a hostile bag has found, for instance
        return Failure(f"{type(error).__name__}: {in_one_line(error)}")


@dataclass(frozen=True)
class Running:
    number: int
    process: BaseProcess


def run_in_processes(
    jobs: Sequence[Job], workers: int, threads: int, progress: Callable[[int, int, int], None]
) -> Endings:
    """Run every job, at most ``workers`` at a time. Closing the iterator ends them all.

    Args:
        jobs: what to do.
        workers: processes at a time.
        threads: of PyTorch, in each.
        progress: is told a job's number, its frames done and all its frames.
    """
    waiting = deque(range(len(jobs)))
    running: dict[Connection, Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                number = waiting.popleft()
                receiver, process = _start(jobs[number], threads)
                running[receiver] = Running(number, process)
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                number = running[connection].number
                message = _receive(connection, running[connection].process)
                if isinstance(message, tuple):
                    progress(number, *message)
                    continue
                running.pop(connection).process.join(SECONDS_TO_END)
                connection.close()
                yield number, message
    finally:
        for left in running.values():
            left.process.kill()
        for left in running.values():
            left.process.join(SECONDS_TO_END)


def _start(job: Job, threads: int) -> tuple[Connection, BaseProcess]:
    # Forked, but not from this process, as PyTorch's threads do not survive it: from one that has only imported this
    # module, which takes seconds, and is then there for every bag.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, threads, sender), daemon=True)
    with _interrupt_held_back():
        process.start()
    sender.close()  # this process's end, so that the pipe ends with the child
    return receiver, process


@contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """Ctrl-C waits until a process has been started, and never reaches that process: this one decides what ends.

    The mask is for the child, which inherits it. It does not protect this process: another thread may take the signal,
    and Python then interrupts the main thread all the same, which would leave the child with half of its orders.
    """
    interrupts: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if interrupts:
        signal.raise_signal(signal.SIGINT)


def _receive(connection: Connection, process: BaseProcess) -> tuple[int, int] | Ending:
    """A job's progress or its ending; a Failure where its process died."""
    try:
        message: tuple[int, int] | Ending = connection.recv()
        return message
    except (EOFError, OSError):
        process.join(SECONDS_TO_END)
        why = "; too little memory does that" if process.exitcode == -signal.SIGKILL else ""
        return Failure(f"its process ended by itself (exit code {process.exitcode}){why}")


def _work(job: Job, threads: int, sender: Connection) -> None:
    torch.set_num_threads(threads)
    # Where the parent is gone, nobody wants the rest.
    with suppress(BrokenPipeError):
        sender.send(run_job(job, lambda done, all: sender.send((done, all))))


def run_on_cluster(jobs: Sequence[Job], address: str, threads: int) -> Endings:
    """Run every job on the scheduler at ``address``, on so many threads each. Closing the iterator cancels the rest.

    Its workers need this package, and the bags and the model at the same paths; reports and pictures come back over
    the network.

    A worker that dies costs the bag that it was at a retry. Where there is no worker, or none any more, the bags that
    are left fail once that has lasted ``WORKER_SECONDS``; where the scheduler dies, once the connection is lost.

    Raises:
        SettingsError: Dask's distributed is not installed, or nobody answers at the address, or no worker comes.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise SettingsError(
            f"--cluster needs the package distributed ({error}); pip install 'lowlat-seg-ros[cluster]'"
        ) from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"no Dask scheduler answers at {address}: {in_one_line(error)}; expected one as tcp://HOST:8786"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKER_SECONDS)
        except OSError as error:  # a TimeoutError is one
            raise SettingsError(
                f"no worker has come to the Dask scheduler at {address} in {WORKER_SECONDS:g} s; start some by: dask "
                f"worker {address} --nthreads 1"
            ) from error
        numbers = {client.submit(_run_on_worker, job, threads, pure=False): number for number, job in enumerate(jobs)}
        try:
            yield from _endings_on(client, numbers)
        finally:
            client.cancel(list(numbers))


def _endings_on(client: Client, numbers: dict[Future, int]) -> Endings:
    """The endings of what a cluster was given; where it has no worker for too long, what is left has failed."""
    from distributed import wait as wait_for

    waiting = dict(numbers)
    last_seen = time.monotonic()
    while waiting:
        with suppress(OSError, futures.CancelledError):  # the time is over, or the scheduler is gone
            wait_for(list(waiting), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
        for future in [future for future in waiting if future.done()]:
            yield waiting.pop(future), _ending_on_cluster(future)
            future.release()
        if _has_workers(client):
            last_seen = time.monotonic()
        elif time.monotonic() - last_seen > WORKER_SECONDS:
            for number in waiting.values():
                yield number, Failure(f"the cluster has had no worker for {WORKER_SECONDS:g} s")
            return


def _run_on_worker(job: Job, threads: int) -> Ending:
    torch.set_num_threads(threads)  # on shared cores two are up to twenty times as slow as one
    return run_job(job)


def _ending_on_cluster(future: Future) -> Ending:
    """run_job itself raises nothing: any error is the cluster's, as of a worker that died again and again."""
    try:
        ending: Ending = future.result()
        return ending
    except (Exception, CancelledError) as error:
        return Failure(f"the cluster lost it: {in_one_line(error)}")


def _has_workers(client: Client) -> bool:
    try:
        return bool(client.scheduler_info(n_workers=-1)["workers"])
    except OSError:
        return False

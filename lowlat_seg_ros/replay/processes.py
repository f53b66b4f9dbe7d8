"""Replays in parallel on this machine's cores: a process a bag, so that none can take another down."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from lowlat_seg_ros.replay.jobs import Ending, Endings, Failure, Job, run_job

SECONDS_TO_END = 5.0


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
    # Spawned, not forked: PyTorch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
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
        return Failure(f"its process ended by itself (exit code {process.exitcode}); too little memory does that")


def _work(job: Job, threads: int, sender: Connection) -> None:
    torch.set_num_threads(threads)
    # Where the parent is gone, nobody wants the rest.
    with suppress(BrokenPipeError):
        sender.send(run_job(job, lambda done, all: sender.send((done, all))))

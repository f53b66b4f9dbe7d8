"""Bags replayed by a cluster: its reports, and what is said when workers or the scheduler are missing or die."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bag_parts import small_bag
from small_networks import small_network

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.models.checkpoint import save_checkpoint
from lowlat_seg_ros.replay import jobs
from lowlat_seg_ros.replay.jobs import Ending, Failure, Job
from lowlat_seg_ros.replay.profile import reference_profile
from lowlat_seg_ros.replay.replay import Outcome
from lowlat_seg_ros.replay.settings import ReplaySettings

distributed = pytest.importorskip("distributed")

PATIENCE = 150.0  # seconds until a test that waits for a condition fails
CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(small_network(input_size=(64, 48)), folder, "For tests.")
    return folder


def jobs_for(folder: Path, model: Path) -> list[Job]:
    """Two bags that take long enough to be interrupted."""
    settings, profile = ReplaySettings(), reference_profile()
    return [Job(small_bag(folder / name, frames=120), str(model), settings, profile) for name in "ab"]


@contextmanager
def dask(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler, or a worker that no nanny starts again."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def worker_at(address: str, folder: Path) -> Any:
    return dask("worker", address, "--no-nanny", "--nthreads", "1", "--local-directory", str(folder / "dask"))


def cluster_of(workers: int, folder: Path) -> Any:
    return distributed.LocalCluster(
        n_workers=workers,
        processes=True,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        local_directory=str(folder / "dask"),
    )


def wait_until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def endings_where_killed(cluster: Any, victim: Callable[[], int], todo: list[Job]) -> dict[int, Ending]:
    """How the jobs end where the process of that id is killed while all workers are in the middle of a bag."""
    workers = cluster.scheduler.workers

    def kill() -> None:
        wait_until(lambda: workers and all(worker.processing for worker in workers.values()))
        os.kill(victim(), signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    endings = dict(jobs.run_on_cluster(todo, cluster.scheduler_address, threads=1))
    killing.join()
    return endings


def test_a_cluster_without_workers_is_said_after_a_stated_time(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "WORKER_SECONDS", 1.0)
    with cluster_of(0, tmp_path) as cluster:
        address, bag = cluster.scheduler_address, small_bag(tmp_path / "drive")
        given = ["replay", str(bag), "--model", str(model), "--out", str(tmp_path / "out"), "--cluster", address]
        assert main(given) == 1
    sentence = f"no worker has come to the Dask scheduler at {address} in 1 s; start some by: dask worker"
    assert sentence in capsys.readouterr().err


def test_a_cluster_of_two_processes_gives_the_reports_that_this_machine_gives(tmp_path: Path, model: Path) -> None:
    drives = tmp_path / "drives"
    small_bag(drives / "monday")
    (drives / "broken").mkdir()
    (drives / "broken" / "broken.db3").write_bytes(b"nothing")
    given = ["replay", str(drives), "--model", str(model), "--out"]
    with cluster_of(2, tmp_path) as cluster:
        assert main([*given, str(tmp_path / "there"), "--cluster", cluster.scheduler_address]) == 0
    assert main([*given, str(tmp_path / "here"), "--workers", "1"]) == 0
    here, there = (json.loads((tmp_path / name / "fleet.json").read_text()) for name in ("here", "there"))
    assert here == there
    assert [bag["error"] is None for bag in there["bags"]] == [False, True]
    reports = [json.loads((tmp_path / where / "monday" / "report.json").read_text()) for where in ("here", "there")]
    assert {**reports[0], "timings": None} == {**reports[1], "timings": None}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_that_its_nanny_starts_again_does_its_bag_again(tmp_path: Path, model: Path) -> None:
    with cluster_of(1, tmp_path) as cluster:
        (nanny,) = cluster.workers.values()
        endings = endings_where_killed(cluster, lambda: nanny.process.pid, jobs_for(tmp_path, model))
    assert [isinstance(endings[number], Outcome) for number in range(2)] == [True, True]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_another_worker_does_the_bag_of_one_that_died(tmp_path: Path, model: Path) -> None:
    with cluster_of(0, tmp_path) as cluster:
        address = cluster.scheduler_address
        with worker_at(address, tmp_path) as victim, worker_at(address, tmp_path):
            wait_until(lambda: len(cluster.scheduler.workers) == 2)
            endings = endings_where_killed(cluster, lambda: victim.pid, jobs_for(tmp_path, model))
    assert [isinstance(endings[number], Outcome) for number in range(2)] == [True, True]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_where_all_workers_have_died_what_is_left_has_failed_after_a_stated_time(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "WORKER_SECONDS", 2.0)
    with cluster_of(0, tmp_path) as cluster, worker_at(cluster.scheduler_address, tmp_path) as victim:
        wait_until(lambda: cluster.scheduler.workers)
        endings = endings_where_killed(cluster, lambda: victim.pid, jobs_for(tmp_path, model))
    assert endings == {number: Failure("the cluster has had no worker for 2 s") for number in range(2)}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_where_the_scheduler_has_died_what_is_left_has_failed(tmp_path: Path, model: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    with dask("scheduler", "--host", "127.0.0.1", "--port", str(port)) as scheduler, worker_at(address, tmp_path):
        todo = jobs_for(tmp_path, model)
        with distributed.Client(address, timeout=PATIENCE) as watching:
            watching.wait_for_workers(1, timeout=PATIENCE)

            def kill() -> None:
                wait_until(lambda: any(watching.processing().values()))
                scheduler.kill()

            killing = threading.Thread(target=kill)
            killing.start()
            endings = dict(jobs.run_on_cluster(todo, address, threads=1))
            killing.join()
    assert len(endings) == 2
    for ending in endings.values():
        assert isinstance(ending, Failure) and ending.reason.startswith("the cluster lost it: ")

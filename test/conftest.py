"""What holds for every test, and the fixtures that several files share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from cpu_copies import use_copy
from run_contained import remove_ports, use_own_domain

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

# The networks under test are small and the cores few and shared: threads that wait for each other cost tenfold.
torch.set_num_threads(1)

# Tests call make and pytest, which must not take part in the run that called them.
for inherited in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTEST_ADDOPTS"):
    os.environ.pop(inherited, None)

# A shell's background jobs ignore it, and tests interrupt what they test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Workers of one run must not see each other's cameras and nodes.
claimed_domain = use_own_domain() if "PYTEST_XDIST_WORKER" in os.environ else None


def pytest_configure(config: pytest.Config) -> None:
    """What runtimes compile is kept beside pytest's own cache, and none of it in the user's."""
    cache = getattr(config, "cache", None)  # there is none with -p no:cacheprovider
    os.environ["XDG_CACHE_HOME"] = str(cache.mkdir("compiled")) if cache else ""


def pytest_sessionstart() -> None:
    """``KERNEL_COPY=AVX2`` runs every test on that copy of the C++ kernels, and none where this CPU cannot run it."""
    wanted = os.environ.get("KERNEL_COPY")
    why_not = use_copy(wanted) if wanted else None
    if why_not is not None:
        pytest.exit(f"all tests are skipped: {why_not}", returncode=0)


LONGEST = (
    "test_replay_live", "test_bench_node", "test_demo", "test_replay_fleet", "test_ordinary_cameras", "test_launch",
    "test_training_processes", "test_node_shutdown", "test_camera_player", "test_node_stream", "test_training_run",
    "test_shipped_model", "test_training", "test_evaluate_command", "test_synthetic_street", "test_slow_track",
    "test_replay_cluster", "test_read_by_commands",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that two processes that take file after file end at about the same time."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


def pytest_sessionfinish() -> None:
    if claimed_domain is not None:
        remove_ports(claimed_domain)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small untrained network, which a node loads in a moment."""
    from stream_setup import stream_network

    from lowlat_seg_ros.models.checkpoint import save_checkpoint

    folder = tmp_path_factory.mktemp("small") / "model"
    save_checkpoint(stream_network(), folder, "a small untrained network")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Chromium; skips the test where there is none."""
    from browser import chromium

    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an example report."""
    from example_report import example_report, write_example_page

    return write_example_page(tmp_path_factory.mktemp("report"), example_report())

"""What a process sets before Fast DDS is loaded, and what it leaves to the user."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lowlat_seg_ros.ros import process_setup
from lowlat_seg_ros.ros.process_setup import choose_transport_profile, transport_profile
from lowlat_seg_ros.runtime.threads import let_threads_sleep

CHECKOUT = Path(__file__).parents[1]
VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without anything that a user might have set."""
    for name in (*VARIABLES, "ROS_DISTRO", "AMENT_PREFIX_PATH"):
        unset(monkeypatch, name)
    monkeypatch.setattr(sys, "prefix", "/nothing/here")  # whose Fast DDS may be Jazzy's
    return monkeypatch


def unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Set first, so that it is unset again after the test, whoever sets it meanwhile."""
    monkeypatch.setenv(name, "")
    monkeypatch.delenv(name)


def chosen() -> dict[str, str]:
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


OURS = CHECKOUT / "config" / "fastdds.xml"
MEGABYTE = 1 << 20


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], None]:
    """Say how many megabytes of /dev/shm are free."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def set_free(megabytes: int) -> None:
        monkeypatch.setattr(process_setup, "free_bytes", lambda: megabytes * MEGABYTE)

    set_free(1000)
    return set_free


@pytest.mark.usefixtures("free")
def test_the_checkouts_profile_is_used_where_nothing_is_installed(environment: pytest.MonkeyPatch) -> None:
    choose_transport_profile()
    assert chosen() == {VARIABLES[0]: str(OURS)}


@pytest.mark.usefixtures("free")
def test_jazzys_fast_dds_reads_the_older_variable(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "share" / "fastrtps").mkdir(parents=True)
    environment.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    choose_transport_profile()
    assert chosen() == {VARIABLES[1]: str(OURS)}


def test_the_installed_profile_comes_first(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = tmp_path / "share" / "lowlat_seg_ros" / "config" / "fastdds.xml"
    installed.parent.mkdir(parents=True)
    installed.touch()
    environment.setenv("AMENT_PREFIX_PATH", f"/nothing/here:{tmp_path}")
    assert transport_profile() == installed


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize("name", VARIABLES)
def test_what_the_user_chose_stays(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "mine")
    choose_transport_profile()
    assert chosen() == {name: "mine"}


@pytest.mark.parametrize(("megabytes", "segment"), [(64, 16), (50, 16), (20, 8), (3, 2), (300, 64)])
def test_the_segment_is_as_large_as_there_is_room_for(
    environment: pytest.MonkeyPatch, free: Callable[[int], None], megabytes: int, segment: int
) -> None:
    """Docker gives 64 MB to all processes of a container. Our own profile, set by a launch file, is fitted too."""
    environment.setenv(VARIABLES[0], str(OURS))
    free(megabytes)
    choose_transport_profile()
    (size,) = re.findall(r"<segment_size>(\d+)<", Path(chosen()[VARIABLES[0]]).read_text())  # without a prefix
    assert int(size) == segment * MEGABYTE


def test_without_any_room_images_travel_by_udp(environment: pytest.MonkeyPatch, free: Callable[[int], None]) -> None:
    free(1)
    choose_transport_profile()
    transports = Path(chosen()[VARIABLES[0]]).read_text().partition("userTransports")[2]
    assert "udp" in transports and "shared_memory_for_images<" not in transports


def test_without_a_folder_for_temporary_files_the_profile_stays_as_it_is(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    environment.setattr("tempfile.gettempdir", missing)
    profile = CHECKOUT / "config" / "fastdds.xml"
    assert process_setup.fitting_profile(profile, 1 << 20) == profile


def test_threads_sleep_unless_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    unset(monkeypatch, "GOMP_SPINCOUNT")
    unset(monkeypatch, "OMP_WAIT_POLICY")
    let_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    let_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    let_threads_sleep()
    assert "OMP_WAIT_POLICY" not in os.environ


def test_image_sized_buffers_are_kept_in_the_process() -> None:
    """The second image is written where the first one was: without page faults."""
    program = """
import resource
import sys
from lowlat_seg_ros.runtime.steady_memory import keep_large_buffers
if sys.argv[1] == "kept":
    keep_large_buffers()
def faults_of_an_image():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"x") * (3 * 1920 * 1080)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(max([faults_of_an_image() for _ in range(5)][1:]))
"""
    faults = {}
    for kind in ("kept", "as usual"):
        run = subprocess.run(
            [sys.executable, "-c", program, kind], cwd=CHECKOUT, check=True, capture_output=True, text=True
        )
        faults[kind] = int(run.stdout)
    if faults["as usual"] < 100:
        pytest.skip("this C library keeps large buffers by itself")
    assert faults["kept"] < faults["as usual"] / 10


def test_garbage_collection_leaves_the_start_ups_objects_alone_and_finds_later_cycles() -> None:
    program = """
import gc
from lowlat_seg_ros.runtime.steady_memory import freeze_gc
before = len(gc.get_objects())
freeze_gc()
cycle = []
cycle.append(cycle)
del cycle
print(gc.get_freeze_count() / before > 0.5, len(gc.get_objects()) / before < 0.1, gc.collect() >= 1)
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["True"] * 3

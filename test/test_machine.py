"""What this program runs on: cores, quotas, and what a sandbox refuses."""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from stream_setup import moving_frames, plain_frame, two_tracks, wait_until
from test_slow_track_watched import watched

from lowlat_seg_ros.fast.motion import MotionBesideNetwork, MotionEstimator
from lowlat_seg_ros.fast.pictures import as_image
from lowlat_seg_ros.runtime import cache, in_openvino, machine, threads
from lowlat_seg_ros.runtime.choice import Place, refusal_here
from lowlat_seg_ros.runtime.machine import usable_cores
from lowlat_seg_ros.runtime.threads import make_own_thread_nice
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

V2 = {"proc/self/cgroup": "0::/robot.slice/seg.service\n"}
V1 = {"proc/self/cgroup": "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n"}
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux's")


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 16),
        ({**V2}, 16),
        ({**V2, "sys/fs/cgroup/robot.slice/seg.service/cpu.max": "200000 100000\n"}, 2),
        ({**V2, "sys/fs/cgroup/robot.slice/seg.service/cpu.max": "max 100000\n"}, 16),
        ({**V2, "sys/fs/cgroup/robot.slice/cpu.max": "350000 100000\n"}, 3),
        ({**V2, "sys/fs/cgroup/robot.slice/seg.service/cpu.max": "50000 100000\n"}, 1),
        ({**V2, "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),  # as a container sees its own group
        ({**V2, "sys/fs/cgroup/cpu.max": "nonsense\n"}, 16),
        ({**V1, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n"}, 16),
        (
            {
                **V1,
                "sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "600000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_period_us": "100000\n",
            },
            6,
        ),
    ],
)
def test_no_more_cores_than_the_quota_grants(
    files: Mapping[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    assert usable_cores(tmp_path) == cores


def test_where_nobody_tells_which_cores_are_allowed_all_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores(tmp_path) == 3


# --- what a sandbox refuses -------------------------------------------------------------------------------------------


def refuse(*arguments: object) -> None:
    raise PermissionError("Operation not permitted")


@linux_only
def test_both_tracks_run_where_no_thread_may_be_changed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("setpriority", "sched_setaffinity", "sched_setscheduler"):
        monkeypatch.setattr(os, name, refuse)
    with two_tracks(FixedInterval(2)) as tracks:
        tracks.engine.warm_up()
        results = [tracks.engine.segment(frame, stamp) for stamp, frame in enumerate(moving_frames(4))]
        assert not any(result.unlabelled_reason or result.slow_track.restarts for result in results)
    beside = MotionBesideNetwork(MotionEstimator((64, 48)))
    assert beside.begin(as_image(plain_frame(0), torch.device("cpu")), None).result().motion is None
    beside.close()
    assert "the slow track is no nicer than the fast one: Operation not permitted" in caplog.text


@linux_only
def test_a_nice_thread_is_no_real_time_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Niceness means nothing to those: Sh would keep the camera's driver from its core."""
    done: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "sched_getscheduler", lambda thread: os.SCHED_FIFO)
    monkeypatch.setattr(os, "sched_setscheduler", lambda *given: done.append(given[:2]))
    monkeypatch.setattr(os, "setpriority", lambda *given: done.append(given))
    monkeypatch.setattr(os, "getpriority", lambda kind, thread: 12 if thread == 0 else 0)
    make_own_thread_nice(10)
    make_own_thread_nice(3, than_process=True)
    ordinary = (0, os.SCHED_OTHER)
    assert done == [ordinary, (os.PRIO_PROCESS, 0, threads.MAXIMUM_NICENESS), ordinary, (os.PRIO_PROCESS, 0, 12)]


def test_a_thread_that_dies_as_it_starts_is_not_started_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: ThreadedSlowTrack) -> None:
        raise RuntimeError("it may not")

    with monkeypatch.context() as patch:
        patch.setattr(ThreadedSlowTrack, "_settle", fail)
        with two_tracks(FixedInterval(2)) as tracks:
            stamps = iter(range(1_000_000))
            frame = moving_frames(1)[0]
            wait_until(lambda: bool(tracks.engine.segment(frame, next(stamps)).slow_track.given_up), "its end")
            assert "RuntimeError in fail: it may not" in tracks.engine.slow_lane.counts().given_up
            with pytest.raises(RuntimeError, match="it may not"):
                tracks.engine.warm_up()


def test_a_thread_that_cannot_be_replaced_leaves_the_fast_track_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with watched() as tracks:
        tracks.segment_until_accurate()
        tracks.network.fault = "dies"
        wait_until(lambda: tracks.segment() is not None and not tracks.track._worker.thread.is_alive(), "its death")
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            assert "cannot be started again (can't start new thread)" in tracks.segment().slow_track.given_up


def test_an_abandoned_run_that_ends_gives_later_ones_more_time() -> None:
    """It did not hang: the machine stood still, or other programs had all cores."""
    with watched(renewed_with="") as tracks:
        tracks.segment_until_accurate()
        tracks.network.fault = "hangs"
        wait_until(lambda: tracks.segment() is not None and tracks.network.hanging.is_set(), "a run that hangs")
        abandoned = tracks.track._worker
        tracks.track.hang_seconds = 0.01
        tracks.segment_until_warned("s and is abandoned")
        took = 0.01e9
        tracks.network.released.set()
        abandoned.thread.join()
        assert tracks.track._longest_run > took


# --- what other computers lack ----------------------------------------------------------------------------------------


def test_on_arm_openvino_is_not_asked_for_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(machine, "cpu_features", lambda: frozenset({"asimd", "asimddp", "bf16"}))
    cpu = torch.device("cpu")
    assert refusal_here(Place("openvino", "bf16"), cpu) == "openvino computes in bf16 on x86-64 alone"
    assert in_openvino._hint("int8") == "f32"


def test_without_a_home_nothing_is_cached(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def nobody() -> str:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    entry = cache.CacheEntry("network", ["of this"], [])
    entry.write(b"compiled")
    assert entry.read() is None and "no home directory" in caplog.text

"""The optical flow in a thread of its own: the same flow, on another core."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import Any

import numpy as np
import pytest
from test_motion import SIZE, Frame, scene

from lowlat_seg_ros.fast.motion import Motion, MotionBesideNetwork, MotionEstimator, keep_off_this_core


class NotedEstimator(MotionEstimator):
    """Keeps in which thread, and from which start, each motion was looked for."""

    def __init__(self) -> None:
        super().__init__(SIZE)
        self.threads: list[int] = []
        self.starts: list[Motion | None] = []

    def between(self, key: Frame, current: Frame, start: Motion | None = None) -> Motion:
        self.threads.append(threading.get_native_id())
        self.starts.append(start)
        return super().between(key, current, start)


def test_a_frame_before_the_first_key_frame_has_a_picture_and_no_motion() -> None:
    estimator = NotedEstimator()
    found = MotionBesideNetwork(estimator).begin(scene(), None).result()
    assert found.motion is None and estimator.threads == []
    assert np.array_equal(found.picture, MotionEstimator(SIZE).picture(scene()))


def test_motion_is_what_the_estimator_finds_beginning_with_the_frame_before() -> None:
    frames = [scene(right=3 * index) for index in range(4)]
    beside, by_hand = MotionBesideNetwork(NotedEstimator()), MotionEstimator(SIZE)
    key, motion = by_hand.picture(frames[0]), None
    for frame in frames[1:]:
        motion = by_hand.between(key, by_hand.picture(frame), motion)
        found = beside.begin(frame, key).result().motion
        assert found is not None
        assert np.array_equal(found.flow, motion.flow) and np.array_equal(found.doubt, motion.doubt)


def test_another_key_frame_is_another_beginning() -> None:
    estimator = NotedEstimator()
    beside = MotionBesideNetwork(estimator)
    keys = [estimator.picture(scene(seed=seed)) for seed in (1, 1)]  # alike, and not the same
    found = [beside.begin(scene(right=3), key).result().motion for key in (keys[0], keys[0], keys[1])]
    assert estimator.starts[0] is None and estimator.starts[1] is found[0] and estimator.starts[2] is None


def test_what_goes_wrong_comes_out_where_the_motion_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("no room for a flow")

    estimator = NotedEstimator()
    beside, key = MotionBesideNetwork(estimator), estimator.picture(scene())
    with monkeypatch.context() as patch:
        patch.setattr(estimator, "between", fail)
        failed = beside.begin(scene(), key)
        with pytest.raises(MemoryError, match="no room for a flow"):
            failed.result()
    assert beside.begin(scene(), key).result().motion is not None


def test_the_callers_thread_does_not_look_itself() -> None:
    estimator = NotedEstimator()
    beside = MotionBesideNetwork(estimator)
    for _ in range(2):
        beside.begin(scene(), estimator.picture(scene())).result()
    assert len(set(estimator.threads)) == 1 and threading.get_native_id() not in estimator.threads


def test_the_thread_ends_with_its_camera() -> None:
    estimator = NotedEstimator()
    beside = MotionBesideNetwork(estimator)
    beside.begin(scene(), estimator.picture(scene())).result()
    (thread,) = (each for each in threading.enumerate() if each.native_id == estimator.threads[0])
    del beside
    gc.collect()
    thread.join(timeout=10)
    assert not thread.is_alive()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a thread choose its cores")
def test_a_thread_is_kept_off_its_callers_core() -> None:
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("there is one core")
    stop, thread_ids = threading.Event(), []

    def wait() -> None:
        thread_ids.append(threading.get_native_id())
        stop.wait()

    other = threading.Thread(target=wait)
    other.start()
    own_core = min(allowed)
    try:
        while not thread_ids:
            stop.wait(0.001)
        os.sched_setaffinity(threading.get_native_id(), {own_core, max(allowed)})
        keep_off_this_core(thread_ids[0])
        assert len(os.sched_getaffinity(thread_ids[0])) == len({own_core, max(allowed)}) - 1
        before = os.sched_getaffinity(thread_ids[0])
        os.sched_setaffinity(threading.get_native_id(), {own_core})  # nothing would be left
        keep_off_this_core(thread_ids[0])
        assert os.sched_getaffinity(thread_ids[0]) == before
    finally:
        os.sched_setaffinity(threading.get_native_id(), allowed)
        stop.set()
        other.join()

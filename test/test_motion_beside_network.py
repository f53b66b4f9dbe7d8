"""The optical flow in a thread of its own: the same flow, on another core."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from test_motion import SIZE, Frame, scene

from lowlat_seg_ros.fast.motion import Motion, MotionBesideNetwork, MotionEstimator, keep_off_this_core
from lowlat_seg_ros.fast.pictures import as_image

CPU = torch.device("cpu")


class NotedSearches:
    """Keeps in which thread, and from which start, each motion was looked for; holds other threads up on demand."""

    def __init__(self) -> None:
        self.caller = threading.get_native_id()
        self.threads: list[int] = []
        self.starts: list[Motion | None] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.beside = MotionBesideNetwork(self._estimator())
        self.threads.clear()  # of what it does to warm up
        self.starts.clear()

    def _estimator(self) -> MotionEstimator:
        noted = self

        class Noted(MotionEstimator):
            def between(self, key: Frame, current: Frame, start: Motion | None = None) -> Motion:
                noted.threads.append(threading.get_native_id())
                noted.starts.append(start)
                if threading.get_native_id() != noted.caller:
                    noted.may_go_on.wait(10)
                return super().between(key, current, start)

        return Noted(SIZE)

    def motion(self, frame: Frame, key: Frame) -> Motion:
        """Found in the thread."""
        search = self.beside.begin(as_image(frame, CPU), key)
        assert search._is_done.wait(10)
        motion = search.result().motion
        assert motion is not None
        return motion


@pytest.fixture
def searches() -> Iterator[NotedSearches]:
    noted = NotedSearches()
    yield noted
    noted.may_go_on.set()
    noted.beside.close()


def picture(frame: Frame) -> Frame:
    return MotionEstimator(SIZE).picture(frame)


def test_a_frame_before_the_first_key_frame_has_a_picture_and_no_motion(searches: NotedSearches) -> None:
    found = searches.beside.begin(as_image(scene(), CPU), None).result()
    assert found.motion is None and searches.threads == []
    assert np.array_equal(found.picture, picture(scene()))


def test_motion_is_what_the_estimator_finds_beginning_with_the_frame_before(searches: NotedSearches) -> None:
    frames = [scene(right=3 * index) for index in range(4)]
    by_hand, key, motion = MotionEstimator(SIZE), picture(frames[0]), None
    for frame in frames[1:]:
        motion = by_hand.between(key, picture(frame), motion)
        found = searches.motion(frame, key)
        assert np.array_equal(found.flow, motion.flow) and np.array_equal(found.doubt, motion.doubt)
    assert len(set(searches.threads)) == 1 and searches.caller not in searches.threads


def test_another_key_frame_is_another_beginning(searches: NotedSearches) -> None:
    keys = [picture(scene(seed=seed)) for seed in (1, 1)]  # alike, and not the same
    found = [searches.motion(scene(right=3), key) for key in (keys[0], keys[0], keys[1])]
    assert searches.starts[0] is None and searches.starts[1] is found[0] and searches.starts[2] is None


def test_a_thread_that_gets_no_core_is_not_waited_for(searches: NotedSearches) -> None:
    """In one search, or before it has begun with the next ones; what is found is the same."""
    frames = [scene(right=3 * index) for index in range(4)]
    key, by_hand, motion = picture(frames[0]), MotionEstimator(SIZE), None
    searches.may_go_on.clear()
    for frame in frames[1:]:
        motion = by_hand.between(key, picture(frame), motion)
        found = searches.beside.begin(as_image(frame, CPU), key).result().motion
        assert found is not None and np.array_equal(found.flow, motion.flow)
    assert searches.threads.count(searches.caller) == 3
    searches.may_go_on.set()
    searches.motion(scene(right=12), key)
    assert searches.threads[-1] != searches.caller
    assert len(searches.threads) <= 5, "what the caller has done is not done again"


def test_the_picture_that_a_key_frame_was_given_first_stays_its_own(searches: NotedSearches) -> None:
    """The thread, held up, ends after the caller has done its work; later frames' motions begin with the last one's."""
    searches.may_go_on.clear()
    becomes_key = searches.beside.begin(as_image(scene(), CPU), picture(scene(seed=2)))
    while not searches.threads:
        threading.Event().wait(0.001)
    key = becomes_key.result().picture
    searches.may_go_on.set()
    assert isinstance(key, np.ndarray)
    searches.motion(scene(right=1), key)  # the same thread: it is done with the first search
    assert becomes_key.result().picture is key


def test_what_goes_wrong_comes_out_where_the_motion_is_wanted(
    searches: NotedSearches, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("no room for a flow")

    key = picture(scene())
    with monkeypatch.context() as patch:
        patch.setattr(MotionEstimator, "between", fail)
        failed = searches.beside.begin(as_image(scene(), CPU), key)
        with pytest.raises(MemoryError, match="no room for a flow"):
            failed.result()
    assert searches.beside.begin(as_image(scene(), CPU), key).result().motion is not None


def test_the_thread_ends_with_its_camera_even_in_the_middle_of_a_search() -> None:
    may_go_on, begun = threading.Event(), threading.Event()
    caller = threading.get_native_id()

    class Held(MotionEstimator):
        def between(self, key: Frame, current: Frame, start: Motion | None = None) -> Motion:
            if threading.get_native_id() != caller:
                begun.set()
                may_go_on.wait(10)
            return super().between(key, current, start)

    before = set(threading.enumerate())
    beside = MotionBesideNetwork(Held(SIZE))
    (thread,) = set(threading.enumerate()) - before
    search = beside.begin(as_image(scene(), CPU), picture(scene()))
    assert begun.wait(10)
    search.result()
    del beside, search
    may_go_on.set()
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

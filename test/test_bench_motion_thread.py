"""The comparison of where the optical flow is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_networks import small_network

from bench import motion_thread
from bench.motion_thread import WAYS, measure_ways
from lowlat_seg_ros.fast.motion import MotionEstimator
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet


def test_all_ways_find_the_same_motion() -> None:
    frames = [SyntheticStreet(frame_count=4)[index].image for index in range(4)]
    estimator = MotionEstimator((480, 360))
    flows: dict[str, Any] = {}
    for name, way in WAYS.items():
        beside, key = way(MotionEstimator((480, 360))), estimator.picture(frames[0])
        found = [beside.begin(frame, key).result().motion for frame in frames[1:]]
        flows[name] = np.stack([motion.flow for motion in found if motion is not None])
    first, *others = flows.values()
    assert len(first) == 3 and all(np.array_equal(first, other) for other in others)


def test_every_way_is_timed_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion_thread, "measured_clip", lambda: SyntheticStreet(frame_count=6))
    network = small_network(carrying="optical_flow", input_size=(64, 48), subpixels=2)
    turns = measure_ways(network, rounds=2, frames_a_turn=6)
    assert list(turns) == list(WAYS)
    for milliseconds in turns.values():
        assert len(milliseconds) == 2 and all(len(turn) <= 4 for turn in milliseconds)  # fewer on a slow machine
        assert all(value > 0 for turn in milliseconds for value in turn)

"""The comparison of two tracks with and without carried logits."""

from __future__ import annotations

from bench.carrying import compared, score_table, street
from lowlat_seg_ros.models.checkpoint import load_checkpoint


def test_both_ways_are_scored_on_the_same_frames() -> None:
    rows = list(compared(load_checkpoint("default"), street(4)))
    assert [without.name for without, _ in rows] == ["fixed", "low-latency-1", "low-latency-2", "low-latency-3"]
    assert all(without.key_frame_ratio == carried.key_frame_ratio for without, carried in rows)
    assert all(without.mean_iou != carried.mean_iou for without, carried in rows[:2])
    lines = score_table("street", iter(rows)).splitlines()
    assert len(lines) == 6 and lines[2].startswith("| fixed | 0.")

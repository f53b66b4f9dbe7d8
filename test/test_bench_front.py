"""Which single-frame networks are as quick as the two tracks."""

from __future__ import annotations

from pathlib import Path

from bench.front import FrontRow, conditions, front_table, quickest


def row(name: str, mean_iou: float, longest: float, frames: int = 100) -> dict[str, object]:
    return {"name": name, "mean_iou": mean_iou, "usual_max_ms": longest, "max_ms": 99.0, "frames": frames}


def test_each_network_stands_in_the_runtime_in_which_its_longest_frame_is_shortest() -> None:
    rows = [
        row("two tracks", 0.72, 20.0),
        row("full network", 0.75, 30.0),  # where the two tracks' own runs: one of those below
        row("/runs/a/checkpoint in torch fp32", 0.70, 25.0),
        row("/runs/a/checkpoint in torch bf16", 0.70, 14.0, frames=20),  # the others of its frames were never timed
        row("/runs/a/checkpoint in openvino int8", 0.69, 15.0),
        row("/runs/a/checkpoint's Sl in torch fp32", 0.60, 5.0),
        row("default in openvino int8", 0.75, 28.0),
        row("default's Sl in openvino bf16", 0.59, 6.0),
    ]
    assert quickest(rows, {"/runs/a/checkpoint": "a"}) == [
        FrontRow("two tracks", 0.72, 20.0),
        FrontRow("default's Sl in openvino bf16", 0.59, 6.0),
        FrontRow("a in openvino int8", 0.69, 15.0),
        FrontRow("default in openvino int8", 0.75, 28.0),
    ]


def test_the_front_is_those_no_slower_than_ours_and_the_nearest_one_outside() -> None:
    rows = [FrontRow("two tracks", 0.72, 20.0), FrontRow("a", 0.69, 20.0), FrontRow("b", 0.75, 28.0)]
    lines = front_table([*rows, FrontRow("c", 0.77, 90.0)]).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["two tracks", "a", "outside: b"]
    assert "+0.030" in lines[3] and "-0.030" in lines[4]


def test_the_clip_is_played_at_its_rate_and_at_half_of_it() -> None:
    played = [(each.name, each.every) for each in conditions(Path("camvid/val"))]
    assert played == [("the labelled clip", 1), ("the street", 1), ("the labelled clip", 2)]

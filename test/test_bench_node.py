"""Sections 3 and 5 of the bench over DDS with a small network, and the command's behaviour at its edges."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from lowlat_seg_ros.msg import KeyFrameDiagnostics
from node_setup import PATIENCE, wait_until
from stream_setup import moving_frames

from bench.__main__ import parse, run
from bench.chain import FrameWay, answered
from bench.environment import environment, machine_name
from bench.node import NodeLoad, measure_node, quarters_ratio
from bench.report import node_table, overhead_table, scale_table, stages_table
from bench.run import ResultsError, require_addable, write_results
from bench.scale import ScaleLoad, enlarged, measure_scale, scale_loads

CHECKOUT = Path(__file__).parents[1]
SIZES = ((96, 72), (128, 96))
slow = pytest.mark.slow
MILLISECOND = 1_000_000


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> str:
    return str(checkpoint)


@slow
@pytest.mark.timeout(600)
def test_floor_and_node_are_played_to_in_turn_and_every_image_is_accounted_for(model: str, tmp_path: Path) -> None:
    plan = NodeLoad(rounds=1, seconds_a_turn=1, seconds_without_loss=1, sizes=SIZES, model=model, small_input=(48, 40))
    node = measure_node(moving_frames(6), plan, tmp_path / "made for it")
    assert json.loads(json.dumps(node)) == node
    chains = ("floor", "small_input", "as_shipped")
    assert [(tuple(row["size"]), row["chain"]) for row in node["rows"]] == [(s, c) for s in SIZES for c in chains]
    for row in (*node["rows"], node["without_loss"]):
        assert row["sent"] == 30
        assert 0 <= row["lost"] < 30
        assert row["end_to_end_ms"]["p50"] >= row["to_callback_ms"]["p50"] > 0
    assert node["rows"][0]["overhead_ms"]["p50"] < node["rows"][0]["end_to_end_ms"]["p50"]
    results = {"node": node}
    for text in (node_table(results), overhead_table(results), stages_table(results)):
        assert "|" in text and "None" not in text


@slow
@pytest.mark.timeout(600)
def test_several_cameras_and_larger_inputs_are_played_to_in_turn(model: str, tmp_path: Path) -> None:
    cameras = (1, 2)
    plan = ScaleLoad(
        1, 1, 10.0, cameras=cameras, half_rate_cameras=(), pixel_factors=(2,), model=model, input_size=(64, 48)
    )
    scale = measure_scale(moving_frames(5), plan, tmp_path / "made for it")
    assert json.loads(json.dumps(scale)) == scale
    assert [(row["cameras"], row["input_size"]) for row in scale["rows"]] == [
        *((count, [64, 48]) for count in cameras),
        (1, [88, 64]),
    ]
    assert [row["offered_hz"] for row in scale["rows"]] == [*(10 * count for count in cameras), 10]
    for row in scale["rows"]:
        assert 0 < row["labelled_hz"] <= row["offered_hz"]
        assert row["resident_mebibytes"] > 50 and row["cpu_share"] >= 0
    assert "None" not in scale_table({"scale": scale})


def test_loads_grow_by_cameras_and_by_pixels() -> None:
    loads = scale_loads(ScaleLoad(cameras=(1, 2), pixel_factors=(2, 4), input_size=(480, 360)))
    assert [(load.cameras, load.input_size) for load in loads] == [
        (1, (480, 360)),
        (2, (480, 360)),
        (8, (480, 360)),
        (1, (680, 512)),
        (1, (960, 720)),
    ]
    assert [load.rate_hz for load in loads] == [15.0, 15.0, 7.5, 15.0, 15.0]
    width, height = enlarged((480, 360), 2)
    assert width * height == pytest.approx(2 * 480 * 360, rel=0.02)


def test_a_part_is_added_to_the_same_version_and_never_replaces_the_whole_of_another(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"{machine_name()}.json"
    facts = environment(model)
    require_addable(tmp_path, model)  # nothing is there yet
    write_results({"environment": facts, "soak": {"growth_mebibytes": 0.25}}, tmp_path)
    require_addable(tmp_path, model)
    write_results({"environment": facts}, tmp_path)
    assert json.loads(file.read_text())["soak"] == {"growth_mebibytes": 0.25}
    assert "| 0.25 | yes |" in file.with_suffix(".md").read_text()
    file.write_text(json.dumps({"environment": {**facts, "commit": "0123456789ab"}}))
    with pytest.raises(ResultsError, match="is of commit 0123456789ab, weights .* and this is .*; expected"):
        require_addable(tmp_path, model)
    write_results({"environment": facts}, tmp_path)  # a whole run replaces it
    assert "soak" not in json.loads(file.read_text())
    capsys.readouterr()


def way(sent: int, labels_at: int | None, key_age: int = 1) -> FrameWay:
    message = KeyFrameDiagnostics(low_ms=4.0, schedule_ms=1.0, propagate_ms=3.0, labels_ms=2.0)
    message.key_age_frames = key_age
    return FrameWay(sent * MILLISECOND, None if labels_at is None else labels_at * MILLISECOND, message)


def test_overhead_is_what_is_not_the_network() -> None:
    one = way(100, 125)
    assert (one.end_to_end_ms, one.network_ms, one.overhead_ms) == (25, 10, 15)


def test_lost_images_and_those_before_the_first_key_frame_are_left_out() -> None:
    ways = [way(0, 20, key_age=0), way(100, None), way(200, 225)]
    assert answered(ways) == ways[2:]


def test_of_a_chain_without_key_frames_all_labelled_images_count() -> None:
    ways = [way(0, 20, key_age=0), way(100, None, key_age=0)]
    assert answered(ways) == ways[:1]


def test_a_queue_that_grows_shows_in_the_last_quarter() -> None:
    assert quarters_ratio([10.0] * 40) == 1
    assert quarters_ratio([float(number) for number in range(1, 41)]) == pytest.approx(35.5 / 5.5)
    assert quarters_ratio([1.0] * 7) is None


def test_without_the_built_package_the_bench_says_so_in_one_sentence() -> None:
    bare = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "AMENT_PREFIX_PATH")}
    ended = subprocess.run([sys.executable, "-m", "bench"], cwd=CHECKOUT, env=bare, text=True, capture_output=True)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("bench: the package is not built or not sourced") and line.endswith("type 'make bench'")


def test_a_model_that_is_not_there_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(parse(["--model", "nowhere", "--out", str(tmp_path)])) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("bench: there is no checkpoint at 'nowhere'")


def test_ctrl_c_leaves_the_old_results_whole(tmp_path: Path) -> None:
    old = tmp_path / f"{machine_name()}.json"
    old.write_text("{}")
    command = [sys.executable, "-m", "bench", "--only", "modules", "--out", str(tmp_path)]
    process = subprocess.Popen(command, cwd=CHECKOUT, text=True, stderr=subprocess.PIPE)
    maps = Path(f"/proc/{process.pid}/maps")
    wait_until(lambda: "libtorch_cpu" in maps.read_text(), "torch in the bench's process")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert errors == "bench: stopped; the results of an earlier run are as they were\n"
    assert [file.name for file in tmp_path.iterdir()] == [old.name]
    assert old.read_text() == "{}"

"""The paper's tables and figures from small networks: every row there, measured, recorded or quoted."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from foreign_networks import onnx_network
from small_networks import small_network
from test_evaluate_command import SIZE, drifting_noise, evaluate, figures
from torch import Tensor

from lowlat_seg_ros.data.camvid import LabelledFolder
from lowlat_seg_ros.data.classes import CAMVID_CLASSES
from lowlat_seg_ros.evaluation import paper_tables
from lowlat_seg_ros.evaluation.controls import LATE, controls_of_table_1, largest_alone
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.gated_flow import FRAMES, GatedFlow
from lowlat_seg_ros.evaluation.latency import TwoTracksCandidate
from lowlat_seg_ros.evaluation.paper_figures import CAMVID, marked, picture_table, region
from lowlat_seg_ros.evaluation.paper_tables import candidates_of_table_1
from lowlat_seg_ros.evaluation.per_frame_network import PerFrameNetwork
from lowlat_seg_ros.evaluation.published import TABLE_1, TABLE_2, TABLE_4
from lowlat_seg_ros.evaluation.recorded_tables import TRAIN, measured_on, recorded_tables
from lowlat_seg_ros.evaluation.rows import TrackSettings, late
from lowlat_seg_ros.models.checkpoint import load_checkpoint, save_checkpoint
from lowlat_seg_ros.models.comparisons import Comparisons, GatedUnits
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.threads import ThreadCounts
from lowlat_seg_ros.slow.registry import Tracks
from lowlat_seg_ros.stream.key_frames import DEFAULT_POLICY, PredictedDeviation

NEED_WEIGHTS = {
    1: {"Clockwork Net", "GRFP(5)"},
    2: {"Clockwork propagation", "unified propagation", "weight by image difference"},
}


SLOW = pytest.mark.slow  # seven engines that warm up


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drifting_noise(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose checkpoint has what the tables compare with, none of it trained."""
    network = small_network(kind="two_networks", input_size=SIZE)
    torch.manual_seed(0)
    network.comparisons = Comparisons(network.config, network.tracks.low_channels)
    folder = tmp_path_factory.mktemp("compared")
    save_checkpoint(network, folder, "# Never trained\n")
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    save_checkpoint(small_network(kind="two_networks", input_size=SIZE), folder, "# Never trained\n")
    return folder


@pytest.mark.parametrize(("number", "published"), [pytest.param(1, TABLE_1, marks=SLOW), (2, TABLE_2)])
def test_every_row_of_the_paper_is_measured_where_the_weights_are_at_hand(
    number: int, published: dict[str, object], clip: Path, compared: Path, tmp_path: Path
) -> None:
    file = tmp_path / "table.json"
    assert evaluate(clip, compared, "--table", str(number), "--rate", "100", "--json", str(file)) == 0
    table = figures(file)["table"]
    rows = {row["name"]: row for row in table["rows"]}
    assert table["number"] == number and set(published) < set(rows)
    assert all(row["origin"] == "measured" and 0 <= row["mean_iou"] <= 1 for row in rows.values())
    assert all(row["paper"]["mean_iou"] > 0.5 for name, row in rows.items() if name in published)
    if number == 1:
        assert all(0 < row["mean_ms"] <= row["max_ms"] for row in rows.values())
        assert rows["AFP + fix schedule"]["key_frame_ratio"] == pytest.approx(2 / 6)


@pytest.mark.parametrize("number", [pytest.param(1, marks=SLOW), 2])
def test_a_row_without_weights_is_the_recorded_one_with_its_command(
    number: int,
    clip: Path,
    alone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorded = recorded_tables()
    monkeypatch.setitem(recorded, "measured_on", measured_on(clip_of(load_checkpoint(alone), clip)))
    file = tmp_path / "table.json"
    assert evaluate(clip, alone, "--table", str(number), "--rate", "100", "--json", str(file)) == 0
    rows = {row["name"]: row for row in figures(file)["table"]["rows"]}
    assert {name for name, row in rows.items() if row["origin"] == "recorded"} == NEED_WEIGHTS[number]
    for name in NEED_WEIGHTS[number]:
        assert rows[name]["mean_iou"] == recorded["rows"][str(number)][name]["mean_iou"]
    printed = capsys.readouterr().out
    assert recorded["commit"] in printed and recorded["machine"] in printed and TRAIN in printed


def test_recorded_rows_are_shown_of_their_own_model_and_clip_alone(
    clip: Path, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "table.json"
    assert evaluate(clip, alone, "--table", "2", "--json", str(file)) == 0
    rows = {row["name"]: row for row in figures(file)["table"]["rows"]}
    missing = {name: row["mean_iou"] for name, row in rows.items() if row["origin"] == "not at hand"}
    assert missing == dict.fromkeys(NEED_WEIGHTS[2])
    assert "--from MODEL" in capsys.readouterr().out


def test_a_model_and_a_clip_are_told_from_others(clip: Path, alone: Path) -> None:
    network = load_checkpoint(alone)
    name = measured_on(clip_of(network, clip))
    assert measured_on(clip_of(load_checkpoint(alone), clip)) == name
    other = small_network(kind="two_networks", input_size=SIZE, seed=1)
    assert measured_on(clip_of(other, clip)) != name != measured_on(clip_of(network, clip, frames=5))


def test_the_recorded_rows_are_of_the_model_that_ships() -> None:
    """Otherwise `scripts/record_tables.py` is due."""
    if not (CAMVID / "val").is_dir():
        pytest.skip("CamVid's clip is not at hand")
    clip = EvaluatedClip(load_checkpoint("default"), LabelledFolder(CAMVID / "val", CAMVID / "valannot"))
    assert recorded_tables()["measured_on"] == measured_on(clip)


def test_what_was_left_out_is_said_under_a_table_too(
    clip: Path, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(clip, tmp_path / "copy")
    (tmp_path / "copy" / "labels" / "002.png").unlink()
    assert evaluate(tmp_path / "copy", alone, "--table", "4", "--delay-frames", "1") == 0
    printed = capsys.readouterr().out
    assert "## Problems" in printed and "are not scored" in printed and "WARNING: these figures leave out" in printed


def test_table_1_times_every_row_of_the_paper_and_ours_beside_it() -> None:
    """Each once, by its name; without weights what is left has a recorded row."""
    network = network_with_comparisons()
    settings = TrackSettings(5, DEFAULT_POLICY, (1,))
    names = list(candidates_of_table_1(network, settings, ThreadCounts(1, 1), 15.0))
    assert set(TABLE_1) < set(names) and len(set(names)) == len(names)
    network.comparisons = None
    fewer = list(candidates_of_table_1(network, settings, ThreadCounts(1, 1), 15.0))
    assert set(names) - set(fewer) == NEED_WEIGHTS[1] == set(recorded_tables()["rows"]["1"])


def test_controls_of_table_2_are_what_they_are_called(clip: Path, compared: Path, tmp_path: Path) -> None:
    """A key frame's feature as it is has the key frame's labels; of a model without carried logits fusion is the row
    `fixed`, at the interval that stands in the control's name."""
    files = {name: tmp_path / f"{name}.json" for name in ("table", "copy", "rows")}
    assert evaluate(clip, compared, "--table", "2", "--json", str(files["table"])) == 0
    controls = {control["name"]: control["mean_iou"] for control in figures(files["table"])["table"]["controls"]}
    fixed = ["--rows", "fixed", "--analyses", "none", "--interval", str(paper_tables.INTERVAL)]
    assert evaluate(clip, compared, *fixed, "--propagation", "copy", "--json", str(files["copy"])) == 0
    assert controls["F_h as it is"] == figures(files["copy"])["rows"][0]["mean_iou"]
    rare = ["--rows", "single-frame,fixed", "--analyses", "none", "--interval", "10", "--propagation", "adaptive"]
    assert evaluate(clip, compared, *rare, "--json", str(files["rows"])) == 0
    single, fused = (row["mean_iou"] for row in figures(files["rows"])["rows"])
    assert controls["Sl alone"] == single
    assert controls["adaptive propagation, with fusion, a key frame every 10 frames"] == pytest.approx(fused)


def test_controls_of_table_1_are_late_by_counted_frames(clip: Path, compared: Path, tmp_path: Path) -> None:
    evaluated, policy = clip_of(load_checkpoint(compared), clip), PredictedDeviation(0.0)
    found = {control.name: control.mean_iou for control in controls_of_table_1(evaluated, TrackSettings(5, policy, ()))}
    file = tmp_path / "rows.json"
    rows = [
        "--rows",
        "low-latency",
        "--analyses",
        "none",
        "--delay-frames",
        *map(str, LATE),
        "--propagation",
        "adaptive",
    ]
    limits = ["--threshold", "0", "--idle-threshold", "1", "--minimum-key-period", "0", "--maximum-key-period", "0"]
    assert evaluate(clip, compared, *rows, *limits, "--json", str(file)) == 0
    for delay, row in zip(LATE, figures(file)["rows"], strict=True):
        assert found[f"AFP + AKS + LLS, {late(delay)}"] == pytest.approx(row["mean_iou"])
    assert {"GRFP(2)", "GRFP(3)"} < set(found)


def test_the_likeliest_tap_stands_alone() -> None:
    kernels = torch.rand(2, 9, 4, 5, generator=torch.Generator().manual_seed(0))
    alone = largest_alone(kernels)
    assert torch.equal(alone.sum(dim=1), torch.ones(2, 4, 5))
    assert torch.equal((alone * kernels).sum(dim=1), kernels.amax(dim=1))


def test_table_3_has_the_papers_modules_and_shares(
    clip: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paper_tables, "MODULE_ROUNDS", 2)
    assert evaluate(clip, alone, "--table", "3") == 0
    printed = capsys.readouterr().out
    assert "| Higher part of the network, Sh |" in printed and "the paper's share is 83.1%" in printed


def test_table_4_quotes_the_others_and_keeps_a_place_for_the_test_split(
    clip: Path, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "table.json"
    assert evaluate(clip, alone, "--table", "4", "--delay-frames", "1", "--json", str(file)) == 0
    rows = {row["name"]: row for row in figures(file)["table"]["rows"]}
    assert [rows[name]["paper"]["class_accuracy"] for name in TABLE_4] == [0.625, 0.781, 0.823, 0.805, 0.825, 0.829]
    assert rows["ours, per-frame"]["pixel_accuracy"] == figures(file)["rows"][0]["pixel_accuracy"]
    assert rows["ours, low-latency-1"]["class_accuracy"] > 0
    assert rows["ours, CamVid's test split"]["origin"] == "not at hand"
    assert "lowlat-seg evaluate --stills --table 4" in capsys.readouterr().out
    assert evaluate(clip, alone, "--table", "4", "--stills") == 0
    assert "low-latency" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--rows", "fixed"], "--rows chooses what table 2 of the paper does not have"),
        (["--propagation", "copy"], "--propagation chooses what table 2"),
        (["--interval", "7"], "--interval chooses what table 2"),
        (["--delay-frames", "3"], "--delay-frames chooses what table 2"),
        (["--delay-ms", "90"], "--delay-ms chooses what table 2"),
        (["--cut-from", "street"], "--cut-from chooses what table 2"),
        (["--latency"], "--latency times other networks"),
        (["--stills"], "--table 2 takes a video; expected of stills --table 4"),
    ],
)
def test_what_does_not_go_with_a_table_is_one_sentence(
    options: list[str], sentence: str, clip: Path, alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(clip, alone, "--table", "2", *options) == 1
    assert sentence in capsys.readouterr().err


def clip_of(network: SegmentationNetwork, clip: Path, frames: int | None = None) -> EvaluatedClip:
    folder = LabelledFolder(clip / "frames", clip / "labels")
    return EvaluatedClip(network, (folder[index] for index in range(frames or len(folder))))


def test_a_model_that_no_table_can_be_made_of_is_one_sentence(
    clip: Path, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A foreign one, one whose training has not ended, and one whose weights for the table are cut short."""
    foreign = onnx_network(tmp_path / "x.onnx", {"classes": list(CAMVID_CLASSES)}, classes=len(CAMVID_CLASSES))
    anywhere = "--slow-runtime", "auto", "--slow-precision", "auto"
    assert evaluate(clip, foreign, "--fast-model", str(alone), "--table", "2", *anywhere) == 1
    assert "--table takes a model with a fast track of its own" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").write_bytes(b"of an epoch")
    assert evaluate(clip, tmp_path / "run", "--table", "2") == 1
    assert "has no weights.safetensors" in capsys.readouterr().err
    shutil.copytree(alone, tmp_path / "short")
    (tmp_path / "short" / "comparisons.safetensors").write_bytes(b"\x10")
    assert evaluate(clip, tmp_path / "short", "--table", "2") == 1
    assert "comparisons.safetensors is no whole safetensors file" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["1", "2"])
def test_a_clip_without_a_second_key_frame_is_too_short(
    number: str, clip: Path, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("frames", "labels"):
        (tmp_path / kind).mkdir()
        for index in range(paper_tables.INTERVAL):
            shutil.copy(clip / kind / f"{index:03d}.png", tmp_path / kind)
    assert evaluate(tmp_path, alone, "--table", number) == 1
    assert "expected more than those" in capsys.readouterr().err


def network_with_comparisons() -> SegmentationNetwork:
    network = small_network(kind="two_networks", input_size=SIZE)
    network.comparisons = Comparisons(network.config, network.tracks.low_channels)
    return network.eval()


class Averaging(GatedUnits):
    """As much of what was carried as of what is new: what it gives is easily told."""

    def forward(self, moved: Tensor, change: Tensor, own: Tensor) -> Tensor:
        return (moved + own).log()


@torch.inference_mode()
def test_gated_flow_remembers_five_frames_and_no_more() -> None:
    """The same frame again and again: labels stay. Another one: six frames later it is forgotten, not before."""
    network = network_with_comparisons()
    frame, other = np.random.default_rng(0).integers(0, 256, (2, SIZE[1], SIZE[0], 3), dtype=np.uint8)
    alone = PerFrameNetwork(network, network)(frame)
    gated = GatedFlow(network, Averaging(network.config.class_count))
    for _ in range(3):
        assert np.array_equal(gated(frame), alone)
    forgetful = GatedFlow(network, Averaging(network.config.class_count))
    forgetful(other)
    for _ in range(FRAMES - 1):
        forgetful(frame)
        assert not np.array_equal(forgetful._frames[0].for_motion, forgetful._frames[-1].for_motion)
    assert np.array_equal(forgetful(frame), alone)


def test_timed_frames_are_stamped_at_the_clips_rate(clip: Path) -> None:
    """A limit of a quarter of a second between key frames at four frames a second is none."""
    network = small_network(kind="two_networks", input_size=SIZE)
    folder = LabelledFolder(clip / "frames", clip / "labels")
    evaluated = EvaluatedClip(network, (folder[index] for index in range(len(folder))), rate_hz=4)
    policy = PredictedDeviation(0.0, minimum_period=0.25)
    candidate = TwoTracksCandidate(
        Tracks(network, network), policy, "adaptive", ThreadCounts(1, 1), rate_hz=4, low_latency=False
    )
    with candidate.start() as label:
        for frame in evaluated.frames:
            label(frame)
    assert candidate.key_frame_ratio() == 1.0


def test_the_picture_table_marks_where_ours_alone_is_right(clip: Path) -> None:
    gain = np.zeros((200, 300), np.float32)
    gain[40:60, 200:230] = 1
    gain[150:170, 50:80] = -1
    gain[100:105, 150:155] = 1  # too little to see
    better, worse = region(gain), region(-gain)
    assert better is not None and abs(better[0] - 215) <= 48 and abs(better[1] - 50) <= 36
    assert worse is not None and abs(worse[0] - 65) <= 48 and region(np.zeros_like(gain)) is None
    assert region(np.where(gain[:, :160] > 0, gain[:, :160], 0)) is None
    picture = marked(np.zeros((200, 300, 3), np.uint8), [(better, ((255, 0, 0), "+")), (None, ((0, 0, 255), "-"))])
    red, blue = (255, 0, 0), (0, 0, 255)
    assert (picture == red).all(axis=2).any() and not (picture == blue).all(axis=2).any()


@pytest.mark.parametrize("has_weights", [True, False])
def test_the_picture_table_has_a_column_for_each_way(has_weights: bool, clip: Path) -> None:
    network = network_with_comparisons()
    if not has_weights:
        network.comparisons = None
    drawn = picture_table(clip_of(network, clip))
    picture = cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape[1] == (5 if has_weights else 4) * 328


def test_the_ways_differ_and_the_one_with_fusion_is_the_engines_fixed_row(
    clip: Path, compared: Path, tmp_path: Path
) -> None:
    """Of a model that carries no logits the paper's row is what `--rows fixed` gives."""
    file = tmp_path / "table.json"
    assert evaluate(clip, compared, "--table", "2", "--json", str(file)) == 0
    scores = {row["name"]: row["pixel_accuracy"] for row in figures(file)["rows"]}
    alike = {"unified propagation", "adaptive propagation, no fusion"}  # which copy before they have learned anything
    different = [score for name, score in scores.items() if name not in alike]
    assert len(set(different)) == len(different) == 5
    fused = next(row for row in figures(file)["rows"] if row["name"] == "adaptive propagation, with fusion")
    network = small_network(kind="two_networks", input_size=SIZE)
    save_checkpoint(network, tmp_path / "same", "# same\n")
    rows = tmp_path / "rows.json"
    fixed = "--rows", "fixed", "--analyses", "none", "--propagation", "adaptive", "--json", str(rows)
    assert evaluate(clip, tmp_path / "same", *fixed) == 0
    assert figures(rows)["rows"][0]["mean_iou"] == pytest.approx(fused["mean_iou"])

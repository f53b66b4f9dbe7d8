"""`lowlat-seg`: the rows of an evaluation, and one sentence for each mistake."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from small_networks import IN_TORCH, small_config, small_network

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.commands.evaluate_latency import have_same_small
from lowlat_seg_ros.data.camvid import LabelledFolder
from lowlat_seg_ros.data.classes import CAMVID_VOID
from lowlat_seg_ros.data.corruptions import Corruption
from lowlat_seg_ros.evaluation import latency
from lowlat_seg_ros.evaluation.cut import FRAMES_BEFORE
from lowlat_seg_ros.evaluation.evaluation import ANALYSES, ON_DEMAND
from lowlat_seg_ros.evaluation.evaluation_files import JSON_FILE, MARKDOWN_FILE
from lowlat_seg_ros.evaluation.latency import SingleFrameCandidate, Timed, without_hopeless
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.fast.pictures import Preprocessor, label_image
from lowlat_seg_ros.models.checkpoint import load_checkpoint, save_checkpoint
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork

FRAMES = 6
SIZE = (96, 72)
SETTINGS = ("--interval", "3", "--minimum-key-period", "0", "--threshold", "0")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drifting_noise(tmp_path_factory.mktemp("clip"))


def drifting_noise(folder: Path) -> Path:
    """Six pictures of noise that drifts, with labels in blocks, some of them void."""
    random = np.random.default_rng(0)
    street = random.integers(0, 256, (72, 96 + FRAMES, 3), dtype=np.uint8)
    blocks = np.kron(random.integers(0, CAMVID_VOID + 1, (6, 8)), np.ones((12, 12))).astype(np.uint8)
    for kind in ("frames", "labels"):
        (folder / kind).mkdir()
    for index in range(FRAMES):
        cv2.imwrite(str(folder / "frames" / f"{index:03d}.png"), street[:, index : index + 96])
        cv2.imwrite(str(folder / "labels" / f"{index:03d}.png"), blocks)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(small_network(kind="two_networks", input_size=SIZE), folder, "# A network that was never trained\n")
    return folder


@pytest.fixture(scope="module")
def whole(clip: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation with everything but latency in it."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert evaluate(clip, model, *SETTINGS, "--out", str(out)) == 0
    return out


def evaluate(clip: Path, model: Path, *options: str) -> int:
    folders = ["--frames", str(clip / "frames"), "--labels", str(clip / "labels")]
    return main(["evaluate", *folders, "--model", str(model), *IN_TORCH, *options])


def figures(file: Path) -> dict[str, Any]:
    mapping: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return mapping


def rows_of(file: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in figures(file)["rows"]}


def test_every_row_is_scored_on_the_same_frames(whole: Path) -> None:
    rows = rows_of(whole / JSON_FILE)
    single_frame, two_tracks = ["per-frame", "per-frame-fused", "single-frame"], ["fixed", "adaptive"]
    assert list(rows) == [*single_frame, *two_tracks, "low-latency-1", "low-latency-2", "just-in-time-alone"]
    assert rows["per-frame"]["key_frame_ratio"] == 1.0
    assert rows["single-frame"]["key_frame_ratio"] == 0.0
    assert rows["fixed"]["key_frame_ratio"] == pytest.approx(2 / FRAMES)
    assert rows["adaptive"]["key_frame_ratio"] == 1.0  # the threshold of nothing makes every frame a key frame
    assert rows["adaptive"]["mean_iou"] == rows["per-frame"]["mean_iou"]
    assert rows["adaptive"]["temporal_consistency"] == rows["per-frame"]["temporal_consistency"]


def test_the_share_of_two_tracks_is_of_the_full_network_given_its_best(whole: Path) -> None:
    rows = rows_of(whole / JSON_FILE)
    best = max(("per-frame", "per-frame-fused"), key=lambda name: rows[name]["mean_iou"])
    assert figures(whole / JSON_FILE)["full_network_at_its_best"] == best
    assert rows["fixed"]["share_of_full"] == pytest.approx(rows["fixed"]["mean_iou"] / rows[best]["mean_iou"])
    assert rows["single-frame"]["share_of_full"] is None


@pytest.mark.parametrize("row", ["per-frame", "single-frame"])
def test_a_single_frame_row_is_its_network_on_each_frame(row: str, clip: Path, model: Path, whole: Path) -> None:
    network = load_checkpoint(model)
    config = network.config
    forward = {"per-frame": network.forward, "single-frame": network.forward_fast}[row]
    preprocess = Preprocessor(config.input_size, torch.device("cpu"))
    matrix = ConfusionMatrix(config.class_count)
    for frame in LabelledFolder(clip / "frames", clip / "labels"):
        with torch.inference_mode():
            logits = forward(preprocess(frame.image))
        matrix.add(label_image(logits, config.input_size, SIZE), frame.labels)
    assert rows_of(whole / JSON_FILE)[row]["mean_iou"] == pytest.approx(matrix.mean_iou(), abs=1e-6)


def test_two_runs_give_the_same_figures_but_for_the_timings(
    clip: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    file = tmp_path / "again.json"
    assert evaluate(clip, model, *SETTINGS, "--json", str(file)) == 0
    first, second = figures(whole / JSON_FILE), figures(file)
    assert set(first.pop("timings")) == set(second.pop("timings")) == {"rows", *ANALYSES} - {*ON_DEMAND}
    assert first == second


def test_the_folder_has_the_figures_the_tables_and_the_plots(whole: Path) -> None:
    pictures = {"distances.png", "deviations.png", "policies.png", "reliability.png"}
    assert {file.name for file in whole.iterdir()} == {JSON_FILE, MARKDOWN_FILE, *pictures}
    for name in pictures:
        assert cv2.imread(str(whole / name)) is not None
    text = (whole / MARKDOWN_FILE).read_text(encoding="utf-8")
    for title in ("By distance", "Ways to propagate", "true deviation", "same number of key frames", "Confidence"):
        assert title in text


def test_confidence_is_compared_with_the_full_networks_labels(whole: Path) -> None:
    curves = figures(whole / JSON_FILE)["reliability"]
    names = [
        f"{kind}, Sh {late} late" for late in ("1 frame", "2 frames") for kind in ("as published", "not calibrated")
    ]
    assert [curve["name"] for curve in curves] == names
    for curve in curves:
        assert 0 < curve["frames"] < FRAMES, "before the slow network's first answer nothing is claimed"
        assert sum(each["share"] for each in curve["bins"]) == pytest.approx(1)
        observed = sum(each["share"] * each["observed"] for each in curve["bins"])
        assert observed == pytest.approx(curve["observed"])
    assert curves[0]["observed"] == curves[1]["observed"], "the same labels, another opinion of them"
    assert curves[0]["predicted"] != curves[1]["predicted"]


def test_the_table_is_printed(clip: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(clip, model, "--rows", "fixed,low-latency", "--delay-frames", "3", "--analyses", "none") == 0
    printed = capsys.readouterr().out
    assert "| fixed |" in printed and "| low-latency-3 |" in printed and "| per-frame |" not in printed
    assert "distance from the key frame" not in printed


def test_milliseconds_of_sh_become_frames_at_the_rate_of_the_clip(
    clip: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = ["--rows", "low-latency", "--analyses", "none", "--delay-ms", "101", "--rate", "20"]
    assert evaluate(clip, model, *late) == 0
    assert "| low-latency-3 |" in capsys.readouterr().out  # 101 ms are more than two frames of 50 ms


def test_stills_may_have_many_sizes_and_are_not_propagated(clip: Path, model: Path, tmp_path: Path) -> None:
    stills = copied(clip, tmp_path)
    resize(stills / "frames" / "002.png", (48, 36))
    resize(stills / "labels" / "002.png", (48, 36))
    assert evaluate(stills, model, "--stills", "--json", str(tmp_path / "stills.json")) == 0
    found = figures(tmp_path / "stills.json")
    assert [row["name"] for row in found["rows"]] == ["per-frame", "per-frame-fused", "single-frame"]
    assert all(row["temporal_consistency"] is None for row in found["rows"])
    assert found["distances"] is None


def test_latency_is_measured_beside_other_checkpoints(clip: Path, model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    save_checkpoint(small_network(seed=1, input_size=(48, 36)), other, "# Another one\n")
    few = ["--rows", "per-frame", "--analyses", "none", "--rate", "100", "--rounds", "2", "--single-frame-threads", "1"]
    out = tmp_path / "out"
    assert evaluate(clip, model, *few, "--latency", "--compare", str(other), "--out", str(out)) == 0
    latency = figures(out / JSON_FILE)["latency"]
    rows = {row["name"]: row for row in latency["rows"]}
    assert list(rows)[:3] == ["two tracks", "Sl alone", "full network"]
    for way in (model.name, f"{model.name}'s Sl", "other", "other's Sl"):
        timed = {
            name.rpartition(" in ")[2]: row["frames"] for name, row in rows.items() if name.startswith(f"{way} in ")
        }
        assert timed.keys() >= {"torch fp32", "openvino fp32", "onnxruntime fp32"}
        # Not twice where it is much slower than elsewhere.
        assert set(timed.values()) <= {FRAMES, 2 * FRAMES} and max(timed.values()) == 2 * FRAMES
    assert rows["full network"]["frames"] == 2 * FRAMES
    assert rows["full network"]["mean_iou"] == pytest.approx(
        rows_of(out / JSON_FILE)["per-frame"]["mean_iou"], abs=1e-6
    )
    assert all(0 < row["median_ms"] <= row["p99_ms"] <= row["max_ms"] for row in rows.values())
    told = (out / MARKDOWN_FILE).read_text(encoding="utf-8")
    assert "single-frame networks that are no slower by the p99" in told
    is_any_left_out = any(row["frames"] == FRAMES for row in latency["rows"])
    assert ("not timed after the first round" in told) == is_any_left_out
    assert cv2.imread(str(out / "latency.png")) is not None


def test_a_runtime_that_is_much_slower_than_another_one_is_not_timed_again() -> None:
    def timed(name: str, network: str, milliseconds: float) -> tuple[SingleFrameCandidate, Timed]:
        candidate = SingleFrameCandidate(name, lambda image: image[..., 0], (8, 8), 1, network)
        return candidate, Timed(ConfusionMatrix(2), [[1.0, 1.0], [milliseconds, milliseconds]])

    candidates = [
        timed("a here", "a", 10),
        timed("a there", "a", 15),
        timed("a elsewhere", "a", 16),
        timed("b", "", 90),
    ]
    assert [candidate.name for candidate, _ in without_hopeless(candidates)] == ["a here", "a there", "b"]


def test_what_was_quick_at_first_is_timed_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment's noise later on leaves nobody out."""
    rounds = {"here": [10.0, 90.0, 10.0], "there": [12.0, 12.0, 12.0], "elsewhere": [30.0]}

    def run(candidate: SingleFrameCandidate, frames: object, rate_hz: float, record: Timed) -> None:
        record.rounds.append([rounds[candidate.name][len(record.rounds)]] * 2)

    monkeypatch.setattr(latency, "_run", run)
    candidates = [SingleFrameCandidate(name, lambda image: image[..., 0], (8, 8), 1, "a") for name in rounds]
    report = latency.measure_latency(candidates, [], lambda: ConfusionMatrix(2), latency.LatencySettings(10.0, 3))
    assert {row.name: row.frames for row in report.rows} == {"here": 6, "there": 6, "elsewhere": 2}


def test_a_small_network_is_the_same_where_its_weights_and_its_pictures_size_are() -> None:
    network = small_network(kind="two_networks", input_size=(48, 36))
    assert have_same_small(network, copy.deepcopy(network))
    assert not have_same_small(network, small_network(1, kind="two_networks", input_size=(48, 36)))
    assert not have_same_small(network, small_network(kind="two_networks", input_size=(64, 48)))
    shared = small_network(input_size=(48, 36))
    assert not have_same_small(shared, shared)  # its Sl cannot be told from its Sh


@pytest.mark.parametrize("given", [["--classes", "cityscapes"], ["--void", "3"]])
def test_what_explains_labels_is_refused_of_the_street_which_has_its_own(
    given: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--frames", "street", "--model", str(model), *given]) == 1
    assert f"{given[0]} is {given[1]}, which explains labels; expected --labels beside it" in capsys.readouterr().err


def copied(clip: Path, folder: Path) -> Path:
    shutil.copytree(clip, folder / "copy")
    return folder / "copy"


def resize(file: Path, size: tuple[int, int]) -> None:
    picture = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    cv2.imwrite(str(file), cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST_EXACT))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows", "fastest"], "--rows names 'fastest'"),
        (["--analyses", "figure-9"], "--analyses names 'figure-9'"),
        (["--model", "missing"], "no checkpoint at 'missing'"),
        (["--frames", "missing"], "missing does not exist"),
        (["--labels", "missing"], "missing does not exist"),
        (["--interval", "0"], "interval is 0"),
        (["--delay-frames", "0"], "0 frames late"),
        (["--delay-ms", "-3"], "--delay-ms is -3.0"),
        (["--rate", "nan"], "--rate is nan"),
        (["--threads", "0"], "--threads is 0"),
        (["--stills", "--rows", "fixed"], "'fixed' takes a video"),
        (["--compare", "other"], "expected --latency beside it"),
        (["--fast-threads", "2"], "--fast-threads is of what is timed; expected --latency or --table 1"),
        (["--rounds", "2"], "--rounds is of what is timed"),
        (["--table", "1", "--single-frame-threads", "2"], "--single-frame-threads is of what is timed"),
        (["--latency", "--compare", "missing"], "no checkpoint at 'missing'"),
    ],
)
def test_a_mistake_gets_one_sentence_and_leaves_no_file(
    options: list[str], message: str, clip: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = ["--out", str(tmp_path / "out"), "--json", str(tmp_path / "new" / "rows.json")]
    assert evaluate(clip, model, *outputs, *options) == 1
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_picture_of_another_size_is_named(
    clip: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = copied(clip, tmp_path)
    resize(odd / "frames" / "002.png", (48, 36))
    assert evaluate(odd, model, "--out", str(tmp_path / "out")) == 1
    assert "002.png is 48 x 36 but the clip began with 96 x 72" in capsys.readouterr().err
    assert evaluate(odd, model, "--stills", "--out", str(tmp_path / "out")) == 1
    assert "002.png are 96 x 72 but their picture is 48 x 36" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_class_that_the_model_does_not_have_is_named(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = small_config(input_size=SIZE)
    few = replace(few, classes=few.classes[:4], colours=few.colours[:4])
    save_checkpoint(SegmentationNetwork(few), tmp_path / "few", "# Four classes\n")
    assert evaluate(clip, tmp_path / "few", "--out", str(tmp_path / "out")) == 1
    assert "000.png hold the id 11, but the model has the classes 0 to 3." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "place", "message"),
    [
        ("--out", "file", "is a file; expected a folder"),
        ("--out", "file/below", "is a file; expected a folder"),
        ("--json", "file/rows.json", "is a file; expected a folder"),
        ("--json", "folder", "is a folder; expected a file"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_computed(
    option: str, place: str, message: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    # The model is missing too, and would be named if it were looked for first.
    assert evaluate(clip, tmp_path / "missing", option, str(tmp_path / place)) == 1
    printed = capsys.readouterr().err
    assert option in printed and message in printed and printed.count("\n") == 1
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_training_without_its_data_gets_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(__file__).parents[1] / "config"
    options = ["--model", str(config / "models/default.yaml"), "--config", str(config / "training/default.yaml")]
    assert main(["train", "base", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run"), *options]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_a_later_stage_without_the_one_before_gets_one_sentence(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "camvid"
    data.mkdir()
    (data / "train").symlink_to(clip / "frames")
    (data / "trainannot").symlink_to(clip / "labels")
    config = Path(__file__).parents[1] / "config"
    options = ["--model", str(config / "models/default.yaml"), "--config", str(config / "training/default.yaml")]
    assert main(["train", "schedule", "--data", str(data), "--out", str(tmp_path / "run"), *options]) == 1
    assert "expected `lowlat-seg train propagation` first" in capsys.readouterr().err


def test_every_second_frame_is_a_clip_of_half_the_rate(clip: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "halved"
    for kind in ("frames", "labels"):
        (folder / kind).mkdir(parents=True)
        for index in range(0, FRAMES, 2):
            name = f"{index:03d}.png"
            (folder / kind / name).write_bytes((clip / kind / name).read_bytes())
    files = tmp_path / "every.json", tmp_path / "alone.json"
    assert evaluate(clip, model, *SETTINGS, "--every", "2", "--analyses", "none", "--json", str(files[0])) == 0
    assert evaluate(folder, model, *SETTINGS, "--analyses", "none", "--json", str(files[1])) == 0
    assert figures(files[0])["frames"] == FRAMES // 2
    assert figures(files[0])["rows"] == figures(files[1])["rows"]


def test_rows_tell_how_they_ran(whole: Path) -> None:
    rows = rows_of(whole / JSON_FILE)
    assert figures(whole / JSON_FILE)["version"] == 2
    keys = ("propagation", "fast_runtime", "slow_runtime", "fast_precision", "slow_precision")
    assert [rows["per-frame"][key] for key in keys] == [None, None, "torch", None, "fp32"]
    assert [rows["single-frame"][key] for key in keys] == [None, "torch", None, "fp32", None]
    assert [rows["low-latency-1"][key] for key in keys] == ["just_in_time", "torch", "torch", "fp32", "fp32"]


def test_another_propagation_labels_otherwise(clip: Path, model: Path, whole: Path, tmp_path: Path) -> None:
    file = tmp_path / "copied.json"
    options = ("--propagation", "copy", "--rows", "fixed", "--analyses", "distances", "--json", str(file))
    assert evaluate(clip, model, *SETTINGS, *options) == 0
    row = rows_of(file)["fixed"]
    assert row["propagation"] == "copy" and row["mean_iou"] != rows_of(whole / JSON_FILE)["fixed"]["mean_iou"]
    at_no_distance, *farther = figures(file)["distances"]["mean_iou"]
    assert at_no_distance == figures(whole / JSON_FILE)["distances"]["mean_iou"][0]
    assert farther != figures(whole / JSON_FILE)["distances"]["mean_iou"][1:]


def test_a_cut_is_scored_by_the_labels_right_after_it(clip: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    scene = np.random.default_rng(7).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    for number in range(FRAMES_BEFORE):
        cv2.imwrite(str(tmp_path / "before" / f"{number:03d}.png"), scene)
    cut = ("--cut-from", str(tmp_path / "before"), "--delay-frames", "2", "3")
    options = ("--rows", "single-frame", "--analyses", "none", *cut)
    assert evaluate(clip, model, *options, "--out", str(tmp_path)) == 0
    row = rows_of(tmp_path / JSON_FILE)["cut"]
    assert row["mean_iou"] is None and 0 < row["agreement_pixels"] < 1
    assert "3 frames late" in row["description"]
    assert f"{row['agreement_pixels']:.4f} of the pixels" in (tmp_path / MARKDOWN_FILE).read_text()


def test_without_labels_rows_are_scored_by_their_agreement_with_the_full_network(
    clip: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agreement.json"
    frames = ["--frames", str(clip / "frames"), "--model", str(model), *SETTINGS]
    assert main(["evaluate", *frames, "--json", str(file)]) == 0
    rows = rows_of(file)
    assert rows["per-frame"]["agreement_iou"] == rows["per-frame"]["agreement_pixels"] == 1
    assert rows["per-frame"]["mean_iou"] is None and rows["fixed"]["agreement_pixels"] < 1
    assert rows["per-frame"]["class_iou"] == [] and figures(file)["full_network_at_its_best"] is None
    assert "agreement is with the full network's own" in capsys.readouterr().out
    assert len(rows["fixed"]["agreement_class_iou"]) == len(figures(file)["classes"])
    at_no_distance, *farther = figures(file)["distances"]["mean_iou"]
    assert at_no_distance == 1 and len(farther) == FRAMES - 1 and max(farther) < 1
    assert main(["evaluate", *frames, "--analyses", "deviations,policies", "--json", str(file)]) == 0
    deviations = figures(file)["deviations"]
    assert deviations["of_truth"] == deviations["of_full_network"], "the full network's labels are the truth"
    assert max(point["mean_iou"] for point in figures(file)["policies"]) < 1
    assert "Policies at the same number of key frames (agreement, mIoU)" in capsys.readouterr().out
    assert main(["evaluate", *frames, "--latency"]) == 1
    assert "--latency scores each network against the truth; expected --labels" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "late"), [((), 13), (("--every", "2"), 7), (("--rate", "10"), 5)])
def test_a_videos_own_rate_counts_unless_another_is_given(
    options: tuple[str, ...], late: int, model: Path, tmp_path: Path
) -> None:
    """An Sh of half a second is as many frames late as come in that time."""
    video = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, SIZE)
    for value in range(FRAMES):
        writer.write(np.full((SIZE[1], SIZE[0], 3), 40 * value, np.uint8))
    writer.release()
    file = tmp_path / "figures.json"
    given = ["--frames", str(video), "--model", str(model), "--delay-ms", "500", "--rows", "low-latency", *options]
    assert main(["evaluate", *given, "--json", str(file)]) == 0
    assert list(rows_of(file)) == [f"low-latency-{late}"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--every", "0"), "--every is 0; expected 1 or more"),
        (
            ("--propagation", "clockwise"),
            "propagation is 'clockwise'; expected one of auto, adaptive, clockwork, copy, just_in_time",
        ),
    ],
)
def test_options_of_the_clip_that_cannot_be_used_are_named(
    options: tuple[str, ...], sentence: str, clip: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(clip, model, *options) == 1
    assert sentence in capsys.readouterr().err


def test_corruptions_are_a_table_a_list_and_a_sheet(
    clip: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "--rows", "per-frame,single-frame,low-latency", "--delay-frames", "2", "--analyses", "corruptions"
    assert evaluate(clip, model, *asked, "--corruptions", "fog:3", "night:5", "--out", str(tmp_path)) == 0
    found = figures(tmp_path / JSON_FILE)
    assert [(each["kind"], each["strength"]) for each in found["corruptions"]] == [("fog", 3), ("night", 5)]
    for each in found["corruptions"]:
        assert [row["name"] for row in each["rows"]] == ["per-frame", "single-frame", "low-latency-2"]
        assert each["rows"][0]["mean_iou"] != found["rows"][0]["mean_iou"], "the pictures are others"
    assert "| night | 5 |" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "corruptions.png")) is not None


def test_a_corrupted_row_is_that_of_the_corrupted_pictures(clip: Path, model: Path, tmp_path: Path) -> None:
    corrupted = tmp_path / "defocused"
    shutil.copytree(clip / "labels", corrupted / "labels")
    (corrupted / "frames").mkdir()
    for index, frame in enumerate(LabelledFolder(clip / "frames", clip / "labels")):
        picture = Corruption("defocus", 4)(frame.image, index * 66_666_667)
        cv2.imwrite(str(corrupted / "frames" / f"{index:03d}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    rows = "--rows", "per-frame,low-latency"
    both = [tmp_path / "one.json", tmp_path / "other.json"]
    assert evaluate(corrupted, model, *rows, "--analyses", "none", "--json", str(both[0])) == 0
    analysis = "--analyses", "corruptions", "--corruptions", "defocus:4"
    assert evaluate(clip, model, *rows, *analysis, "--json", str(both[1])) == 0
    expected, (seen,) = figures(both[0])["rows"], figures(both[1])["corruptions"]
    assert [row["mean_iou"] for row in seen["rows"]] == [row["mean_iou"] for row in expected]


def test_without_labels_corrupted_pictures_are_compared_with_the_labels_of_clean_ones(
    clip: Path, model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "figures.json"
    asked = "--rows", "per-frame", "--analyses", "corruptions", "--corruptions", "night:3", "--json", str(file)
    assert main(["evaluate", "--frames", str(clip / "frames"), "--model", str(model), *IN_TORCH, *asked]) == 0
    assert rows_of(file)["per-frame"]["agreement_pixels"] == 1.0
    assert 0 < figures(file)["corruptions"][0]["rows"][0]["agreement_pixels"] < 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--corruptions", "fog:3"], "expected --analyses corruptions"),
        (["--analyses", "corruptions", "--corruptions", "hail:3"], "there is no corruption 'hail:3'"),
    ],
)
def test_corruptions_that_cannot_be_are_refused(
    options: list[str], sentence: str, clip: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(clip, model, *options) == 1
    assert sentence in capsys.readouterr().err

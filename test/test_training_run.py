"""`lowlat-seg train`: killed and gone on with, refused where it must be, and nothing lost on a full disk."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from data_trees import SIZE, drive_frame, recorded_drive, write_labels
from safetensors.torch import load_file
from small_networks import small_config, small_network
from training_setup import ONE_STAGE_OR_ALL, RECIPE, STAGES, write_setup, write_yaml

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data.own_folder import own_folder
from lowlat_seg_ros.data.video_writer import VideoWriter
from lowlat_seg_ros.fast.motion import unfold
from lowlat_seg_ros.models.checkpoint import WEIGHTS_FILE, CheckpointError, load_checkpoint, save_checkpoint
from lowlat_seg_ros.models.comparisons import Comparisons
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.run_state import HISTORY_FILE, STATE_FILE, RunError, RunState, first_difference
from lowlat_seg_ros.training.start import NOTHING, starting_network, take_weights

CHECKOUT = Path(__file__).parents[1]

KILLED_AT_A_STEP = """
import os, signal, sys
from lowlat_seg_ros.cli import main
from lowlat_seg_ros.training.step import Stepper

stage, steps_left, take_step = sys.argv[1], int(sys.argv[2]), Stepper.step

def step(self, batch):
    global steps_left
    if type(self._stage).__name__.lower().startswith(stage):
        steps_left -= 1
        if steps_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return take_step(self, batch)

Stepper.step = step
main(sys.argv[3:])
"""


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_setup(tmp_path_factory.mktemp("setup"))


@pytest.fixture(scope="module")
def whole_run(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three stages, never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(["train", "all", "--out", str(folder), *options]) == 0
    return folder


def weights_in(run: Path, stage: str) -> dict[str, torch.Tensor]:
    network: dict[str, torch.Tensor] = torch.load(run / stage / STATE_FILE, weights_only=True)["network"]
    return network


def epochs_in(run: Path, stage: str) -> list[str]:
    return (run / stage / HISTORY_FILE).read_text().splitlines()[1:]


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What `lowlat-seg` says as it refuses."""
    capsys.readouterr()
    assert main(arguments) == 1
    return capsys.readouterr().err.splitlines()[-1]


def test_what_the_tables_compare_with_is_trained_on_a_finished_model(options: list[str], whole_run: Path) -> None:
    """All of it, and nothing of the model."""
    assert main(["train", "tables", "--out", str(whole_run), *options]) == 0
    before, after = (load_file(whole_run / stage / "checkpoint" / WEIGHTS_FILE) for stage in ("schedule", "tables"))
    assert before.keys() == after.keys() and all(torch.equal(after[name], before[name]) for name in before)
    network = load_checkpoint(whole_run / "tables" / "checkpoint")
    untrained = Comparisons(network.config, network.tracks.low_channels)
    assert network.comparisons is not None
    for name in ("unified.taps", "image_difference.log_sharpness", "gated_units.share"):  # which begin as constants
        assert not torch.equal(network.comparisons.get_parameter(name), untrained.get_parameter(name)), name
    card = (whole_run / "tables" / "checkpoint" / "MODEL_CARD.md").read_text()
    assert "## Stage schedule" in card and "## Stage tables" in card


def test_the_tables_compare_with_a_trained_model(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = error_of(["train", "tables", "--out", str(tmp_path / "run"), *options], capsys)
    assert "the stage tables starts from a trained model, and there is none in" in error and "--from" in error


# --- Killed, and gone on with -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ONE_STAGE_OR_ALL)
def test_a_run_that_was_killed_ends_at_the_same_weights(
    stage: str, options: list[str], whole_run: Path, tmp_path: Path
) -> None:
    """Killed at the second of the second epoch's two steps: one epoch is done, half of the other is lost."""
    # As many threads as this process has: sums in another order are rounded otherwise.
    arguments = ["train", "all", "--out", str(tmp_path), *options, "--threads", "1"]
    killed = subprocess.run([sys.executable, "-c", KILLED_AT_A_STEP, stage, "4", *arguments], cwd=CHECKOUT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(epochs_in(tmp_path, stage)) == 1
    assert main([*arguments, "--resume"]) == 0
    for each in STAGES:
        assert epochs_in(tmp_path, each) == epochs_in(whole_run, each)
        ours, expected = weights_in(tmp_path, each), weights_in(whole_run, each)
        assert [name for name in expected if not torch.equal(ours[name], expected[name])] == []
        ours, expected = (load_file(run / each / "checkpoint" / WEIGHTS_FILE) for run in (tmp_path, whole_run))
        assert [name for name in expected if not torch.equal(ours[name], expected[name])] == []


def test_two_runs_cannot_train_in_one_folder(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with own_folder(tmp_path):
        error = error_of(["train", "all", "--out", str(tmp_path), *options, "--resume"], capsys)
    assert error == f"lowlat-seg: another run is writing into {tmp_path}; expected a folder of its own"
    assert not list(tmp_path.iterdir())


def test_a_process_that_outlives_a_killed_run_holds_no_folder(tmp_path: Path) -> None:
    begun, begins = os.pipe()
    with own_folder(tmp_path):
        child = os.fork()
        if child == 0:
            os.write(begins, b".")
            signal.pause()
        os.read(begun, 1)
    try:
        with own_folder(tmp_path):
            pass
    finally:
        for end in (begun, begins):
            os.close(end)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_the_base_is_frozen_after_the_first_stage(whole_run: Path) -> None:
    base, last = (load_checkpoint(whole_run / stage / "checkpoint").state_dict() for stage in ("base", "schedule"))
    changed = {name.split(".")[0] for name in base if not torch.equal(base[name], last[name])}
    assert changed == {"kernel_predictor", "adapt_net", "fusion", "deviation_predictor"}


def test_every_epoch_leaves_its_figures(whole_run: Path) -> None:
    for stage in STAGES:
        lines = epochs_in(whole_run, stage)
        assert [line.split(",")[0] for line in lines] == ["1", "2"]
        assert all(np.isfinite(float(line.split(",")[1])) for line in lines)


def test_the_model_card_says_how_each_stage_was_trained(whole_run: Path) -> None:
    card = (whole_run / "schedule" / "checkpoint" / "MODEL_CARD.md").read_text()
    headings = [line for line in card.splitlines() if line.startswith("#")]
    assert headings == ["# default", *(f"## Stage {stage}" for stage in STAGES)]
    for text in ("data: CamVid's training split: 4 frames, 0 held out", "starts from: nothing", "seed 3", " hours on "):
        assert text in card


def test_the_two_networks_of_a_model_are_trained_one_after_the_other(tmp_path: Path) -> None:
    """Sh first, then Sl: each leaves the other as it is."""
    options = write_setup(tmp_path, epochs=1)
    write_yaml(tmp_path / "model.yaml", small_config("two_networks", input_size=SIZE).to_mapping())
    assert main(["train", "all", "--out", str(tmp_path / "run"), *options]) == 0
    stages = ("base", "small", "propagation", "schedule")
    base, sl, *_, last = (load_checkpoint(tmp_path / "run" / stage / "checkpoint").state_dict() for stage in stages)
    changed = [name for name in base if not torch.equal(base[name], sl[name])]
    assert changed and all(name.startswith(("tracks.low_network.", "fast_classifier.")) for name in changed)
    changed = [name for name in sl if not torch.equal(sl[name], last[name])]
    assert changed and not any(name.startswith(("tracks.", "classifier.", "fast_classifier.")) for name in changed)


def test_another_sl_learns_beside_an_sh_that_is_there_already(tmp_path: Path) -> None:
    options = write_setup(tmp_path, epochs=1)
    trained = small_network(kind="two_networks", input_size=SIZE)
    save_checkpoint(trained, tmp_path / "trained", "# trained\n")
    smaller = small_config("two_networks", input_size=SIZE, low_channels=8)
    write_yaml(tmp_path / "model.yaml", smaller.to_mapping())
    options[-1] = str(tmp_path / "trained")
    run = ["train", "small", "--hold-out", "every 4", "--out", str(tmp_path / "run")]
    assert main([*run, *options]) == 0
    result = load_checkpoint(tmp_path / "run" / "small" / "checkpoint").state_dict()
    before = load_checkpoint(tmp_path / "trained").state_dict()
    kept = {name for name, tensor in before.items() if name in result and torch.equal(result[name], tensor)}
    for part in ("tracks.high_network.", "tracks.settle.", "classifier."):
        assert {name for name in before if name.startswith(part)} <= kept
    blocks = {name for name in result if name.startswith("tracks.low_network.backbone.") and name.endswith("weight")}
    assert blocks and not blocks & kept
    (epoch,) = epochs_in(tmp_path / "run", "small")
    network = load_checkpoint(tmp_path / "run" / "small" / "checkpoint")
    assert len(epoch.split(",")) == 4 and network.config.tracks == smaller.tracks


def test_an_sl_that_sh_goes_on_from_is_not_trained_alone(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = error_of(["train", "small", "--out", str(tmp_path), *options], capsys)
    assert "Sh of a shared backbone goes on where Sl ends; expected tracks of two networks to train Sl alone" in said


# --- Refused ----------------------------------------------------------------------------------------------------------


def test_a_run_is_not_gone_on_with_unasked(
    options: list[str], whole_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = error_of(["train", "base", "--out", str(whole_run), *options], capsys)
    assert "already holds the stage base; expected --resume to go on with it, or another --out" in said


def test_a_run_of_another_recipe_is_refused(
    options: list[str], whole_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (whole_run / "base" / STATE_FILE).read_bytes()
    said = error_of(["train", "base", "--out", str(whole_run), *options, "--resume", "--epochs", "3"], capsys)
    assert "belongs to another run: its recipe.epochs is 2, not 3" in said
    assert (whole_run / "base" / STATE_FILE).read_bytes() == before


@pytest.mark.parametrize(("stage", "sentence"), [("base", "belongs to another run"), ("schedule", "another model")])
def test_a_run_of_another_model_is_refused(
    stage: str, sentence: str, options: list[str], whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_yaml(tmp_path / "model.yaml", small_config(input_size=SIZE, high_channels=8).to_mapping())
    changed = [*options, "--model", str(tmp_path / "model.yaml"), "--resume"]
    said = error_of(["train", stage, "--out", str(whole_run), *changed], capsys)
    assert sentence in said and "high_channels is 12, not 8" in said


def test_the_stages_have_an_order(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(["train", "propagation", "--out", str(tmp_path), *options], capsys)
    assert "starts from the stage base, which is not finished" in said and "`lowlat-seg train base` first" in said


def test_a_damaged_state_is_named(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / STATE_FILE).write_bytes(b"no state")
    said = error_of(["train", "base", "--out", str(tmp_path), *options, "--resume"], capsys)
    assert "last.pt cannot be gone on from" in said and "expected another --out" in said


def test_bad_data_are_named_before_anything_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = write_setup(tmp_path)
    for path in sorted((tmp_path / "camvid" / "trainannot").iterdir())[:2]:
        write_labels(path, np.full((72, 96), 40))
    assert main(["train", "all", "--out", str(tmp_path / "run"), *options]) == 1
    said = capsys.readouterr().err
    assert "2 problems in CamVid's training split" in said and said.count("hold the id 40") == 2
    assert not (tmp_path / "run").exists()


def test_cuda_that_is_not_there_is_an_error(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    said = error_of(["train", "base", "--out", str(tmp_path), *options, "--device", "cuda"], capsys)
    assert "finds no CUDA device" in said


def test_recipes_are_compared_entry_by_entry() -> None:
    saved = {"model": {"name": "a", "classes": ["x"]}, "recipe": {"epochs": 2}}
    assert first_difference(saved, {"model": {"name": "a", "classes": ["x"]}, "recipe": {"epochs": 2}}) is None
    changed = {"model": {"name": "a", "classes": ["y"]}, "recipe": {"epochs": 2}}
    assert first_difference(saved, changed) == "its model.classes is ['x'], not ['y']"
    assert first_difference(saved, {"model": saved["model"]}) == "its recipe is {'epochs': 2}, not None"


# --- A full disk ------------------------------------------------------------------------------------------------------


def test_what_was_saved_stays_when_the_disk_is_full(tmp_path: Path) -> None:
    """A limit on the size of files is what a full disk is to a program: a write that fails half way."""
    network = small_network()
    optimiser = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0)
    state = RunState(network, optimiser, schedule, torch.amp.GradScaler("cpu", enabled=False), {"stage": "base"})
    state.history.append({"loss": 1.0})
    state.save(tmp_path)
    saved = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    state.history.append({"loss": 0.5})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(
            RunError, match="epoch 2 cannot be saved .* is still there: make room and go on with --resume"
        ):
            state.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == saved


# --- Video, what is held out, other beginnings ------------------------------------------------------------------------


def test_recorded_drives_train_all_stages(options: list[str], tmp_path: Path) -> None:
    """Real pairs of two labelled drives, one of them held out, and an unlabelled video for the scheduler."""
    recorded_drive(recorded_drive(tmp_path, "a", 12, 0, labelled_every=4), "b", 12, 1, labelled_every=6)
    with VideoWriter(tmp_path / "night.mp4", SIZE, 15.0) as writer:
        for index in range(22):
            writer.write(drive_frame(index)[0])
    data = {"frames": "frames", "labels": "labels", "consecutive": True, "hold_out": "drive b", "videos": ["night.mp4"]}
    stages = {stage: {**RECIPE, "epochs": 1} for stage in STAGES}
    write_yaml(tmp_path / "recipe.yaml", {**stages, "data": data})
    without_data = [*options[2:], "--config", str(tmp_path / "recipe.yaml")]
    assert main(["train", "all", "--out", str(tmp_path / "run"), *without_data]) == 0
    for stage in STAGES:
        names = (tmp_path / "run" / stage / HISTORY_FILE).read_text().splitlines()[0]
        assert names == "epoch,loss,held_out_loss,held_out_mean_iou"
        frames = torch.load(tmp_path / "run" / stage / STATE_FILE, weights_only=True)["recipe"]["data"]["frames"]
        assert frames.startswith("5 (" if stage == "schedule" else "3 (")


def test_training_goes_on_from_a_checkpoint_of_other_classes(tmp_path: Path) -> None:
    trained = small_network()
    save_checkpoint(trained, tmp_path, "# trained\n")
    config = small_config(classes=("street", "rest"), colours=((0, 0, 0), (1, 1, 1)))
    network = SegmentationNetwork(config)
    anew = take_weights(network, tmp_path)
    assert {name.split(".")[0] for name in anew} == {"classifier", "fast_classifier"}
    kept = network.state_dict()
    for name, tensor in trained.state_dict().items():
        if name.split(".")[0] not in ("classifier", "fast_classifier") and tensor.dim() == 1:
            assert torch.equal(kept[name], tensor)
    with pytest.raises(CheckpointError, match="fits .* of the network's .* tensors; expected a checkpoint of the same"):
        take_weights(SegmentationNetwork(small_config("two_networks")), tmp_path)


def test_the_finer_elements_of_a_new_network_begin_alike() -> None:
    network = starting_network(small_config("two_networks", subpixels=2), NOTHING)
    finer = network.config.subpixels
    widths = network.config.high_channels, network.tracks.low_channels
    for classifier, channels in zip((network.classifier, network.fast_classifier), widths, strict=True):
        feature = torch.randn(1, channels, 3, 4)
        logits = unfold(classifier(feature), finer)
        assert logits.shape[-2:] == (3 * finer, 4 * finer) and logits.std() > 0
        coarse = logits[..., ::finer, ::finer]
        assert torch.equal(logits, coarse.repeat_interleave(finer, dim=2).repeat_interleave(finer, dim=3))


def test_without_tensorboard_training_says_so_once_and_goes_on(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr("lowlat_seg_ros.training.curves._said", set())
    arguments = [*options, "--epochs", "1", "--out", str(tmp_path)]
    assert main(["train", "base", *arguments]) == 0 and main(["train", "propagation", *arguments]) == 0
    output = capsys.readouterr()
    assert (output.out + output.err).count("TensorBoard is not installed, so no curves are kept: pip install") == 1


def test_with_tensorboard_there_are_curves_and_pictures(options: list[str], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install -r requirements/training.txt")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main(["train", "base", *options, "--out", str(tmp_path)]) == 0
    events = EventAccumulator(str(tmp_path / "base" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("epoch/loss")] == [2, 4]
    assert len(events.Images("image, labels, predicted")) == 2


def test_the_shipped_recipe_names_no_validation_split() -> None:
    for path in (CHECKOUT / "config" / "training").iterdir():
        assert "hold_out" not in (yaml.safe_load(path.read_text()).get("data") or {})


# --- Cross-validation by drive ----------------------------------------------------------------------------------------


def test_each_drive_is_held_out_once_and_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, arguments = folds_of_two_drives(tmp_path)
    assert main([*arguments, *options]) == 0
    scores = json.loads((tmp_path / "run" / "folds.json").read_text())
    assert {drive: (fold["trained"], fold["held_out"]) for drive, fold in scores["folds"].items()} == {
        "a": (2, 3),
        "b": (3, 2),
    }
    for name in ("full", "small"):
        values = [fold[name]["mean_iou"] for fold in scores["folds"].values()]
        assert all(0 <= value <= 1 for value in values)
        assert scores["mean"][name] == pytest.approx(sum(values) / 2, abs=1e-4)
    assert scores["start"] == "nothing" and scores["model"]["classes"] and scores["torch"] == torch.__version__
    assert scores["recipe"]["base"]["epochs"] == 1  # 0.4 of 2, rounded up
    assert capsys.readouterr().out.splitlines()[-1].startswith("mean")
    for drive in "ab":
        recipe = torch.load(tmp_path / "run" / drive / "base" / STATE_FILE, weights_only=True)["recipe"]
        assert recipe["data"]["hold_out"] == f"drive {drive}"


def test_folds_are_gone_on_with_where_they_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, arguments = folds_of_two_drives(tmp_path)
    assert main([*arguments, *options]) == 0
    whole = (tmp_path / "run" / "folds.json").read_bytes()
    assert "already holds folds; expected --resume" in error_of([*arguments, *options], capsys)
    kept = tmp_path / "run" / "a" / "base" / STATE_FILE
    before = kept.stat().st_mtime_ns
    shutil.rmtree(tmp_path / "run" / "b")
    assert main([*arguments, *options, "--resume"]) == 0
    assert kept.stat().st_mtime_ns == before  # the fold that was done is not trained again
    assert (tmp_path / "run" / "folds.json").read_bytes() == whole


def test_folds_of_another_recipe_are_not_taken_for_this_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, arguments = folds_of_two_drives(tmp_path)
    assert main([*arguments, *options]) == 0
    before = (tmp_path / "run" / "folds.json").read_bytes()
    said = error_of([*arguments, *options, "--resume", "--epochs", "2"], capsys)
    assert "belongs to another run: its recipe.epochs is 1, not 2" in said
    assert (tmp_path / "run" / "folds.json").read_bytes() == before


def test_one_drive_makes_no_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, arguments = folds_of_two_drives(tmp_path)
    shutil.rmtree(tmp_path / "frames" / "b")
    shutil.rmtree(tmp_path / "labels" / "b")
    said = error_of([*arguments, *options], capsys)
    assert "all 3 frames are of the drive a; expected two drives, to hold one out" in said


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (["--from", "default"], "the folds would start from default, which may have seen the drives"),
        (["--hold-out", "last tenth"], "hold_out is last tenth; expected none, since each fold holds out a drive"),
    ],
)
def test_folds_see_nothing_of_what_they_are_scored_on(
    option: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, arguments = folds_of_two_drives(tmp_path)
    assert sentence in error_of([*arguments, *options, *option], capsys)


def folds_of_two_drives(folder: Path) -> tuple[list[str], list[str]]:
    """The options and the arguments of a run over two drives of three and two labelled frames."""
    options = write_setup(folder)
    recorded_drive(recorded_drive(folder, "a", 12, 0, labelled_every=4), "b", 12, 1, labelled_every=6)
    data = ["--frames", str(folder / "frames"), "--labels", str(folder / "labels"), "--consecutive"]
    return [*data, *options[2:]], ["train", "folds", "--out", str(folder / "run"), "--threads", "1"]

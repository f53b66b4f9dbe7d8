"""``lowlat-seg export``: our networks as ONNX files that our own loader takes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_networks import small_network
from stream_setup import moving_frames, wait_until

from lowlat_seg_ros import Segmenter, load_model
from lowlat_seg_ros.cli import main
from lowlat_seg_ros.commands import export
from lowlat_seg_ros.models.checkpoint import load_checkpoint, save_checkpoint
from lowlat_seg_ros.runtime import in_openvino

SIZE = (96, 64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(small_network(kind="two_networks", input_size=SIZE, subpixels=4), folder, "small")
    return folder


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    for number, frame in enumerate(moving_frames(3, size=(120, 80))):
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint: Path, frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("exported") / "ours.onnx"
    assert main(["export", str(checkpoint), "--out", str(file), "--frames", str(frames)]) == 0
    return file


def test_a_file_of_ours_says_what_the_checkpoint_says(checkpoint: Path, exported: Path) -> None:
    ours, theirs = load_model(str(checkpoint)), load_model(str(exported))
    assert theirs.classes == ours.classes and theirs.colours == ours.colours


def test_a_file_of_ours_answers_as_the_checkpoint_does(checkpoint: Path, exported: Path) -> None:
    ours, theirs = load_model(str(checkpoint)), load_model(str(exported))
    image = torch.from_numpy(moving_frames(1, size=SIZE)[0]).permute(2, 0, 1)[None]
    expected = ours(image)  # type: ignore[operator]  # a checkpoint's network is a module
    torch.testing.assert_close(theirs.answer(image, torch.empty(0)).logits, expected, rtol=1e-3, atol=1e-3)


def test_a_file_of_ours_labels_every_frame(exported: Path) -> None:
    with Segmenter(str(exported), propagation="copy") as segmenter:
        frames = moving_frames(3, size=SIZE)
        stamps = iter(range(1_000_000))
        wait_until(lambda: segmenter.segment(frames[0], next(stamps)).key_is_accurate, "the first answer")
        assert all(segmenter.segment(frame, next(stamps)).unlabelled_reason == "" for frame in frames)


def test_nothing_of_this_machine_is_in_the_file(exported: Path) -> None:
    written = exported.read_bytes()
    assert b"site-packages" not in written and str(Path(export.__file__).parents[2]).encode() not in written


def test_the_difference_is_told_and_one_that_float32_does_not_explain_is_refused(
    checkpoint: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = export.Comparison(frames=2, largest_difference=1e-5, rounding=1e-5, agreement=0.9999)
    monkeypatch.setattr(export, "onnx_bytes", lambda network: b"a file")
    command = ["export", str(checkpoint), "--out", str(tmp_path / "x.onnx"), "--frames", str(frames)]

    monkeypatch.setattr(export, "compare", lambda *arguments: small)
    assert main(command) == 0 and (tmp_path / "x.onnx").read_bytes() == b"a file"
    assert "differ from torch's by 1e-05 at most" in capsys.readouterr().out

    for difference in (1e-3, float("nan")):
        monkeypatch.setattr(export, "compare", lambda *arguments, d=difference: small._replace(largest_difference=d))
        (tmp_path / "x.onnx").unlink(missing_ok=True)
        assert main(command) == 1 and not (tmp_path / "x.onnx").exists()
        assert "by more than float32 explains; it was not written" in capsys.readouterr().err


def test_openvinos_own_files_are_the_same_network(
    checkpoint: Path, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both lie beside each other under the name that was given, and OpenVINO reads them."""
    file = tmp_path / "ours.xml"
    command = ["export", str(checkpoint), "--format", "openvino", "--frames", str(frames)]
    assert main([*command, "--out", str(file)]) == 0
    assert "labels agree on " in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.bin", "ours.xml"]
    openvino = in_openvino.library()
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    network = load_checkpoint(checkpoint)
    picture = export.normalised(moving_frames(1, size=SIZE)[0], network.config)
    found = torch.from_numpy(compiled(picture.numpy())[0])
    torch.testing.assert_close(found, network(picture), rtol=1e-3, atol=1e-3)

    assert main([*command, "--out", str(tmp_path / "ours.onnx")]) == 1
    assert "expected a name that ends in .xml" in capsys.readouterr().err


def test_either_a_file_or_a_calibration_is_written(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--out", "x.onnx", "--calibrate", "street"]):
        assert main(["export", str(checkpoint), *options]) == 1
        assert "expected one of --out, the file to write, and --calibrate" in capsys.readouterr().err


def test_nan_is_the_largest_difference() -> None:
    ones = [torch.tensor(np.array(values)) for values in ([1.0], [float("nan")], [3.0])]
    assert np.isnan(export.farthest(ones, [torch.zeros(1)] * 3))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["default", "--out", "x.pt"], "--out is x.pt; expected a name that ends in .onnx"),
        (["nowhere", "--out", "x.onnx"], "there is no checkpoint at 'nowhere'"),
    ],
)
def test_what_cannot_be_exported(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", *arguments]) == 1
    assert told in capsys.readouterr().err

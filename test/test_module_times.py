"""The table of module times: what is timed, how it is summed up, and that the command writes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from small_networks import small_config, small_network
from torch import Tensor

from lowlat_seg_ros.evaluation.module_times import CARRYING, FULL_NETWORK, WARM_UP_ROUNDS, main, measure, module_calls
from lowlat_seg_ros.models.checkpoint import save_checkpoint

ROWS = [
    "Lower part of the network, Sl",
    "Higher part of the network, Sh",
    "Classifier",
    FULL_NETWORK,
    "Adaptive schedule (deviation)",
    "Adaptive propagation",
    "Non-key frame",
]


class Clock:
    """Time that passes only where a call says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def advance_by(self, milliseconds: list[float]) -> Callable[[], None]:
        """A call that takes the next of these times, and the last one from then on."""

        def call() -> None:
            self.seconds += (milliseconds.pop(0) if len(milliseconds) > 1 else milliseconds[0]) / 1000

        return call


def test_each_row_is_the_median_of_its_rounds_and_a_share_of_the_full_network() -> None:
    clock = Clock()
    warm_up = [900.0] * WARM_UP_ROUNDS
    calls = {
        "part": clock.advance_by([*warm_up, 1.0, 3.0, 2.0, 100.0, 2.0]),
        FULL_NETWORK: clock.advance_by([*warm_up, 8.0]),
    }
    part, full = measure(calls, rounds=5, clock=clock)
    assert (part.module, part.median_ms, part.share) == ("part", pytest.approx(2.0), pytest.approx(0.25))
    assert (part.p10_ms, part.p90_ms) == (pytest.approx(1.4), pytest.approx(61.2))
    assert (full.median_ms, full.share) == (pytest.approx(8.0), 1.0)


def test_parts_take_turns_so_that_a_busy_machine_slows_all_alike() -> None:
    order: list[str] = []
    measure({"part": lambda: order.append("part"), FULL_NETWORK: lambda: order.append("full")}, rounds=4)
    assert order == ["part", "full"] * (WARM_UP_ROUNDS + 4)


def test_each_row_does_the_work_it_is_named_after() -> None:
    network = small_network()
    stem, schedule, kernels = "tracks.backbone.conv_stem", "deviation_predictor.reduce", "kernel_predictor.reduce"
    applied: list[str] = []
    for name in (stem, schedule, kernels, "tracks.high_head", "classifier", "fusion"):
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: applied.append(name))
    work: dict[str, list[str]] = {}
    with torch.inference_mode():
        for row, call in module_calls(network, (97, 65)).items():
            applied.clear()
            result = call()
            assert isinstance(result, Tensor)
            assert torch.isfinite(result).all()
            work[row] = list(applied)
    assert list(work) == ROWS
    assert list(work.values()) == [
        [stem],
        ["tracks.high_head"],
        ["classifier"],
        [stem, "tracks.high_head", "classifier"],
        [schedule],
        [kernels, "fusion"],
        [stem, kernels, schedule, "fusion", "classifier"],
    ]


def test_a_model_that_carries_logits_has_a_row_for_it_and_pays_for_it_on_every_frame() -> None:
    network = small_network(carrying="optical_flow", subpixels=2)
    with torch.inference_mode():
        calls = module_calls(network, (97, 65))
        assert list(calls) == [*ROWS[:-1], CARRYING, ROWS[-1]]
        carried, ordinary = calls[CARRYING](), calls["Non-key frame"]()
    assert isinstance(carried, Tensor) and isinstance(ordinary, Tensor)
    assert carried.shape == ordinary.shape == network.classify(torch.zeros(1, 12, 9, 13)).shape
    assert torch.isfinite(carried).all()


@pytest.mark.parametrize("kind", ["checkpoint", "description"])
def test_the_command_prints_and_writes_the_table(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, figures_file = tmp_path / "model", tmp_path / "times.json"
    if kind == "checkpoint":
        save_checkpoint(small_network(), model, "")
    else:
        model = model.with_suffix(".yaml")
        model.write_text(yaml.safe_dump(small_config().to_mapping()), encoding="utf-8")
    options = ["--model", str(model), "--size", "97x65", "--threads", "1", "--rounds", "3", "--json", str(figures_file)]
    assert main(options) == 0
    printed = capsys.readouterr().out
    figures = json.loads(figures_file.read_text(encoding="utf-8"))
    assert (figures["size"], figures["threads"], figures["rounds"]) == ([97, 65], 1, 3)
    assert [row["module"] for row in figures["modules"]] == ROWS
    full = figures["modules"][ROWS.index(FULL_NETWORK)]["median_ms"]
    for row in figures["modules"]:
        assert 0 < row["p10_ms"] <= row["median_ms"] <= row["p90_ms"]
        assert row["share"] == pytest.approx(row["median_ms"] / full)
        assert f"| {row['module']} | {row['median_ms']:.1f} |" in printed


def test_an_absent_model_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "no_such_model"]) == 1
    assert capsys.readouterr().err.startswith("module_times: there is no checkpoint at 'no_such_model'; expected")
    assert main(["--model", "no_such_model.yaml"]) == 1
    assert "no_such_model.yaml cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--size", "480"], ["--size", "0x5"], ["--threads", "0"], ["--rounds", "-1"]])
def test_a_wrong_option_says_what_was_expected(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(option)
    assert "expected" in capsys.readouterr().err

"""The parameters: one table, one file, one set of rules."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")

from small_networks import small_network

from lowlat_seg_ros.errors import ParameterError
from lowlat_seg_ros.ros.declarations import DECLARATIONS
from lowlat_seg_ros.ros.parameters import Settings
from lowlat_seg_ros.ros.presented_model import PresentedModel, presented
from lowlat_seg_ros.runtime.device import choose_device
from lowlat_seg_ros.runtime.threads import thread_counts
from lowlat_seg_ros.stream.key_frames import FeatureDifference, FixedInterval, PredictedDeviation

PARAMETER_FILE = Path(__file__).parents[1] / "config" / "seg.yaml"
DEFAULTS = {declaration.name: declaration.default for declaration in DECLARATIONS}


def settings(**changes: Any) -> Settings:
    defaults: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in DEFAULTS.items()}
    return Settings(**defaults).changed(changes)


def test_the_parameter_file_lists_every_parameter_with_its_default() -> None:
    (in_file,) = yaml.safe_load(PARAMETER_FILE.read_text())["/**"].values()
    assert in_file == DEFAULTS
    assert {name: type(value) for name, value in in_file.items()} == {name: type(v) for name, v in DEFAULTS.items()}


def test_every_declaration_has_a_setting_and_a_description() -> None:
    assert [field.name for field in fields(Settings)] == list(DEFAULTS)
    assert all(declaration.description for declaration in DECLARATIONS)


@pytest.mark.parametrize("declaration", DECLARATIONS, ids=lambda declaration: declaration.name)
def test_a_default_lies_in_its_range(declaration: Any) -> None:
    if declaration.allowed_range is not None:
        low, high = declaration.allowed_range
        assert low <= declaration.default <= high


def test_the_policy_takes_its_own_parameters() -> None:
    limits = {
        "minimum_interval": 2,
        "maximum_interval": 7,
        "minimum_key_period": 0.1,
        "maximum_key_period": 0.9,
        "idle_threshold": 0.01,
    }
    assert settings(policy="fixed_interval", interval=4).key_frame_policy() == FixedInterval(4)
    assert settings(
        policy="feature_difference", feature_difference_threshold=0.3, **limits
    ).key_frame_policy() == FeatureDifference(0.3, 2, 7, 0.1, 0.9, 0.01)
    assert settings(
        policy="predicted_deviation", deviation_threshold=0.2, **limits
    ).key_frame_policy() == PredictedDeviation(0.2, 2, 7, 0.1, 0.9, 0.01)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"policy": "never"},
            "policy is 'never'; expected one of predicted_deviation, feature_difference, fixed_interval",
        ),
        ({"minimum_interval": 9, "maximum_interval": 8}, "minimum_interval is 9 and maximum_interval 8"),
        ({"minimum_key_period": 1.0}, "minimum_key_period is 1.0 and maximum_key_period 0.5"),
        ({"cameras": []}, "cameras is empty"),
        ({"cameras": ["front", "rear", "front"]}, "cameras contains 'front' more than once"),
        ({"cameras": ["front camera"]}, "cameras contains 'front camera'; expected at most 100 letters"),
        ({"cameras": ["2nd"]}, "cameras contains '2nd'"),
        ({"cameras": ["/front"]}, "cameras contains '/front'"),
        ({"cameras": ["front/"]}, "cameras contains 'front/'"),
        ({"cameras": ["vörne"]}, "cameras contains 'vörne'"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ParameterError) as error:
        settings(**changes)
    assert sentence in str(error.value)


@pytest.mark.parametrize("names", [[""], ["front"], ["front", "rear_2"], ["vehicle/front", ""]])
def test_camera_names_that_can_be_part_of_a_topic_are_accepted(names: list[str]) -> None:
    assert settings(cameras=names).cameras == tuple(names)


def test_names_colours_and_size_are_the_models_unless_given() -> None:
    network = small_network()
    own = presented(network, network, settings())
    assert own == PresentedModel(network.config.input_size, network.classes, network.colours)
    names = [f"class {number}" for number in range(11)]
    given = settings(class_names=names, class_colours=["#0a141e"] * 11, input_size=[320, 240])
    shown = presented(network, network, given)
    assert shown.classes == tuple(names)
    assert shown.colours == ((10, 20, 30),) * 11
    assert shown.input_size == (320, 240)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"class_names": ["road", "sky"]}, "class_names has 2 entries; expected 11"),
        ({"class_colours": ["#000000"] * 3}, "class_colours has 3 entries; expected 11"),
        ({"class_colours": ["#00000g"] * 11}, "class_colours contains '#00000g'; expected \"#rrggbb\""),
        ({"input_size": [0, 100]}, "input_size is [0, 100]; expected a width and a height from 32 to 8192"),
        ({"input_size": [640]}, "input_size is [640]"),
        ({"input_size": [-640, 480]}, "input_size is [-640, 480]"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_in_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    network = small_network()
    with pytest.raises(ParameterError) as error:
        presented(network, network, settings(**changes))
    assert sentence in str(error.value)


def test_the_cpu_is_the_cpu() -> None:
    assert choose_device("cpu").type == "cpu"


def test_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [str(choose_device(name)) for name in ("auto", "cuda", "cuda:1")] == ["cuda:0", "cuda:0", "cuda:1"]
    with pytest.raises(ParameterError, match="device is 'cuda:2' but there are 2 CUDA devices"):
        choose_device("cuda:2")


def test_a_cuda_device_that_is_absent_is_no_silent_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ParameterError, match="device is 'cuda' but torch .* finds no CUDA device"):
        choose_device("cuda")


@pytest.mark.parametrize("device", ["gpu", "CPU", "cuda:", "cuda:-1", ""])
def test_another_device_is_refused(device: str) -> None:
    with pytest.raises(ParameterError, match="expected auto, cpu, cuda or cuda:N"):
        choose_device(device)


@pytest.mark.parametrize(
    ("cores", "given", "threads"),
    [
        (1, (0, 0), (1, 1)),
        (2, (0, 0), (1, 1)),
        (4, (0, 0), (2, 1)),
        (12, (0, 0), (8, 3)),
        (16, (2, 1), (2, 1)),
        (64, (0, 0), (8, 8)),
    ],
)
def test_threads_are_chosen_by_cores_unless_given(cores: int, given: tuple[int, int], threads: tuple[int, int]) -> None:
    assert thread_counts(*given, cores=cores) == threads

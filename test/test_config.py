"""Model descriptions: the two that come with the package, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_networks import MODELS, small_config

from lowlat_seg_ros.data.classes import CAMVID_CLASSES, CAMVID_COLOURS
from lowlat_seg_ros.models.config import (
    ConfigError,
    SharedBackboneConfig,
    TwoNetworksConfig,
    config_from_mapping,
    load_config,
)


def test_the_papers_model_is_section_4_of_the_paper() -> None:
    paper = load_config(MODELS / "paper.yaml")
    assert isinstance(paper.tracks, SharedBackboneConfig)
    assert (paper.tracks.backbone, paper.tracks.split, paper.tracks.output_stride) == ("resnet101", "layer3.2", 8)
    assert paper.tracks.skip_channels == 0
    assert paper.kernel_channels == paper.adapt_channels == paper.deviation_channels == paper.high_channels == 256
    assert (paper.kernel_size**2, paper.fusion, paper.subpixels) == (81, "concatenate", 1)
    assert (paper.class_count, paper.input_size) == (19, (2048, 1024))


def test_the_default_model_knows_camvids_classes() -> None:
    default = load_config(MODELS / "default.yaml")
    assert (default.classes, default.colours) == (CAMVID_CLASSES, CAMVID_COLOURS)
    assert default.input_size == (480, 360)
    assert isinstance(default.tracks, TwoNetworksConfig)


@pytest.mark.parametrize("name", ["default", "paper"])
def test_a_description_survives_being_written_and_read(name: str, tmp_path: Path) -> None:
    config = load_config(MODELS / f"{name}.yaml")
    assert config.name == name
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(config.to_mapping()), encoding="utf-8")
    assert load_config(path) == config


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", "", "a word"),
        ("subpixels", 0, "a whole number from 1 to"),
        ("high_channels", 96.0, "a whole number from 1 to"),
        ("high_channels", True, "a whole number from 1 to"),
        ("kernel_channels", "64", "a whole number from 1 to"),
        ("adapt_channels", -3, "a whole number from 1 to"),
        ("deviation_channels", None, "a whole number from 1 to"),
        ("deviation", "guess", "'convolution' or 'codes'"),
        ("kernel_size", 8, "an odd number"),
        ("kernel_size", 0, "an odd number"),
        ("kernel_size", 9.0, "an odd number"),
        ("kernels", "guess", "'convolution' or 'correlation'"),
        ("fusion", "sum", "'concatenate' or 'gated'"),
        ("input_size", 480, "a positive width and height"),
        ("input_size", [480], "a positive width and height"),
        ("input_size", [], "a positive width and height"),
        ("input_size", [480, 0], "a positive width and height"),
        ("mean", [127.0, 127.0], "three numbers"),
        ("mean", [127.0, 127.0, float("nan")], "three numbers"),
        ("std", [128.0, 128.0, 0.0], "three positive numbers"),
        ("classes", "Sky", "1 to 255 names, each once"),
        ("classes", [], "1 to 255 names, each once"),
        ("classes", ["Sky", "Sky"], "1 to 255 names, each once"),
        ("classes", ["Sky", ["Road"]], "1 to 255 names, each once"),
        ("classes", [f"class {index}" for index in range(256)], "1 to 255 names, each once"),
        ("colours", [[0, 0, 256]], r"a list of \[red, green, blue\] from 0 to 255"),
        ("colours", [[0, 0]], r"a list of \[red, green, blue\] from 0 to 255"),
        ("colours", "red", r"a list of \[red, green, blue\] from 0 to 255"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(field: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{field} is .*; expected {expected}"):
        config_from_mapping({**small_config().to_mapping(), field: value})


@pytest.mark.parametrize(
    ("kind", "field", "value", "expected"),
    [
        ("shared_backbone", "backbone", 50, "a word"),
        ("shared_backbone", "split", None, "a word"),
        ("shared_backbone", "output_stride", 12, "8, 16 or 32"),
        ("shared_backbone", "pyramid_bins", 6, "a list of at most 16 whole numbers"),
        ("shared_backbone", "pyramid_bins", [1, 0], "a list of at most 16 whole numbers"),
        ("shared_backbone", "pyramid_channels", 0, "a whole number from 1 to"),
        ("shared_backbone", "skip_channels", -1, "a whole number from 0 to"),
        ("shared_backbone", "skip_channels", "48", "a whole number from 0 to"),
        ("two_networks", "stride", 32, "4, 8 or 16"),
        ("two_networks", "low_backbone", "", "a word"),
        ("two_networks", "low_scale", 0, "a number from 0.125 to 4"),
        ("two_networks", "high_scale", float("nan"), "a number from 0.125 to 4"),
        ("two_networks", "low_channels", 0, "a whole number from 1 to"),
    ],
)
def test_a_wrong_value_of_the_tracks_is_named(kind: str, field: str, value: Any, expected: str) -> None:
    mapping = small_config(kind).to_mapping()
    with pytest.raises(ConfigError, match=rf"^{field} is .*; expected {expected}"):
        config_from_mapping({**mapping, "tracks": {**mapping["tracks"], field: value}})


@pytest.mark.parametrize("tracks", ["resnet101", {"backbone": "resnet101"}, {"kind": "three_networks"}])
def test_tracks_of_no_known_kind_are_refused(tracks: Any) -> None:
    with pytest.raises(ConfigError, match="expected (a mapping with a kind|one of shared_backbone, two_networks)"):
        config_from_mapping({**small_config().to_mapping(), "tracks": tracks})


def test_every_class_needs_a_colour() -> None:
    with pytest.raises(ConfigError, match="colours lists 2; expected one for each of 11 classes"):
        replace(small_config(), colours=((0, 0, 0), (1, 1, 1)))


def test_missing_and_unknown_entries_are_named() -> None:
    mapping = small_config().to_mapping()
    with pytest.raises(ConfigError, match="lacks fusion, kernel_size"):
        config_from_mapping({name: value for name, value in mapping.items() if name not in ("fusion", "kernel_size")})
    with pytest.raises(ConfigError, match="tracks of kind shared_backbone has unknown entries: stride"):
        config_from_mapping({**mapping, "tracks": {**mapping["tracks"], "stride": 8}})
    strange: dict[Any, Any] = {**mapping, "kernel_sizes": 9, None: 1, 7: 2}
    with pytest.raises(ConfigError, match="unknown entries: 7, None, kernel_sizes"):
        config_from_mapping(strange)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no model description"),
        (b"- a\n- b\n", "holds no model description"),
        (b"name: [unclosed", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"name: !!python/object/apply:os.system ['true']", "cannot be read"),
        (b"name: small", "lacks adapt_channels"),
    ],
)
def test_a_file_that_describes_no_model_is_refused_by_name(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as refusal:
        load_config(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent.yaml"):
        load_config(tmp_path / "absent.yaml")

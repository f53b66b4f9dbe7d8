"""A small file from anybody costs little, and ends as one clean sentence of its boundary's own error."""

from __future__ import annotations

import json
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from bag_parts import (
    chunk_record,
    compressed,
    definitions,
    encoded,
    image,
    labels,
    mcap,
    message_record,
    picture,
    record,
    write_bag_of,
)
from example_report import example_report
from foreign_networks import onnx_network
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_networks import small_network

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.commands.bag import bag_info
from lowlat_seg_ros.data.documents import DocumentError, parse_json, parse_yaml, read_yaml
from lowlat_seg_ros.data.image_file import read_rgb
from lowlat_seg_ros.data.png import is_cut_png
from lowlat_seg_ros.errors import Error, printable, shown, turning_all_into
from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.models.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from lowlat_seg_ros.models.config import ConfigError, load_config
from lowlat_seg_ros.replay.bags import open_bag
from lowlat_seg_ros.replay.comparison import compare
from lowlat_seg_ros.replay.decompression import zstd
from lowlat_seg_ros.replay.markdown import report_markdown
from lowlat_seg_ros.replay.profile import load_profile, reference_profile
from lowlat_seg_ros.replay.report import FORMAT
from lowlat_seg_ros.replay.report_files import read_document
from lowlat_seg_ros.runtime.device import choose_device
from lowlat_seg_ros.slow.description import read_description
from lowlat_seg_ros.slow.registry import load_model
from lowlat_seg_ros.training.plan import PlanError, load_plan
from lowlat_seg_ros.training.run_state import STATE_FILE, RunError, read_state

MEBIBYTE = 1 << 20
CPU_SECONDS, MEBIBYTES = 2.0, 200.0  # what the issue allows a file of less than a megabyte beyond a good one


@contextmanager
def costing_little() -> Iterator[None]:
    """Fails where what is done inside costs more than the issue allows; Linux alone forgets its greatest memory."""
    Path("/proc/self/clear_refs").write_text("5")
    before, began = memory("VmRSS"), time.process_time()
    yield
    assert time.process_time() - began < CPU_SECONDS
    assert memory("VmHWM") - before < MEBIBYTES


def memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def sentence(read: Callable[[], Any], kind: type[Error]) -> str:
    with costing_little(), pytest.raises(kind) as caught:
        read()
    told = str(caught.value)
    assert told.isprintable() and len(told) < 2000
    return told


# --- YAML and JSON ----------------------------------------------------------------------------------------------------


BILLION = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(10 * [f'*{old}'])}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD_YAML = {
    "aliases": (BILLION, "uses a YAML alias (*a)"),
    "nest": ("a: " + "[" * 20_000, "is nested more than 8 levels deep"),
    "nested keys": ("? " * 20_000, "is nested more than 8 levels deep"),
    "digits": ("a: " + "9" * 5000, "a number of 5000 digits"),
    "base 16": ("a: 0x" + "f" * 30_000, "a number of 30002 digits"),
    "base 60": ("a: " + ":".join(["59"] * 10_000), "a number of 29999 digits"),
    "tag": ("a: !!python/object/apply:os.system ['true']", "uses the YAML tag"),
    "twice": ("a: 1\na: 2", "the key 'a' stands twice"),
    "two documents": ("a: 1\n---\na: 2", "holds 2 documents"),
    "long": ("a" * 70_000, "is longer than the 64 KiB that it may have"),
    "unhashable": ("[]: 1", "unhashable"),
    "open": ("a: [1", "is no YAML"),
}


def test_a_file_is_measured_in_bytes_and_never_cut(tmp_path: Path) -> None:
    """Of two bytes a letter: fewer letters than the limit, and more bytes."""
    file = tmp_path / "long.yaml"
    file.write_text("classes:\n" + "- straße\n" * 8000, encoding="utf-8")
    assert "is longer than the 64 KiB" in sentence(lambda: read_yaml(file), DocumentError)


@pytest.mark.parametrize("name", BAD_YAML)
def test_yaml_that_is_not_read(name: str) -> None:
    content, told = BAD_YAML[name]
    assert told in sentence(lambda: parse_yaml(content, "mine.yaml"), DocumentError)


@pytest.mark.parametrize("name", BAD_YAML)
@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (read_description, Error),
        (load_config, ConfigError),
        (lambda path: load_plan(path, "base"), PlanError),
    ],
)
def test_each_boundary_has_its_one_error(
    tmp_path: Path, name: str, read: Callable[[Path], Any], kind: type[Error]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(BAD_YAML[name][0])
    assert "mine.yaml" in sentence(lambda: read(path), kind)


def test_yaml_is_read_as_pyyaml_reads_it_but_for_dates() -> None:
    content = "a: [1, -2, 1.5, 0x1f, 1e3, 1.0e3, .inf, true, off, ~, 'x: y']\n'b': {c: [], d: {}}\n3: \"q\\n\"\n"
    content += "e: |\n  two\n  lines\n"
    assert repr(parse_yaml(content, "it")) == repr(yaml.safe_load(content))
    assert parse_yaml("a: 2001-01-02", "it") == {"a": "2001-01-02"}
    assert parse_yaml("", "it") is None
    for path in (Path(__file__).parents[1] / "config").rglob("*.yaml"):
        assert read_yaml(path) == yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[" * 100_000, "is no JSON"),
        ("[" * 100 + "]" * 100, "is nested more than 20 levels deep"),
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ("1" * 5000, "is no JSON"),
        ("", "is no JSON"),
    ],
)
def test_json_that_is_not_read(content: str, told: str) -> None:
    assert told in sentence(lambda: parse_json(content, "mine.json"), DocumentError)


# --- Models, profiles, reports, training states -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(small_network(input_size=(64, 48)), folder, "For tests.")
    load_checkpoint(folder)  # what torch loads at its first network is not the file's cost
    return folder


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("high_channels", 10**9),
        ("high_channels", 10**400),
        ("kernel_size", 10**6 + 1),
        ("input_size", [10**9, 10**9]),
        ("mean", ["2001-01-01", 1, 1]),
        ("std", [10**400, 1, 1]),
        ("classes", [["a"]]),
        ("classes", ["\x1b[31m" * 1000, "b"]),
        ("name", {"a": 1}),
        ("tracks", {"kind": ["x"]}),
        ("tracks", {"kind": "two_networks", "pyramid_bins": [32] * 10_000}),
    ],
)
def test_a_description_of_a_monster_is_refused(tmp_path: Path, saved: Path, name: str, value: Any) -> None:
    description = {**yaml.safe_load((saved / "model.yaml").read_text()), name: value}
    (tmp_path / "model.yaml").write_text(json.dumps(description))
    (tmp_path / "weights.safetensors").write_bytes((saved / "weights.safetensors").read_bytes())
    sentence(lambda: load_checkpoint(tmp_path), CheckpointError)


@pytest.mark.parametrize(
    "entry", ["[" * 100_000, '{"name": ' * 5000, "9" * 5000, "\ud7ff", '{"name": "' + "x" * 60_000 + '"}']
)
def test_hostile_metadata_of_weights(tmp_path: Path, saved: Path, entry: str) -> None:
    (tmp_path / "model.yaml").write_text((saved / "model.yaml").read_text())
    metadata = {"format": "lowlat_seg_ros checkpoint", "version": "1", "model": entry}
    header = json.dumps({"__metadata__": metadata}).encode()
    (tmp_path / "weights.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    sentence(lambda: load_checkpoint(tmp_path), CheckpointError)


def test_weights_that_overflow_when_folded(tmp_path: Path, saved: Path) -> None:
    tensors = load_file(saved / "weights.safetensors")
    name = next(name for name in tensors if name.endswith("bn1.running_var"))
    tensors[name].fill_(-1.0)
    with safe_open(saved / "weights.safetensors", framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, tmp_path / "weights.safetensors", metadata)
    (tmp_path / "model.yaml").write_text((saved / "model.yaml").read_text())
    assert "overflow" in sentence(lambda: load_checkpoint(tmp_path), CheckpointError)


@pytest.mark.parametrize("value", ["1" + "0" * 400, "1e400", "NaN", '"5"', "[1]", "true", "-1", "null", "0.0"])
def test_a_profile_with_what_is_no_time(tmp_path: Path, value: str) -> None:
    path = tmp_path / "profile.json"
    profile = reference_profile().to_mapping()
    path.write_text(json_text(profile).replace(f'"fast_ms": {profile["fast_ms"]}', f'"fast_ms": {value}'))
    assert "profile.json" in sentence(lambda: load_profile(path), Error)


@pytest.mark.parametrize("part", ["cameras", "systems", "counts", "latency_ms", "topic", "name", "p50", "frames_in"])
@pytest.mark.parametrize("value", ["7", '"x"', "null", "[[]]", "{}", "1" + "0" * 400])
def test_a_report_that_lacks_a_part_is_compared_with_in_one_sentence(tmp_path: Path, part: str, value: str) -> None:
    report = json.loads(json_text(example_report(frames=4).to_mapping()))
    path = tmp_path / "report.json"
    path.write_text(_with_other_value(json.dumps(report), part, value))
    with costing_little():
        try:
            compare(read_document(path, (FORMAT,)), report)
        except Error as error:
            assert str(error).isprintable()


def _with_other_value(document: str, name: str, value: str) -> str:
    start = document.index(f'"{name}": ')
    return f'{document[:start]}"{name}": {value}, "was_{name}": {document[start + len(name) + 4 :]}'


@pytest.mark.parametrize(
    "state", [[1, 2], {}, {"recipe": {}}, {"recipe": {"seed": 1}, "network": 3}, "words", {"recipe": {"seed": 1}}]
)
def test_a_training_state_that_is_none(tmp_path: Path, state: Any) -> None:
    torch.save(state, tmp_path / STATE_FILE)
    assert STATE_FILE in sentence(lambda: read_state(tmp_path, {"seed": 1}), RunError)


def test_a_training_state_that_is_a_bomb(tmp_path: Path) -> None:
    torch.save({"recipe": torch.zeros(20 * MEBIBYTE)}, tmp_path / "large")
    with zipfile.ZipFile(tmp_path / "large") as whole, zipfile.ZipFile(tmp_path / STATE_FILE, "w", 8) as packed:
        for entry in whole.namelist():
            packed.writestr(entry, whole.read(entry))
    assert (tmp_path / STATE_FILE).stat().st_size < MEBIBYTE
    assert STATE_FILE in sentence(lambda: read_state(tmp_path, {"seed": 1}), RunError)


@pytest.mark.parametrize("device", ["cuda:99999999999999999999", "cuda:-1", "cuda:٣", "\x1b[31m" * 1000, "tpu", ""])
def test_a_device_that_is_none(device: str) -> None:
    sentence(lambda: choose_device(device), Error)


# --- Bags -------------------------------------------------------------------------------------------------------------


def read_all(path: Path) -> tuple[int, list[str]]:
    with open_bag(path) as bag:
        lines = bag_info(bag)
        frames = sum(1 for camera in bag.camera_topics for _ in bag.frames(camera))
        return frames, [*lines, *bag.problems]


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_one_chunk_of_millions_of_records(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "drive.mcap"
    bomb = chunk_record(record(7, b"") * 3_000_000, compression)
    path.write_bytes(mcap(definitions(["/image"]) + bomb + message_record(1, image(0))))
    assert path.stat().st_size < MEBIBYTE
    with costing_little():
        frames, lines = read_all(path)
    assert frames == 1
    assert any("far more records than a file of its length has messages" in line for line in lines)


def test_the_sum_of_all_chunks_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    one = message_record(1, image(0)) + record(9, bytes(60_000_000))
    content = definitions(["/image"]) + message_record(1, image(1)) + 40 * chunk_record(one, "zstd")
    path.write_bytes(mcap(content))
    assert path.stat().st_size < MEBIBYTE
    with costing_little():
        frames, lines = read_all(path)
    assert frames > 1
    assert any("claim to unpack to far more than it can hold" in line for line in lines)


@pytest.mark.parametrize("suffix", [".mcap.zstd", ".db3.zstd"])
def test_a_compressed_file_may_not_fill_the_disk(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"drive{suffix}"
    path.write_bytes(zstd.compress(bytes(50_000_000)) * 100)
    assert path.stat().st_size < MEBIBYTE
    told = sentence(lambda: read_all(path), Error)
    assert "it unpacks to more than" in told


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace("message_count: 2", "message_count: .inf"),
        lambda content: content.replace("message_count: 2", "message_count: 1" + "0" * 400),
        lambda content: content.replace("message_count: 2", "message_count: 2001-01-01"),
        lambda content: content + BILLION,
        lambda content: "[" * 100_000,
        lambda content: "- " * 300_000,
        lambda content: "a: [" + "x, " * 300_000 + "]",
        lambda content: "rosbag2_bagfile_information: 7",
    ],
)
def test_hostile_metadata_of_bags(tmp_path: Path, change: Callable[[str], str]) -> None:
    bag = write_bag_of(tmp_path / "drive", [image(0), image(1)])
    metadata = bag / "metadata.yaml"
    metadata.write_text(change(metadata.read_text()))
    with costing_little():
        frames, lines = read_all(bag)
    assert frames == 2
    assert any("metadata.yaml is damaged" in line for line in lines)


@pytest.mark.parametrize("kind", [b"tEXt", b"IDAT", b"PLTE", b"eXIf", b"IEND"])
def test_a_png_whose_chunk_claims_gigabytes(tmp_path: Path, kind: bytes) -> None:
    """OpenCV fills that memory before it looks: 2.6 s for five hundred bytes."""
    whole = encoded(picture(0), ".png")
    bomb = whole[:33] + struct.pack(">I", 2**31 - 1) + kind + whole[33:]
    (tmp_path / "a.png").write_bytes(bomb)
    assert "a.png" in sentence(lambda: read_rgb(tmp_path / "a.png"), Error)
    with costing_little():
        frames, lines = read_all(write_bag_of(tmp_path / "drive", [compressed(0, bomb, "png"), image(0)]))
    assert frames == 1 and any("the picture is cut short or damaged" in line for line in lines)
    (tmp_path / "whole.png").write_bytes(whole + b"trailer")
    assert np.array_equal(read_rgb(tmp_path / "whole.png"), picture(0))


@pytest.mark.parametrize("size", [(10**10,), (2**31, 2**31), (40_000, 40_000)])
def test_an_onnx_file_that_asks_for_all_of_the_memory(tmp_path: Path, size: tuple[int, ...]) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = onnx.load(onnx_network(tmp_path / "it.onnx", {"classes": ["a", "b", "c"]}, classes=3))
    shape = onnx.numpy_helper.from_array(np.array(size), "size")
    model.graph.initializer.append(shape)
    nodes = [onnx.helper.make_node("ConstantOfShape", ["size"], ["much"])]
    nodes += [
        onnx.helper.make_node("ReduceSum", ["much"], ["sum"]),
        onnx.helper.make_node("Add", ["logits", "sum"], ["end"]),
    ]
    model.graph.node.extend(nodes)
    model.graph.output[0].name = "end"
    onnx.save(model, tmp_path / "it.onnx")
    assert "it.onnx has a tensor of" in sentence(lambda: load_model(str(tmp_path / "it.onnx")), Error)


HOSTILE_NAME = "/a\x1b[31m\n- <img src=x onerror=alert(1)> [x](javascript:y) | `b`"


def test_names_cannot_write_to_the_terminal_or_the_page(
    tmp_path: Path, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "drive.mcap"
    path.write_bytes(mcap(definitions([HOSTILE_NAME]) + message_record(1, image(0, frame_id="f\x1b[0m\n"))))
    assert main(["bag", "info", str(path)]) == 0
    told = capsys.readouterr().out
    assert all(line.isprintable() for line in told.split("\n"))
    assert "\\x1b[31m\\n" in told
    assert main(["label", str(path), "--model", str(saved), "--out", str(tmp_path / "o\x1b[31mut"), "--labels"]) == 0
    both = capsys.readouterr()
    assert all(line.isprintable() for line in f"{both.out}{both.err}".split("\n"))
    report = json.loads(json_text(example_report(frames=4).to_mapping()))
    report["bag"]["name"] = report["cameras"][0]["topic"] = report["model"]["classes"][0] = HOSTILE_NAME
    report["bag"]["problems"] = [HOSTILE_NAME]
    markdown = report_markdown(report)
    assert "\x1b" not in markdown and "<img" not in markdown and "](" not in markdown.replace("\\](", "")
    assert markdown.count("&lt;img") == 4


def test_a_file_name_that_is_no_utf8_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_bag_of(tmp_path / "dri\udcffve", [image(0), labels(0)])
    assert main(["bag", "info", str(bag)]) == 0
    assert "dri\\udcffve" in capsys.readouterr().out
    assert '"dri\\udcffve"' in json_text({"name": bag.name})


def test_what_is_quoted_is_cut_and_on_one_line() -> None:
    assert len(shown("x" * 10_000)) < 100 and len(printable("\x1b" * 10_000)) <= 301
    assert shown(1 << 100_000) == "a very large int"
    assert shown(["\n\x1b"]) == "['\\n\\x1b']"
    with pytest.raises(Error, match="it cannot be read: RecursionError"), turning_all_into(Error, "it cannot be read"):
        raise RecursionError


def test_a_bmp_that_points_elsewhere_for_its_pixels_is_refused(tmp_path: Path) -> None:
    """OpenCV and Pillow begin at different places then, and both report success."""
    whole = encoded(picture(0), ".bmp")
    (tmp_path / "whole.bmp").write_bytes(whole)
    assert np.array_equal(read_rgb(tmp_path / "whole.bmp"), picture(0))
    for start in (0, 10, 53, len(whole), 2**31):
        (tmp_path / "a.bmp").write_bytes(whole[:10] + struct.pack("<I", start) + whole[14:])
        assert "a.bmp" in sentence(lambda: read_rgb(tmp_path / "a.bmp"), Error)


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"BM", b"\xff\xd8", b"hello"])
def test_a_few_bytes_are_no_cut_png(tmp_path: Path, content: bytes) -> None:
    assert not is_cut_png(content)
    (tmp_path / "a.png").write_bytes(content)
    assert "a.png" in sentence(lambda: read_rgb(tmp_path / "a.png"), Error)


def test_metadata_of_an_onnx_file_that_are_no_utf8(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    path = onnx_network(tmp_path / "it.onnx", {"classes": ["a", "b", "c"]}, classes=3)
    path.write_bytes(path.read_bytes().replace(b"classes", b"cl\xff\xfeses"))
    assert "it.onnx" in sentence(lambda: load_model(str(path)), Error)
    assert "EP Error" not in capfd.readouterr().out

"""Parameter files of every kind of wrong: each is a sentence, and none is left out in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy")

import rclpy

from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.ros.node import SegmentationNode
from lowlat_seg_ros.ros.parameter_files import unheard_files

NODE = "/car/lowlat_seg"


def heard(file: Path) -> str:
    return "\n".join(unheard_files(["seg_node", "--ros-args", "--params-file", str(file), "-p", "a:=b"], NODE))


@pytest.mark.parametrize(
    "section",
    [
        "/**:",
        "/car/lowlat_seg:",
        "car/lowlat_seg:",
        "/*/lowlat_seg:",
        "/car/*:",
        "/**/lowlat_seg:",
        "car:\n  lowlat_seg:",
        "/other: {ros__parameters: {model: a}}\n/**:",
    ],
)
def test_a_file_for_this_node_is_heard(tmp_path: Path, section: str) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(f"{section} {{ros__parameters: {{model: b}}}}\n")
    assert heard(file) == ""


def test_a_list_as_ros2_launch_writes_it_is_heard(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(b"/**:\n  ros__parameters:\n    cameras: !!python/tuple\n    - front\n    - rear\n")
    assert heard(file) == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it has no section; expected one for /** or /car/lowlat_seg"),
        (b"# nothing\n", "it has no section"),
        (b"hello\n", "it has no section"),
        (b"lowlat_seg: {ros__parameters: {model: a}}", "its sections are for '/lowlat_seg'"),
        (b"/car/lowlat_sge: {ros__parameters: {model: a}}", "its sections are for '/car/lowlat_sge'"),
        (b"/car/lowlat_seg/front: {ros__parameters: {model: a}}", "'/car/lowlat_seg/front'"),
        (b"/*: {ros__parameters: {model: a}}", "its sections are for '/*'"),
        (b"/carXlowlat_seg: {ros__parameters: {model: a}}", "nothing of the parameter file"),
        (b"\xff\xfe\x00\x01", "cannot be read"),
        (b"\x1b[31m: {ros__parameters: {a: b}}", "is no YAML"),
    ],
)
def test_one_that_says_nothing_to_it_is_a_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(content)
    assert words in heard(file) and heard(file).isprintable()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("cameras: []", "cameras is []; expected a list, each a string"),
        ("class_names: []", "class_names is []; expected a list, each a string"),
        ("input_size: []", "input_size is []; expected a list, each a whole number"),
        ("input_size: [64.0, 48.0]", "input_size is "),
        ("image_timeout: []", "image_timeout is []; expected a number with a decimal point"),
        ("image_timeout: 3", "image_timeout is 3; expected a number with a decimal point"),
        ("image_timeout: .nan", "image_timeout is nan; expected a number"),
        ("image_timeout: null", "image_timeout is 'null'; expected a number"),
        ("interval: 99999999999999999999", "interval is 1e+20; expected a whole number"),
        ("low_latency: 'true'", "low_latency is 'true'; expected true or false"),
        ("autostart: 'false'", "autostart is 'false'; expected true or false"),
        (r'policy: "\x1b[31m\n"', r"policy is '\x1b[31m\n'; expected one of"),
        (f"cameras: [{'a' * 300}]", "…; expected at most 100 letters"),
        ("qos_overrides: {/diagnostics: {publisher: {depth: 0.5}}}", "qos_overrides of /diagnostics cannot be used"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(tmp_path: Path, parameters: str, words: str) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(f"/**: {{ros__parameters: {{{parameters}}}}}\n")
    context = rclpy.Context()
    context.init(args=["--ros-args", "--params-file", str(file)])
    try:
        with pytest.raises(Error) as raised:
            _prepare(context)
    finally:
        context.try_shutdown()
    assert words in str(raised.value) and str(raised.value).isprintable()


def _prepare(context: rclpy.Context) -> None:
    node = SegmentationNode(context=context)
    try:
        node.prepare()
    finally:
        node.stop()
        node.destroy_node()

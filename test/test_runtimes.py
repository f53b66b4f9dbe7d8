"""Where each track's layers run: labels, what is chosen, the cache, and the end of a slow run."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from foreign_networks import NAMES, onnx_network
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from small_networks import small_network
from stream_setup import PlainSlowNetwork, moving_frames
from test_slow_track import job
from torch import Tensor

from lowlat_seg_ros import Segmenter
from lowlat_seg_ros.errors import ParameterError
from lowlat_seg_ros.evaluation.per_frame_network import PerFrameNetwork
from lowlat_seg_ros.fast.frames import Answer
from lowlat_seg_ros.models.checkpoint import load_checkpoint, save_checkpoint
from lowlat_seg_ros.models.inference import prepare_for_inference
from lowlat_seg_ros.models.placing import Placer
from lowlat_seg_ros.models.tracks import TrackLayers
from lowlat_seg_ros.runtime import cache, machine, onnx_program
from lowlat_seg_ros.runtime.cache import SUFFIX, cached
from lowlat_seg_ros.runtime.choice import AS_LOADED, RUNTIMES, Choice, Place, Wish, choose, preferred, refusal_here
from lowlat_seg_ros.runtime.onnx_program import OnnxFile, written
from lowlat_seg_ros.runtime.runtime import InThread
from lowlat_seg_ros.runtime.stopping import Stop, stop_of_this_thread, stopped_by
from lowlat_seg_ros.slow.registry import load_model
from lowlat_seg_ros.stream.networks import Wishes, load_networks, place_slow
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

CPU = torch.device("cpu")
ELSEWHERE = ["openvino", "onnxruntime"]
LEAST_EQUAL = 0.999
SIZE = (96, 64)


def wishes(runtime: str, precision: str = "auto") -> Wishes:
    return Wishes(Wish("fast", runtime, precision), Wish("slow", runtime, precision))


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this file's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "lowlat_seg_ros"


@pytest.fixture(scope="module", params=["two_networks", pytest.param("shared_backbone", marks=pytest.mark.slow)])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(small_network(kind=request.param, input_size=SIZE), folder, "small")
    return str(folder)


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this CPU one of these instruction sets alone."""

    def force(*names: str) -> None:
        monkeypatch.setattr(machine, "cpu_features", lambda: frozenset(names))

    return force


# --- labels -----------------------------------------------------------------------------------------------------------


def labels_in(runtime: str, model: str, frames: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Of Sl alone and of the full network."""
    network = load_networks(model, model, CPU, wishes(runtime, "fp32")).fast
    single: Any = network
    ways = PerFrameNetwork(single, single.forward_fast), PerFrameNetwork(single, single)
    return np.stack([label(frame) for label in ways for frame in frames])


@pytest.mark.slow
@pytest.mark.numeric
@pytest.mark.parametrize("runtime", ELSEWHERE)
def test_labels_are_those_of_torch(runtime: str, checkpoint: str) -> None:
    """Of both kinds of networks, on a picture with something in it."""
    frames = moving_frames(2, size=SIZE)
    same = labels_in(runtime, checkpoint, frames) == labels_in("torch", checkpoint, frames)
    assert same.mean() >= LEAST_EQUAL


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ELSEWHERE)
def test_an_input_of_one_size_for_two_grids_is_no_mistake(runtime: str) -> None:
    """Two image sizes whose halves round to one: what was brought there for the one does not serve the other."""
    for size in ((96, 64), (97, 65)):
        network = prepare_for_inference(small_network(kind="two_networks", input_size=size))
        placed, _, _ = Placer(network, CPU).placed(*wishes(runtime, "fp32"))
        image = torch.from_numpy(moving_frames(1, size=size)[0]).permute(2, 0, 1)[None]
        for found, expected in (
            (placed(image), network(image)),
            (placed.forward_fast(image), network.forward_fast(image)),
        ):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.numeric
@pytest.mark.parametrize("runtime", ELSEWHERE)
def test_the_shipped_models_labels_are_those_of_torch(runtime: str) -> None:
    from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

    frames = [SyntheticStreet(frame_count=4)[index].image for index in range(4)]
    same = labels_in(runtime, "default", frames) == labels_in("torch", "default", frames)
    assert same.mean() >= LEAST_EQUAL


@pytest.mark.numeric
def test_a_stream_of_frames_is_labelled_in_another_runtime(checkpoint: str) -> None:
    frames = [(frame, number) for number, frame in enumerate(moving_frames(3, size=(120, 80)))]

    def results(fast: str, slow: str) -> list[SegmentationResult]:
        with Segmenter(checkpoint, fast_model=checkpoint, fast_runtime=fast, slow_runtime=slow) as segmenter:
            assert segmenter.segment(*frames[0]).unlabelled_reason == ""
            return [result for _, result in segmenter.frames(frames)]

    elsewhere, here = results("openvino", "onnxruntime"), results("torch", "torch")
    assert all(result.unlabelled_reason == "" and not result.warnings for result in elsewhere)
    same = [there.labels == expected.labels for there, expected in zip(elsewhere, here, strict=True)]
    assert np.mean(same) >= LEAST_EQUAL


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ELSEWHERE)
def test_a_file_of_somebody_else_runs_there_too(runtime: str, tmp_path: Path) -> None:
    file = onnx_network(tmp_path / "theirs.onnx", {"classes": NAMES})
    image = torch.from_numpy(moving_frames(1, size=(64, 48))[0]).permute(2, 0, 1)[None]
    found = [
        load_networks(str(file), "default", CPU, Wishes(Wish("fast", "torch"), Wish("slow", wanted))).slow
        for wanted in ("auto", runtime)
    ]
    here, there = (network.answer(image, torch.empty(0)).logits for network in found)
    torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-4)


def test_a_file_of_somebody_else_stays_in_onnxruntime_by_default(tmp_path: Path) -> None:
    theirs = load_model(str(onnx_network(tmp_path / "theirs.onnx", {"classes": NAMES})))
    network, choice = place_slow(theirs, Wish("slow"), CPU)
    assert network is theirs
    assert choice.in_words() == (
        "the slow track runs in onnxruntime fp32 (not in torch fp32: an ONNX file does not run in torch)"
    )


def test_layers_are_written_in_inference_mode_too() -> None:
    """As they are where a camera's first frame comes, and the cache could not be written."""
    network = prepare_for_inference(small_network(kind="two_networks", input_size=SIZE))
    layers = TrackLayers(network.tracks, "low", (8, 12))
    with torch.inference_mode():
        file = written(layers, (1, 3, 32, 48))
    onnx.checker.check_model(onnx.load_from_string(file))


# --- what is chosen ---------------------------------------------------------------------------------------------------


def test_by_default_a_network_is_the_one_that_was_loaded(checkpoint: str) -> None:
    loaded = load_checkpoint(checkpoint)
    networks = load_networks(loaded, "default", CPU)
    assert networks.slow is loaded and networks.fast is loaded
    assert networks.fast_choice.place == networks.slow_choice.place == AS_LOADED == ("torch", "fp32")


def test_by_default_no_other_runtime_is_imported_and_the_cache_stays_empty(checkpoint: str, tmp_path: Path) -> None:
    program = f"""
import sys
import numpy as np
from lowlat_seg_ros import Segmenter
with Segmenter({checkpoint!r}, fast_model={checkpoint!r}) as segmenter:
    segmenter.segment(np.zeros((48, 64, 3), np.uint8), 0)
print(sorted({{"openvino", "openvino_telemetry", "onnx", "onnxruntime", "tensorrt"}}.intersection(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.stdout == "[]\n" and not list(tmp_path.iterdir()), done.stderr


def test_auto_in_single_precision_leaves_bf16_out(features: Callable[..., None]) -> None:
    features("avx512f", "avx512_bf16")
    assert choose(Wish("slow", "auto"), lambda place: "").place == Place("openvino", "fp32")


def test_bf16_is_the_slow_tracks_where_the_cpu_has_products_of_it(features: Callable[..., None]) -> None:
    def chosen(track: Any) -> Choice:
        return choose(Wish(track, "auto", "auto"), lambda place: refusal_here(place, CPU))

    features("avx2")
    without = chosen("slow")
    assert without.place.precision == "fp32" and any("no bf16 products" in reason for reason in without.reasons)
    for name in ("avx512_bf16", "amx_bf16", "bf16"):
        features("avx512f", name)
        assert chosen("slow") == Choice("slow", Place("openvino", "bf16"))
        assert chosen("fast").place == Place("openvino", "fp32")


def test_a_precision_without_its_instructions_is_refused_in_a_sentence(features: Callable[..., None]) -> None:
    features("avx2")
    with pytest.raises(ParameterError, match="'bf16' cannot serve: .*no bf16 products"):
        choose(Wish("slow", "auto", "bf16"), lambda place: refusal_here(place, CPU))


def test_a_missing_runtime_is_left_out_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ELSEWHERE else found(name))
    left = choose(Wish("fast", "auto"), lambda place: refusal_here(place, CPU))
    assert left.place == AS_LOADED
    assert "openvino is not installed (type: pip install 'lowlat-seg-ros[openvino]')" in left.in_words()
    for runtime in ELSEWHERE:
        with pytest.raises(ParameterError, match=f"fast_runtime '{runtime}' .* cannot serve: .*is not installed"):
            choose(Wish("fast", runtime), lambda place: refusal_here(place, CPU))


def test_layers_that_cannot_be_brought_there_stay_in_torch(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> bytes:
        raise ValueError("no such operator")

    monkeypatch.setattr(onnx_program, "cached", fail)
    networks = load_networks(checkpoint, checkpoint, CPU, wishes("auto"))
    assert networks.fast_choice.place == AS_LOADED and "no such operator" in networks.fast_choice.in_words()
    with pytest.raises(ParameterError, match="cannot serve: .*the layers cannot be brought there: no such operator"):
        load_networks(checkpoint, checkpoint, CPU, wishes("openvino", "fp32"))


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (("tensorflow", "auto"), "slow_runtime is 'tensorflow'; expected one of auto, torch, openvino"),
        (("auto", "fp64"), "slow_precision is 'fp64'; expected one of auto, fp32"),
        (("auto", "int8"), "int8 takes a calibration, which no network has yet"),
        (("onnxruntime", "bf16"), "onnxruntime has no bf16"),
        (("torch", "fp16"), "torch has no fast fp16 on a CPU"),
        (("tensorrt", "auto"), "tensorrt runs on a GPU, and the device is cpu"),
    ],
)
def test_what_cannot_serve_is_one_sentence(wish: tuple[str, str], reason: str) -> None:
    with pytest.raises(ParameterError) as refused:
        choose(Wish("slow", *wish), lambda place: refusal_here(place, CPU))
    assert reason in str(refused.value) and "\n" not in str(refused.value)


def test_a_network_of_another_library_says_that_it_stays_in_torch(checkpoint: str) -> None:
    class TheirsAlone:
        classes, colours, head, own_fast_network = ("a",), ((0, 0, 0),), None, None

    theirs: Any = TheirsAlone()
    for wish in (Wish("slow"), Wish("slow", "auto", "auto")):
        network, choice = place_slow(theirs, wish, CPU)
        assert network is theirs and choice.place == AS_LOADED
    with pytest.raises(ParameterError, match="this network runs in torch fp32 alone"):
        place_slow(theirs, Wish("slow", "openvino"), CPU)


def test_every_place_is_preferred_once() -> None:
    for track in ("fast", "slow"):
        places = preferred(track)
        assert len(set(places)) == len(places) and AS_LOADED in places


# --- the cache --------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lowlat_seg_ros"


class Maker:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> bytes:
        self.count += 1
        return b"made " * 1000


def test_what_is_made_is_made_once(own_cache: Path) -> None:
    make = Maker()
    assert [cached("layers", ["weights"], ["torch"], make) for _ in range(3)] == [b"made " * 1000] * 3
    assert make.count == 1


def test_other_weights_another_version_or_another_cpu_are_another_entry(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Maker()
    cached("layers", ["weights"], ["torch"], make)
    cached("layers", ["other weights"], ["torch"], make)
    monkeypatch.setattr(cache, "version", lambda package: "99")
    cached("layers", ["weights"], ["torch"], make)
    monkeypatch.setattr(cache, "cpu_model", lambda: "another CPU")
    cached("layers", ["weights"], ["torch"], make)
    assert make.count == 4


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda whole: whole[:-1], id="cut short"),
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(lambda whole: whole[:500] + b"?" + whole[501:], id="one byte changed"),
        pytest.param(lambda whole: b"something else", id="of another program"),
    ],
)
def test_a_broken_entry_is_made_again(own_cache: Path, damage: Callable[[bytes], bytes]) -> None:
    make = Maker()
    cached("layers", [], [], make)
    (file,) = own_cache.glob(f"*{SUFFIX}")
    file.write_bytes(damage(file.read_bytes()))
    assert cached("layers", [], [], make) == b"made " * 1000
    assert cached("layers", [], [], make) == b"made " * 1000
    assert make.count == 2


def test_where_nothing_can_be_written_it_is_made_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    make = Maker()
    assert [cached("layers", [], [], make) for _ in range(2)] == [b"made " * 1000] * 2
    assert make.count == 2 and "the cache cannot be written" in caplog.text


def test_the_entry_that_was_used_least_lately_goes_first(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_ENTRIES", 2)
    for number, name in enumerate(("first", "second", "third")):
        cached(name, [], [], Maker())
        (file,) = own_cache.glob(f"{name}-*")
        os.utime(file, (number, number))
    cached("fourth", [], [], Maker())
    assert sorted(file.name.partition("-")[0] for file in own_cache.iterdir()) == ["fourth", "third"]


@pytest.mark.slow
def test_two_processes_that_make_the_same_entry_at_once_leave_one_whole(own_cache: Path) -> None:
    program = """
import sys
from lowlat_seg_ros.runtime.cache import cached
sys.stdin.readline()
for _ in range(200):
    content = cached("layers", [], [], lambda: b"made " * 100_000)
    assert content == b"made " * 100_000
    for file in __import__("lowlat_seg_ros.runtime.cache").runtime.cache.cache_folder().glob("*.cached"):
        file.unlink(missing_ok=True)
cached("layers", [], [], lambda: b"made " * 100_000)
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=150)
        assert process.returncode == 0 and "broken" not in errors, errors
    assert [file.suffix for file in own_cache.iterdir()] == [SUFFIX]


# --- a guest ----------------------------------------------------------------------------------------------------------


def test_a_stop_cancels_what_runs_and_what_would_begin() -> None:
    stop, cancelled = Stop(), threading.Event()
    with stopped_by(stop):
        assert stop_of_this_thread() is stop
        with stop.cancelling(cancelled.set):
            stop.set()
        assert cancelled.is_set()
        with pytest.raises(RuntimeError, match="closing"), stop.cancelling(cancelled.set):
            raise AssertionError("expected it not to begin")
    assert stop_of_this_thread() is None


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ELSEWHERE)
def test_a_slow_run_ends_within_the_second_that_closing_promises(runtime: str, tmp_path: Path) -> None:
    """Of a network of half a minute; its thread is nice, and so is whatever the runtime computes in."""
    run = InThread(OnnxFile(endless_onnx(tmp_path / "endless.onnx")), RUNTIMES[runtime], "fp32")

    class Endless(PlainSlowNetwork):
        def answer(self, image: Tensor, low: Tensor) -> Answer:
            return Answer(torch.from_numpy(run(np.zeros((1, 64, 256, 256), np.float32))))

    slow = Endless()
    track = ThreadedSlowTrack(slow)
    lane = track.open_lane()
    lane.submit(job(0))
    used = busy_threads()
    started = time.monotonic()
    while time.monotonic() < started + 60 and not (busy := busy_threads() - used):
        time.sleep(0.05)
    nice = os.getpriority(os.PRIO_PROCESS, os.getpid()) + 10
    assert busy and all(os.getpriority(os.PRIO_PROCESS, thread) == min(nice, 19) for thread in busy)
    started = time.monotonic()
    assert track.close(timeout=1.0)
    assert time.monotonic() < started + 1.0


def endless_onnx(path: Path) -> Path:
    """300 convolutions of 2.4 billion multiplications each."""
    weights = numpy_helper.from_array(np.full((64, 64, 3, 3), 1e-3, np.float32), "weights")
    nodes = [
        helper.make_node("Conv", [f"x{number}", "weights"], [f"x{number + 1}"], pads=[1, 1, 1, 1])
        for number in range(300)
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64, 256, 256]) for name in ("x0", f"x{len(nodes)}")
    ]
    graph = helper.make_graph(nodes, "endless", ends[:1], ends[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def busy_threads() -> set[int]:
    """Of this process, those that have used 0.3 seconds of a core, this one apart."""
    ticks = os.sysconf("SC_CLK_TCK")
    busy = set()
    for folder in Path("/proc/self/task").iterdir():
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        if int(fields[11]) > 0.3 * ticks and int(folder.name) != threading.get_native_id():
            busy.add(int(folder.name))
    return busy


@pytest.mark.slow
def test_the_runtimes_leave_neither_threads_nor_telemetry(checkpoint: str) -> None:
    program = f"""
import sys, threading
from lowlat_seg_ros import Segmenter
with Segmenter({checkpoint!r}, fast_model={checkpoint!r}, fast_runtime="openvino", slow_runtime="openvino"):
    pass
print(threading.active_count(), "openvino_telemetry" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"], done.stderr

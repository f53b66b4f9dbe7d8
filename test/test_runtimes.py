"""Where each track's layers run: labels, what is chosen, the cache, and the end of a slow run."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
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
from lowlat_seg_ros.errors import Error, ParameterError
from lowlat_seg_ros.evaluation.per_frame_network import PerFrameNetwork
from lowlat_seg_ros.fast.frames import Answer
from lowlat_seg_ros.models.checkpoint import load_checkpoint, save_checkpoint
from lowlat_seg_ros.models.inference import prepare_for_inference
from lowlat_seg_ros.models.layers import Classifier
from lowlat_seg_ros.models.placing import Placer
from lowlat_seg_ros.models.steps import SEE, StepLayers
from lowlat_seg_ros.runtime import cache, in_onnxruntime, machine, onnx_program
from lowlat_seg_ros.runtime.cache import SUFFIX, CacheEntry
from lowlat_seg_ros.runtime.choice import AS_LOADED, RUNTIMES, Place, Wish, choose, preferred, refusal_here
from lowlat_seg_ros.runtime.onnx_program import Layers, OnnxFile, written
from lowlat_seg_ros.runtime.runtime import SIZES_KEPT, InThread
from lowlat_seg_ros.runtime.stopping import Stop, stop_of_this_thread, stopped_by
from lowlat_seg_ros.slow.registry import load_model
from lowlat_seg_ros.stream.networks import Wishes, load_networks, place_slow
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

CPU = torch.device("cpu")
ELSEWHERE = ["openvino", "onnxruntime"]
LEAST_EQUAL = 0.999
REAL_FRAMES = Path(__file__).parents[2] / "shared" / "camvid" / "train"  # 480x360, as the street's
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
    """On the street, and on real frames where they are at hand."""
    street = SyntheticStreet(frame_count=4)
    real = islice(sorted(REAL_FRAMES.glob("*.png")), 0, None, 100)
    frames = [*(street[index].image for index in range(4)), *(read_rgb(file) for file in real)]
    same = labels_in(runtime, "default", frames) == labels_in("torch", "default", frames)
    assert same.mean() >= LEAST_EQUAL


def read_rgb(file: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(file))
    assert picture is not None
    return np.ascontiguousarray(picture[..., ::-1], np.uint8)


@pytest.mark.numeric
def test_a_stream_of_frames_is_labelled_in_another_runtime(checkpoint: str) -> None:
    frames = [(frame, number) for number, frame in enumerate(moving_frames(3, size=(120, 80)))]

    def results(fast: str, slow: str) -> list[SegmentationResult]:
        where: dict[str, Any] = {
            "fast_runtime": fast,
            "slow_runtime": slow,
            "fast_precision": "fp32",
            "slow_precision": "fp32",
        }
        with Segmenter(checkpoint, fast_model=checkpoint, **where) as segmenter:
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
        load_networks(str(file), "default", CPU, Wishes(Wish("fast", "torch"), Wish("slow", wanted, "fp32"))).slow
        for wanted in ("auto", runtime)
    ]
    here, there = (network.answer(image, torch.empty(0)).logits for network in found)
    torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-4)


def test_a_file_of_somebody_else_stays_in_onnxruntime_by_default(tmp_path: Path) -> None:
    theirs = load_model(str(onnx_network(tmp_path / "theirs.onnx", {"classes": NAMES})))
    network, choice = place_slow(theirs, Wish("slow"), CPU)
    assert network is theirs
    assert choice.in_words() == "the slow track runs in onnxruntime fp32 (an ONNX file does, unless told otherwise)"
    with pytest.raises(ParameterError, match="'torch' .* cannot serve: .*an ONNX file does not run in torch"):
        place_slow(theirs, Wish("slow", "torch"), CPU)


def test_layers_are_written_in_inference_mode_too() -> None:
    """As they are where a camera's first frame comes, and the cache could not be written."""
    network = prepare_for_inference(small_network(kind="two_networks", input_size=SIZE))
    layers = StepLayers(network, SEE, (8, 12))
    with torch.inference_mode():
        file = written(layers, ((1, 32, 48, 3),))
    onnx.checker.check_model(onnx.load_from_string(file))


def test_layers_are_written_without_torchs_compiler(tmp_path: Path) -> None:
    """Which takes it a second of a core to import."""
    program = """
import sys
from torch import nn
from lowlat_seg_ros.runtime.onnx_program import written
written(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6()), ((1, 3, 8, 8),))
print("torch._dynamo" in sys.modules)
"""
    assert in_new_process(program, tmp_path).stdout == "False\n"


# --- what is chosen ---------------------------------------------------------------------------------------------------


def test_in_torch_a_network_is_the_one_that_was_loaded(checkpoint: str) -> None:
    loaded = load_checkpoint(checkpoint)
    networks = load_networks(loaded, "default", CPU, wishes("torch", "fp32"))
    assert networks.slow is loaded and networks.fast is loaded
    assert networks.fast_choice.place == networks.slow_choice.place == AS_LOADED == ("torch", "fp32")


def test_in_torch_no_other_runtime_is_imported_and_the_cache_stays_empty(checkpoint: str, tmp_path: Path) -> None:
    program = f"""
import sys
import numpy as np
from lowlat_seg_ros import Segmenter
where = dict(fast_runtime="torch", slow_runtime="torch", fast_precision="fp32", slow_precision="fp32")
with Segmenter({checkpoint!r}, fast_model={checkpoint!r}, **where) as segmenter:
    segmenter.segment(np.zeros((48, 64, 3), np.uint8), 0)
print(sorted({{"openvino", "openvino_telemetry", "onnx", "onnxruntime", "tensorrt"}}.intersection(sys.modules)))
"""
    done = in_new_process(program, tmp_path)
    assert done.stdout == "[]\n" and not list(tmp_path.iterdir()), done.stderr


def test_by_default_both_tracks_run_in_openvino_compiled_once(checkpoint: str, tmp_path: Path) -> None:
    """The second start finds everything in the cache, and does without onnx."""
    program = f"""
import sys
import numpy as np
from lowlat_seg_ros import Segmenter
with Segmenter({checkpoint!r}, fast_model={checkpoint!r}) as segmenter:
    segmenter.segment(np.zeros((48, 64, 3), np.uint8), 0)
print(*segmenter.runtimes, sep="\\n")
print(sorted({{"onnx", "onnxruntime", "openvino_telemetry"}}.intersection(sys.modules)))
"""
    first, second = (in_new_process(program, tmp_path).stdout.splitlines() for _ in range(2))
    assert first[0].startswith("the fast track runs in openvino ") and first[1].startswith(
        "the slow track runs in openvino "
    )
    assert first[2] == "['onnx']" and second == [*first[:2], "[]"]
    made = {file.name.partition("_")[2].rpartition("_")[0] for file in (tmp_path / "lowlat_seg_ros").iterdir()}
    assert made == {"see", "classify_low", "look_closer", "classify"}


def in_new_process(program: str, cache_home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "XDG_CACHE_HOME": str(cache_home)},
    )


def test_auto_in_single_precision_leaves_bf16_out(features: Callable[..., None]) -> None:
    features("avx512f", "avx512_bf16")
    assert choose(Wish("slow", "auto", "fp32"), lambda place: "").place == Place("openvino", "fp32")


@pytest.mark.parametrize(
    ("instructions", "fast", "slow"),
    [
        (["avx2"], "fp32", "fp32"),
        (["avx512f", "avx512_vnni"], "int8", "int8"),
        (["avx512f", "avx512_bf16"], "bf16", "bf16"),
        (["avx512f", "avx512_vnni", "amx_int8", "amx_bf16"], "bf16", "int8"),
        (["asimd", "asimddp"], "int8", "int8"),
        (["asimd", "asimddp", "bf16"], "bf16", "int8"),
    ],
)
def test_a_track_takes_the_precision_that_the_cpu_has_products_of(
    instructions: list[str], fast: str, slow: str, features: Callable[..., None]
) -> None:
    """Sl in int8 loses a little, and gains little over bf16."""
    features(*instructions)
    for track, precision in (("fast", fast), ("slow", slow)):
        choice = choose(Wish(track), lambda place: refusal_here(place, CPU))  # type: ignore[arg-type]
        assert choice.place == ("openvino", precision)
        if precision == "fp32":
            assert "no int8 products" in choice.in_words() and "no bf16 products" in choice.in_words()
        else:
            assert "(this CPU has " in choice.in_words()


def test_a_precision_without_its_instructions_is_refused_in_a_sentence(features: Callable[..., None]) -> None:
    features("avx2")
    with pytest.raises(ParameterError, match="'bf16' cannot serve: .*no bf16 products"):
        choose(Wish("slow", "auto", "bf16"), lambda place: refusal_here(place, CPU))


@pytest.mark.parametrize(("capability", "precision"), [((6, 1), "fp32"), ((7, 5), "fp16"), ((9, 0), "fp16")])
def test_on_a_gpu_torch_serves_in_fp16_where_that_is_quick(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    for track in ("fast", "slow"):
        choice = choose(Wish(track), lambda place: refusal_here(place, torch.device("cuda:0")))
        assert choice.place == ("torch", precision)
        if precision == "fp32":
            assert "cuda:0 has compute capability 6.1; fp16 takes 7.0" in choice.in_words()


def test_a_network_whose_numbers_do_not_fit_stays_out_of_half_precision() -> None:
    network = small_network()
    placer = Placer(network, CPU)
    assert placer.runner_in("fast", Place("torch", "fp16")) is not None
    with torch.no_grad():
        for name, weights in network.tracks.named_parameters():
            if name.endswith("weight"):
                weights.mul_(1000)
    with pytest.raises(Error, match="the network's numbers are too large for fp16"):
        placer.runner_in("fast", Place("torch", "fp16"))


def test_a_missing_runtime_is_left_out_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ELSEWHERE else found(name))
    left = choose(Wish("fast", "auto"), lambda place: refusal_here(place, CPU))
    assert left.place == AS_LOADED
    assert "openvino is not installed (type: pip install openvino)" in left.in_words()
    for runtime in ELSEWHERE:
        with pytest.raises(ParameterError, match=f"fast_runtime '{runtime}' .* cannot serve: .*is not installed"):
            choose(Wish("fast", runtime), lambda place: refusal_here(place, CPU))


def test_layers_that_cannot_be_brought_there_stay_in_torch(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> bytes:
        raise ValueError("no such operator")

    monkeypatch.setattr(onnx_program, "written", fail)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    networks = load_networks(checkpoint, checkpoint, CPU)
    assert networks.fast_choice.place == AS_LOADED and "no such operator" in networks.fast_choice.in_words()
    with pytest.raises(ParameterError, match="cannot serve: .*the layers cannot be brought there: no such operator"):
        load_networks(checkpoint, checkpoint, CPU, wishes("openvino", "fp32"))


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (("tensorflow", "auto"), "slow_runtime is 'tensorflow'; expected one of auto, torch, openvino"),
        (("auto", "fp64"), "slow_precision is 'fp64'; expected one of auto, fp32"),
        (("onnxruntime", "int8"), "onnxruntime has no int8"),
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


CONTENT = b"made " * 1000


def entry(what: str = "layers", *made_from: str) -> CacheEntry:
    return CacheEntry(what, made_from, ["torch"])


def test_what_was_written_is_read(own_cache: Path) -> None:
    assert entry().read() is None
    entry().write(CONTENT)
    assert entry().read() == entry().read() == CONTENT


@pytest.mark.parametrize("other", ["version", "cpu_model", "instruction_sets"])
def test_another_version_or_another_cpu_is_another_entry(
    other: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry("layers", "weights").write(CONTENT)
    assert entry("layers", "other weights").read() is None
    monkeypatch.setattr(cache, other, lambda *package: "another")
    assert entry("layers", "weights").read() is None


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda whole: whole[:-1], id="cut short"),
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(lambda whole: whole[:500] + b"?" + whole[501:], id="one byte changed"),
        pytest.param(lambda whole: b"something else", id="of another program"),
    ],
)
def test_what_is_broken_is_not_there(
    own_cache: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    entry().write(CONTENT)
    (file,) = own_cache.glob(f"*{SUFFIX}")
    file.write_bytes(damage(file.read_bytes()))
    assert entry().read() is None and "is broken" in caplog.text
    entry().write(CONTENT)
    assert entry().read() == CONTENT


def test_layers_whose_code_has_changed_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same weights: what an older version of this program compiled is not what this one means."""
    source, fingerprints = tmp_path / "layers.py", set()
    monkeypatch.setattr(onnx_program.inspect, "getfile", lambda kind: str(source))
    for text in ("first", "second"):
        source.write_text(text)
        fingerprints.add(Layers("layers", torch.nn.ReLU(), ((1, 1),), (1, 1)).fingerprint)
    assert len(fingerprints) == 2


def test_the_code_of_layers_is_also_what_they_call() -> None:
    files = {Path(file).name for file in onnx_program._source_files(Classifier(2, 3, 1))}
    assert {"layers.py", "adaptive.py"} <= files  # the class, and its product of matrices


@pytest.mark.parametrize("content", [b"", b"whole, and nothing that OpenVINO wrote"])
def test_what_openvino_cannot_read_is_compiled_again(
    content: bytes, checkpoint: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The labels stay, and the next start finds all in order."""
    frames = moving_frames(1, size=SIZE)
    expected = labels_in("openvino", checkpoint, frames)
    kept = set(own_cache.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_read", lambda file: content)
        np.testing.assert_array_equal(labels_in("openvino", checkpoint, frames), expected)
    assert caplog.text.count("is made anew") == len(kept) > 0 and set(own_cache.iterdir()) == kept
    caplog.clear()
    np.testing.assert_array_equal(labels_in("openvino", checkpoint, frames), expected)
    assert caplog.text == ""


def test_where_nothing_can_be_written_a_start_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    entry().write(CONTENT)
    assert entry().read() is None and "the cache cannot be written" in caplog.text


def test_the_entry_that_was_used_least_lately_goes_first(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_ENTRIES", 2)
    for number, name in enumerate(("first", "second", "third")):
        entry(name).write(CONTENT)
        (file,) = own_cache.glob(f"{name}-*")
        os.utime(file, (number, number))
    entry("fourth").write(CONTENT)
    assert sorted(file.name.partition("-")[0] for file in own_cache.iterdir()) == ["fourth", "third"]


@pytest.mark.slow
def test_two_processes_that_start_at_once_fill_the_cache_together(checkpoint: str, own_cache: Path) -> None:
    """Each labels as the other does, over and over while the other's entries come and go, and whole ones are left."""
    program = f"""
import sys
import numpy as np
from lowlat_seg_ros import Segmenter
from lowlat_seg_ros.runtime.cache import cache_folder
sys.stdin.readline()
for _ in range(3):
    for file in cache_folder().glob("*.cached"):
        file.unlink(missing_ok=True)
    with Segmenter({checkpoint!r}, fast_model={checkpoint!r}) as segmenter:
        assert not segmenter.segment(np.zeros((48, 64, 3), np.uint8), 0).unlabelled_reason
        assert all("openvino" in sentence for sentence in segmenter.runtimes), segmenter.runtimes
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
        assert process.returncode == 0 and "broken" not in errors and "anew" not in errors, errors
    assert {file.suffix for file in own_cache.iterdir()} == {SUFFIX}


# --- a guest ----------------------------------------------------------------------------------------------------------


def test_a_network_is_ready_for_the_last_sizes_alone() -> None:
    opened: list[tuple[int, ...]] = []

    class Counting:
        def open(self, network: object, precision: str, threads: int, shapes: Any, device: torch.device) -> Any:
            opened.append(shapes)
            return lambda fed: [fed]

    run = InThread(OnnxFile(Path("of_any_size.onnx")), Counting(), "fp32", torch.device("cpu"))  # type: ignore[arg-type]
    for side in (*range(1, 2 * SIZES_KEPT), 2 * SIZES_KEPT - 1, 1):
        assert run(np.zeros((1, side), np.float32))[0].shape == (1, side)
    assert len(opened) == 2 * SIZES_KEPT  # the last one was still there, and the first one no longer
    assert len(run._of_thread.sessions) == SIZES_KEPT


def test_onnx_runtime_runs_on_the_device_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, second = torch.device("cpu"), torch.device("cuda:1")
    monkeypatch.setattr(in_onnxruntime, "providers", lambda: [in_onnxruntime.CUDA, in_onnxruntime.CPU])
    assert in_onnxruntime.providers_on(cpu) == [in_onnxruntime.CPU]
    assert in_onnxruntime.providers_on(second) == [(in_onnxruntime.CUDA, {"device_id": "1"}), in_onnxruntime.CPU]
    monkeypatch.setattr(in_onnxruntime, "providers", lambda: [in_onnxruntime.CPU])
    assert in_onnxruntime.providers_on(second) == [in_onnxruntime.CPU]


def test_a_stop_cancels_what_runs_and_what_would_begin() -> None:
    stop, cancelled = Stop(), threading.Event()
    with stopped_by(stop):
        assert stop_of_this_thread() is stop
        with stop.cancelling(cancelled.set):
            stop.set()
        assert cancelled.is_set()
        with pytest.raises(RuntimeError, match="stopped before it began"), stop.cancelling(cancelled.set):
            raise AssertionError("expected it not to begin")
    assert stop_of_this_thread() is None


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ELSEWHERE)
def test_a_slow_run_ends_long_before_it_is_done(runtime: str, tmp_path: Path) -> None:
    """After a tenth of a run of half a minute closing takes a twentieth of what is left: it waits for an operator.

    Measured by the run itself, so that a machine that is busy lengthens both. The run's thread is nice, and so is
    whatever the runtime computes in.
    """
    whole = InThread(OnnxFile(long_onnx(tmp_path / "tenth.onnx", 30)), RUNTIMES[runtime], "fp32", torch.device("cpu"))
    run = InThread(OnnxFile(long_onnx(tmp_path / "whole.onnx", 300)), RUNTIMES[runtime], "fp32", torch.device("cpu"))
    picture = np.zeros((1, 64, 256, 256), np.float32)
    seconds: list[float] = []

    class Long(PlainSlowNetwork):
        def answer(self, image: Tensor, low: Tensor) -> Answer:
            began = time.monotonic()
            whole(picture)
            seconds.append(time.monotonic() - began)
            return Answer(torch.from_numpy(run(picture)))

    track = ThreadedSlowTrack(Long())
    track.open_lane().submit(job(0))
    used = seconds_of_threads()
    started = time.monotonic()
    while time.monotonic() < started + 120 and not (seconds and (busy := busy_threads(since=used))):
        time.sleep(0.05)
    nice = os.getpriority(os.PRIO_PROCESS, os.getpid()) + 10
    assert busy and all(os.getpriority(os.PRIO_PROCESS, thread) == min(nice, 19) for thread in busy)
    started = time.monotonic()
    assert track.close(timeout=60)
    assert time.monotonic() - started < max(1.0, seconds[0] / 2)


HELPERS = """
import os, sys
from pathlib import Path
import numpy as np, torch
from test_runtimes import CPU, OnnxFile, InThread, RUNTIMES, busy_threads, seconds_of_threads
torch.set_num_threads(2)
run = InThread(OnnxFile(Path(sys.argv[1])), RUNTIMES["openvino"], "fp32", CPU)
picture = np.zeros((1, 64, 256, 256), np.float32)
while not (helpers := busy_threads(since={})):
    run(picture)
print({os.getpriority(os.PRIO_PROCESS, helper) for helper in helpers} == {os.getpriority(os.PRIO_PROCESS, 0)})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="niceness of a thread is Linux's")
@pytest.mark.skipif(machine.usable_cores() < 2, reason="nobody helps on one core")
@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_who_helps_the_fast_track_is_no_nicer_than_it(tmp_path: Path) -> None:
    """In a process of its own: OpenVINO keeps its threads, and earlier tests' may be of another niceness."""
    command = [sys.executable, "-c", HELPERS, str(long_onnx(tmp_path / "ten.onnx", 10))]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False, timeout=150)
    assert done.stdout.split() == ["True"], done.stderr


def long_onnx(path: Path, count: int) -> Path:
    """Convolutions of 2.4 billion multiplications each."""
    weights = numpy_helper.from_array(np.full((64, 64, 3, 3), 1e-3, np.float32), "weights")
    nodes = [
        helper.make_node("Conv", [f"x{number}", "weights"], [f"x{number + 1}"], pads=[1, 1, 1, 1])
        for number in range(count)
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64, 256, 256]) for name in ("x0", f"x{len(nodes)}")
    ]
    graph = helper.make_graph(nodes, "long", ends[:1], ends[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def busy_threads(since: dict[int, float]) -> set[int]:
    """Of this process, those that have used 0.3 seconds of a core since then, this one apart.

    A runtime gives its threads to one network after the other.
    """
    now = seconds_of_threads()
    return {thread for thread, used in now.items() if used - since.get(thread, 0.0) > 0.3} - {threading.get_native_id()}


def seconds_of_threads() -> dict[int, float]:
    """That each of this process has used of a core."""
    found = {}
    for folder in Path("/proc/self/task").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it ended between being listed and being read
            continue
        found[int(folder.name)] = int(fields[11]) / os.sysconf("SC_CLK_TCK")
    return found


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

"""Models that cannot be used: each is one sentence before the first frame, whatever is wrong with it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from foreign_networks import NAMES, mask2former, onnx_network, segformer
from safetensors.torch import load_file, save_file

from lowlat_seg_ros import Error, load_model
from lowlat_seg_ros.slow import hugging_face

CLASSES = {"classes": list(NAMES)}


def sentence(model: Path | str) -> str:
    """What is said about a model that cannot be used: one line."""
    with pytest.raises(Error) as raised:
        load_model(str(model))
    text = str(raised.value)
    assert text and "\n" not in text and len(text) < 900
    return text


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return segformer(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def change_config(model: Path, **changes: object) -> None:
    file = model / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def change_weights(model: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(model / "model.safetensors")
    change(weights)
    save_file(weights, model / "model.safetensors", {"format": "pt"})


# --- Hugging Face ----------------------------------------------------------------------------------------------------


def test_truncated_safetensors(damaged: Path) -> None:
    file = damaged / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "cannot be loaded" in sentence(damaged)


def test_a_pickle_alone_and_the_line_that_converts_it(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = damaged / "model.safetensors"
    torch.save(load_file(file), damaged / "pytorch_model.bin")
    file.unlink()
    told = sentence(damaged)
    assert "a pickle, which could run any code and is not loaded" in told
    monkeypatch.chdir(damaged)
    exec(told.partition('python -c "')[2].rpartition('"')[0], {})  # what the sentence says to type
    assert load_model(str(damaged)).classes == NAMES


def test_no_weights(damaged: Path) -> None:
    (damaged / "model.safetensors").unlink()
    assert "has no model.safetensors" in sentence(damaged)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(damaged: Path, value: float) -> None:
    change_weights(damaged, lambda weights: weights["decode_head.classifier.bias"].fill_(value))
    assert "has NaN or infinity in decode_head.classifier.bias; expected finite weights" in sentence(damaged)


def test_weights_without_a_head(damaged: Path) -> None:
    change_weights(damaged, lambda weights: weights.pop("decode_head.classifier.weight"))
    assert "lacks 1 weights of a SegformerForSemanticSegmentation" in sentence(damaged)


def test_classes_that_do_not_fit_the_weights(damaged: Path) -> None:
    change_config(damaged, id2label={"0": "road", "1": "car"}, label2id={"road": 0, "car": 1})
    assert "has weights of other shapes than config.json describes" in sentence(damaged)


def test_a_config_that_asks_for_impossible_memory(damaged: Path) -> None:
    change_config(damaged, decoder_hidden_size=40_000_000)
    assert "has weights of other shapes than config.json describes" in sentence(damaged)


def test_weights_of_another_model_are_not_fetched(damaged: Path) -> None:
    change_config(damaged, backbone="somebody/backbone", use_pretrained_backbone=True)
    assert "would fetch the weights of another model" in sentence(damaged)


@pytest.mark.parametrize("names", [None, {}, {str(n): f"LABEL_{n}" for n in range(4)}, {"0": "a", "7": "b"}])
def test_no_classes(damaged: Path, names: object) -> None:
    change_config(damaged, id2label=names)
    told = sentence(damaged)
    assert "names no classes" in told or "without names" in told or "has not the ids 0 to 1" in told


def test_classes_without_names_are_named_by_a_yaml(damaged: Path) -> None:
    change_config(damaged, id2label={str(n): f"LABEL_{n}" for n in range(4)})
    (damaged.parent / "named.yaml").write_text("source: model\nclasses: [a, b, c, d]\n")
    assert load_model(str(damaged.parent / "named.yaml")).classes == ("a", "b", "c", "d")


def test_300_classes_but_not_where_they_are_merged(tmp_path: Path) -> None:
    model = segformer(tmp_path / "model", [f"class {number}" for number in range(300)])
    assert "has 300 classes; expected 1 to 255 (merge joins classes)" in sentence(model)
    lines = [f'  "class {number}": rest' for number in range(200, 300)]
    (tmp_path / "merged.yaml").write_text("\n".join(["source: model", "merge:", *lines]))
    assert len(load_model(str(tmp_path / "merged.yaml")).classes) == 201


@pytest.mark.parametrize("kind", ["llama", "detr", "nonsense", None, ["segformer"]])
def test_an_architecture_that_is_no_segmentation(damaged: Path, kind: object) -> None:
    change_config(damaged, model_type=kind)
    assert "no semantic or universal segmentation" in sentence(damaged)


def test_code_of_the_models_own_is_never_run(damaged: Path) -> None:
    change_config(damaged, model_type="mine", auto_map={"AutoConfig": "code.Config"})
    (damaged / "code.py").write_text(f"open({str(damaged / 'ran')!r}, 'w')\n")
    sentence(damaged)
    assert not (damaged / "ran").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\x00"])
def test_a_config_that_is_no_mapping(damaged: Path, text: str) -> None:
    (damaged / "config.json").write_text(text)
    assert "config.json" in sentence(damaged)


@pytest.mark.parametrize(
    "said", [{"size": {"height": -1, "width": 5}}, {"size": "large"}, {"image_std": [0, 0, 0]}, {"resample": 9}]
)
def test_a_processor_that_is_not_understood(damaged: Path, said: dict[str, object]) -> None:
    (damaged / "preprocessor_config.json").write_text(json.dumps(said))
    assert "preprocessor_config.json is not understood" in sentence(damaged)


def test_a_hub_id_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def fail(*arguments: object, **options: object) -> str:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    told = sentence("nobody/nothing")
    assert told == "'nobody/nothing' is no directory here, and as a hub id it could not be fetched: no route to host"


def test_shipped_names_are_no_hub_ids_nor_directories(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(whole, tmp_path / "default")
    monkeypatch.chdir(tmp_path)
    assert "Road" in load_model("default").classes
    assert (
        not hugging_face.is_hub_id("default")
        and not hugging_face.is_hub_id("/a/b")
        and not hugging_face.is_hub_id("../b")
    )


@pytest.mark.parametrize(
    ("module", "build"),
    [("transformers", segformer), ("onnxruntime", lambda folder: onnx_network(folder.with_suffix(".onnx"), CLASSES))],
)
def test_an_extra_that_is_missing_is_named(
    module: str, build: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(tmp_path / "model")
    monkeypatch.setitem(sys.modules, module, None)
    extra = {"transformers": "hugging_face", "onnxruntime": "onnx"}[module]
    assert sentence(model).endswith(f"type: pip install 'lowlat-seg-ros[{extra}]'")


# --- ONNX ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"no network", b"\x08\x09" * 1000])
def test_no_onnx(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    assert "x.onnx" in sentence(tmp_path / "x.onnx")


def test_a_truncated_onnx(tmp_path: Path) -> None:
    file = onnx_network(tmp_path / "x.onnx", CLASSES)
    file.write_bytes(file.read_bytes()[:-20])
    assert "x.onnx is no ONNX file" in sentence(file)


def test_an_onnx_that_is_not_there() -> None:
    assert sentence("nowhere.onnx") == "there is no file 'nowhere.onnx'; expected an ONNX network"


def test_an_onnx_without_classes(tmp_path: Path) -> None:
    told = sentence(onnx_network(tmp_path / "x.onnx", {}))
    assert told.endswith("names no classes; expected classes in its metadata or in x.yaml beside it")


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((1, 64, 64, 3), "nchw"), ((1, 3, 64, 64), "nhwc"), ((4, 3, 64, 64), "nchw"), ((3, 64), "nchw")],
)
def test_a_layout_that_does_not_fit(shape: tuple[int, ...], layout: str, tmp_path: Path) -> None:
    file = onnx_network(tmp_path / "x.onnx", CLASSES, shape=shape, layout="nchw")
    (tmp_path / "x.yaml").write_text(f"layout: {layout}\n")
    told = sentence(file)
    assert f"by its layout, {layout}" in told or "has an input of 2 dimensions" in told


def test_more_classes_than_channels(tmp_path: Path) -> None:
    told = sentence(onnx_network(tmp_path / "x.onnx", {"classes": ["a", "b"]}))
    assert "gives logits of shape (1, 4, 256, 320); expected (1, 2, height, width)" in told


def test_an_onnx_with_nan(tmp_path: Path) -> None:
    file = onnx_network(tmp_path / "x.onnx", CLASSES, weights=np.full((4, 3, 1, 1), np.nan))
    assert sentence(file).endswith("answers with NaN or infinity; expected finite logits")


@pytest.mark.parametrize("location", ["gone.bin", "../outside.bin"])
def test_external_data_that_is_not_beside_it(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(48))
    file = onnx_network(folder / "x.onnx", CLASSES)
    model = onnx.load(file)
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "48")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    file.write_bytes(model.SerializeToString())
    assert f"has weights in {location!r}; expected that file beside it" in sentence(file)


def test_a_size_that_the_file_does_not_take(tmp_path: Path) -> None:
    file = onnx_network(tmp_path / "x.onnx", CLASSES, shape=(1, 3, 32, 64))
    (tmp_path / "x.yaml").write_text("input_size: [32, 64]\n")
    assert "takes 64x32 pixels, not input_size (32, 64)" in sentence(file)
    (tmp_path / "x.yaml").write_text("scales: [1.0, 0.5]\n")
    assert "takes pictures of one size only" in sentence(file)


# --- Other files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pt2", ".pkl", ".torchscript", ".bin"])
def test_pickles_are_not_opened(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"model{suffix}"
    file.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    assert "is not loaded" in sentence(file) and "`lowlat-seg export`" in sentence(file)
    (tmp_path / "x.yaml").write_text(f"source: {file.name}\n")
    assert "is not loaded" in sentence(tmp_path / "x.yaml")


BOMB = "a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, "uses a YAML alias"),
        ("classes: " + "[" * 5000, "is nested more than 8 levels deep"),
        ("classes: [[[[[[[[[[a]]]]]]]]]]", "is nested more than 8 levels deep"),
        ("classes: [" + "a, " * 40_000 + "]", "is longer than the 64 KiB"),
        ("classes: !!python/object/apply:os.system [ls]", "uses the YAML tag"),
        ("", "holds no description"),
        ("[1, 2]", "holds no description"),
        ("source: x.onnx\nlabels: [a]\nsise: 3", "has unknown entries: labels, sise; known are source, input_size"),
        ("source: 3", "source in"),
        ("source: other.yaml", "is a YAML too"),
        ("merge: {a: b}", "names no source"),
        ("source: x.onnx\nclasses: [no, off]", "expected a list of names (quote no, on, off and numbers)"),
        ("source: x.onnx\ninput_size: [0, 9]", "expected [width, height]"),
        ("source: x.onnx\nscales: [1000]", "expected a list of 1 to 8 numbers from 0.1 to 4"),
        ("source: x.onnx\nmerge: {river: water}", "merge or ignore names 'river', which is no class of"),
        ("source: x.onnx\nignore: [river]", "merge or ignore names 'river', which is no class of"),
        ("source: x.onnx\nignore: [road, car, sky, tree]", "has 0 classes; expected 1 to 255"),
        ("source: x.onnx\ncolours: [[1, 2, 3]]", "lists 1; expected one for each of 4 classes"),
        ("source: x.onnx\nstd: [0, 1, 1]", "expected three positive numbers"),
        ("source: nowhere", "there is no checkpoint at 'nowhere'"),
        ("source: default\nmean: [1, 2, 3]", "has its own classes, mean and std"),
    ],
)
def test_descriptions(text: str, told: str, tmp_path: Path) -> None:
    onnx_network(tmp_path / "x.onnx", CLASSES)
    (tmp_path / "mine.yaml").write_text(text)
    assert told in sentence(tmp_path / "mine.yaml")


def test_a_description_that_is_not_there() -> None:
    assert "nowhere.yaml cannot be read" in sentence("nowhere.yaml")


def test_a_query_network_that_is_damaged(tmp_path: Path) -> None:
    model = mask2former(tmp_path / "model")
    change_weights(model, lambda weights: weights["class_predictor.bias"].fill_(float("nan")))
    assert "has NaN or infinity in class_predictor.bias" in sentence(model)

"""Networks of users' own as the slow track's: what they answer, and in which pictures they are asked."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from foreign_networks import NAMES, dpt, eomt, mask2former, oneformer, onnx_network, segformer
from onnx import TensorProto
from stream_setup import moving_frames, wait_until
from torch import Tensor

from lowlat_seg_ros import Segmenter, load_model
from lowlat_seg_ros.slow.description import Description, Grouping, group_classes
from lowlat_seg_ros.slow.foreign import ForeignNetwork, averaged, grouped
from lowlat_seg_ros.slow.hugging_face import PROCESSORS, input_size_of, logits_of_queries

NO_FEATURE = torch.empty(0)
# Each channel of the picture is a class: the largest wins.
BY_COLOUR = np.eye(3).reshape(3, 3, 1, 1)
PLAIN = {"mean": [0, 0, 0], "std": [1, 1, 1]}
COLOURS = {**PLAIN, "classes": ["red", "green", "blue"]}


def picture(height: int = 48, width: int = 64) -> Tensor:
    """(1, 3, height, width) uint8: three stripes of one colour each, red, green and blue from left to right."""
    pixels = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    for channel, columns in enumerate(torch.arange(width).tensor_split(3)):
        pixels[:, channel, :, columns] = 200
    return pixels


def labels(model: Path, image: Tensor) -> Tensor:
    return load_model(str(model)).answer(image, NO_FEATURE).logits.argmax(dim=1)[0]


def stripes(found: Tensor) -> list[int]:
    """The class in the middle of each stripe."""
    height, width = found.shape
    return [int(found[height // 2, width * part // 6]) for part in (1, 3, 5)]


@pytest.mark.parametrize("build", [segformer, mask2former, oneformer, eomt, dpt])
def test_a_network_of_transformers_labels_every_frame(build: object, tmp_path: Path) -> None:
    assert callable(build)
    with Segmenter(str(build(tmp_path / "model")), propagation="copy") as segmenter:
        assert segmenter.classes == NAMES
        frames = moving_frames(3, size=(96, 64))
        stamps = iter(range(1_000_000))
        wait_until(lambda: segmenter.segment(frames[0], next(stamps)).key_is_accurate, "the first answer")
        results = [segmenter.segment(frame, next(stamps)) for frame in frames]
    assert all(result.unlabelled_reason == "" and result.labels.max() < len(NAMES) for result in results)


def test_a_network_of_150_classes_labels_and_its_logits_are_no_finer_than_ours(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(150)]
    file = onnx_network(tmp_path / "many.onnx", {**PLAIN, "classes": names}, classes=150)
    logits = load_model(str(file)).answer(picture(), NO_FEATURE).logits
    assert logits.shape == (1, 150, 24, 32)  # the file's own are 48 x 64
    with Segmenter(str(file), propagation="copy") as segmenter:
        stamps = iter(range(1_000_000))
        frame = moving_frames(1)[0]
        wait_until(lambda: segmenter.segment(frame, next(stamps)).key_is_accurate, "the first answer")
        assert segmenter.segment(frame, next(stamps)).unlabelled_reason == ""


def test_queries_give_what_a_plain_loop_gives() -> None:
    generator = torch.Generator().manual_seed(0)
    classes, masks = (torch.randn(*shape, generator=generator) for shape in [(1, 5, 4), (1, 5, 3, 2)])
    found = logits_of_queries(classes, masks).exp()
    for row in range(3):
        for column in range(2):
            scores = [0.0] * 3
            for query in range(5):
                exponentials = [math.exp(float(value)) for value in classes[0, query]]
                mask = 1 / (1 + math.exp(-float(masks[0, query, row, column])))
                for label in range(3):
                    scores[label] += exponentials[label] / sum(exponentials) * mask
            expected = [score / sum(scores) for score in scores]
            assert found[0, :, row, column].tolist() == pytest.approx(expected, rel=1e-5)


def test_queries_that_see_nothing_give_finite_logits() -> None:
    assert logits_of_queries(torch.zeros(1, 5, 4), torch.full((1, 5, 3, 2), -1000.0)).isfinite().all()


@pytest.mark.parametrize(
    ("layout", "shape", "dtype"),
    [
        ("nchw", (1, 3, "h", "w"), TensorProto.FLOAT),
        ("nchw", ("batch", 3, 32, 64), TensorProto.FLOAT),
        ("nchw", (1, 3, "h", "w"), TensorProto.FLOAT16),
        ("nhwc", (1, "h", "w", 3), TensorProto.FLOAT),
        ("nhwc", (1, 32, 64, 3), TensorProto.FLOAT),
    ],
)
def test_layouts_shapes_and_types(layout: str, shape: tuple[int | str, ...], dtype: int, tmp_path: Path) -> None:
    metadata = {**COLOURS, "layout": layout}
    file = onnx_network(tmp_path / "x.onnx", metadata, shape=shape, dtype=dtype, layout=layout, weights=BY_COLOUR)
    assert stripes(labels(file, picture())) == [0, 1, 2]


def test_a_network_that_takes_bytes_normalises_them_itself(tmp_path: Path) -> None:
    metadata = {"classes": ["red", "green", "blue"]}
    file = onnx_network(tmp_path / "x.onnx", metadata, dtype=TensorProto.UINT8, weights=BY_COLOUR)
    assert stripes(labels(file, picture())) == [0, 1, 2]


def test_channels_are_turned_round_for_networks_that_were_trained_so(tmp_path: Path) -> None:
    file = onnx_network(tmp_path / "x.onnx", {**COLOURS, "channels": "bgr"}, weights=BY_COLOUR)
    assert stripes(labels(file, picture())) == [2, 1, 0]


def test_mean_and_std_are_of_the_channels_in_their_order(tmp_path: Path) -> None:
    """Blue is the first channel of the input: without its 200, and on a red stripe, green and red remain."""
    metadata = {**COLOURS, "channels": "bgr", "mean": [0, 0, 0], "std": [0.001, 1, 1]}
    file = onnx_network(tmp_path / "x.onnx", metadata, weights=BY_COLOUR)
    logits = load_model(str(file)).answer(picture(), NO_FEATURE).logits
    assert float(logits[0, 0].max()) == pytest.approx(200_000) and float(logits[0, 2].max()) == pytest.approx(200)


def test_a_softmax_at_the_end_is_undone_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its probabilities, carried as if they were logits, would be all but uniform."""
    files = [
        onnx_network(tmp_path / f"{name}.onnx", COLOURS, weights=BY_COLOUR * 0.01, ends_in_softmax=name == "softmax")
        for name in ("plain", "softmax")
    ]
    plain, undone = (load_model(str(file)).answer(picture(), torch.empty(0)).logits.log_softmax(1) for file in files)
    torch.testing.assert_close(undone, plain, atol=1e-4, rtol=1e-4)
    (line,) = [message for message in caplog.messages if "ends in a softmax" in message]
    assert "softmax.onnx ends in a softmax" in line


def test_ids_are_labels_and_those_of_no_class_are_unlabelled(tmp_path: Path) -> None:
    file = onnx_network(
        tmp_path / "x.onnx", {**PLAIN, "classes": ["red", "green"]}, weights=BY_COLOUR, ends_in_ids=True
    )
    assert stripes(labels(file, picture())) == [0, 1, 2]
    with Segmenter(str(file), propagation="copy") as segmenter:
        frame = np.ascontiguousarray(picture(48, 64)[0].permute(1, 2, 0).numpy())
        stamps = iter(range(1_000_000))
        wait_until(lambda: segmenter.segment(frame, next(stamps)).key_is_accurate, "the first answer")
        assert stripes(torch.from_numpy(segmenter.segment(frame, next(stamps)).labels)) == [0, 1, 255]


def test_the_yaml_beside_a_file_says_what_the_file_does_not(tmp_path: Path) -> None:
    onnx_network(tmp_path / "x.onnx", {**PLAIN, "classes": ["a", "b", "c"]}, weights=BY_COLOUR)
    (tmp_path / "x.yaml").write_text("classes: [left, middle, right]\ncolours: [[1, 2, 3], [4, 5, 6], [7, 8, 9]]\n")
    network = load_model(str(tmp_path / "x.onnx"))
    assert network.classes == ("left", "middle", "right") and network.colours[2] == (7, 8, 9)


def test_what_the_yaml_says_is_not_read_in_the_metadata(tmp_path: Path) -> None:
    """Other tools write keys of the same names."""
    file = onnx_network(tmp_path / "x.onnx", {**COLOURS, "channels": 3, "stride": 32}, weights=BY_COLOUR)
    (tmp_path / "x.yaml").write_text("channels: rgb\n")
    assert load_model(str(file)).classes == ("red", "green", "blue")


def test_merged_classes_keep_the_colours_of_the_file(tmp_path: Path) -> None:
    onnx_network(tmp_path / "x.onnx", {**COLOURS, "colours": [[9, 0, 0], [0, 9, 0], [0, 0, 9]]}, weights=BY_COLOUR)
    (tmp_path / "mine.yaml").write_text("source: x.onnx\nmerge: {green: red}\n")
    assert load_model(str(tmp_path / "mine.yaml")).colours == ((9, 0, 0), (0, 0, 9))


def test_what_is_taken_for_granted_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_model(str(onnx_network(tmp_path / "x.onnx", {"classes": list(NAMES)})))
    assert "taken for granted: mean ImageNet's, std ImageNet's, layout by its shape, channels rgb" in caplog.text


def test_a_yaml_merges_and_ignores(tmp_path: Path) -> None:
    onnx_network(tmp_path / "x.onnx", COLOURS, weights=BY_COLOUR)
    (tmp_path / "mine.yaml").write_text("source: x.onnx\nmerge: {green: coloured, red: coloured}\nignore: [blue]\n")
    assert load_model(str(tmp_path / "mine.yaml")).classes == ("coloured",)
    with Segmenter(str(tmp_path / "mine.yaml"), propagation="copy") as segmenter:
        frame = np.ascontiguousarray(picture(48, 64)[0].permute(1, 2, 0).numpy())
        stamps = iter(range(1_000_000))
        wait_until(lambda: segmenter.segment(frame, next(stamps)).key_is_accurate, "the first answer")
        assert stripes(torch.from_numpy(segmenter.segment(frame, next(stamps)).labels)) == [0, 0, 255]


def test_a_yaml_may_describe_a_model_of_ours(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("source: default\nmerge: {Road: ground, Pavement: ground}\n")
    ours, merged = load_model("default"), load_model(str(tmp_path / "mine.yaml"))
    assert merged.classes == tuple("ground" if name == "Road" else name for name in ours.classes if name != "Pavement")
    image = torch.from_numpy(cv2.resize(moving_frames(1)[0], (480, 360))).permute(2, 0, 1)[None]
    expected = ours(image).softmax(dim=1)  # type: ignore[operator]  # a checkpoint's network is a module
    found = merged.answer(image, NO_FEATURE).logits.softmax(dim=1)
    road, pavement = ours.classes.index("Road"), ours.classes.index("Pavement")
    torch.testing.assert_close(found[:, 3], expected[:, road] + expected[:, pavement], rtol=1e-3, atol=1e-5)


def test_merged_names_are_published_in_the_order_in_which_they_appear() -> None:
    description = Description(merge={"d": "x", "a": "x", "b": "y"}, ignore=("c",))
    grouping = group_classes(("a", "b", "c", "d", "e", "e"), description, "it")
    assert grouping == Grouping(("x", "y", "e"), ((0, 3), (1,), (4, 5)), (2,))


def test_merged_scores_are_added_as_probabilities() -> None:
    logits = torch.randn(1, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    grouping = group_classes(("a", "b", "c", "d"), Description(merge={"a": "x", "c": "x"}, ignore=("d",)), "it")
    found, expected = grouped(logits, grouping).softmax(dim=1), logits.softmax(dim=1)
    torch.testing.assert_close(found, torch.stack([expected[:, 0] + expected[:, 2], expected[:, 1], expected[:, 3]], 1))


def test_views_are_averaged_as_probabilities() -> None:
    views = [torch.randn(1, 3, 2, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    expected = (views[0].softmax(dim=1) + views[1].softmax(dim=1)) / 2
    torch.testing.assert_close(averaged(views).exp(), expected)


def test_scales_and_a_mirrored_picture_see_the_same_stripes(tmp_path: Path) -> None:
    onnx_network(tmp_path / "x.onnx", COLOURS, weights=BY_COLOUR * 0.1)
    (tmp_path / "mine.yaml").write_text("source: x.onnx\nscales: [1.0, 0.5, 1.5]\nflip: true\ninput_size: [100, 80]\n")
    assert stripes(labels(tmp_path / "mine.yaml", picture())) == [0, 1, 2]


@pytest.mark.parametrize(
    ("processor", "size"),
    [
        ({"size": {"height": 512, "width": 256}}, (256, 512)),
        ({"size": 512}, (512, 512)),
        ({"size": 512, "max_size": 2048}, (683, 512)),
        ({"size": {"shortest_edge": 100, "longest_edge": 120}}, (120, 90)),
        ({"size": {"shortest_edge": 100, "longest_edge": 120}, "size_divisor": 32}, (128, 96)),
        ({"size": {"height": 384, "width": 384}, "keep_aspect_ratio": True}, (512, 384)),
        (
            {"size": {"shortest_edge": 544}, "do_center_crop": True, "crop_size": {"height": 512, "width": 512}},
            (512, 512),
        ),
        ({"size": 512, "do_resize": False}, (480, 360)),
        ({}, (480, 360)),
    ],
)
def test_processors_sizes_of_a_picture(processor: dict[str, object], size: tuple[int, int]) -> None:
    assert input_size_of(processor, {})((480, 360)) == size


@pytest.mark.parametrize(
    ("module", "kind", "said"),
    [
        ("segformer", "Segformer", None),
        ("segformer", "Segformer", {"size": {"height": 64, "width": 96}}),
        ("segformer", "Segformer", {"image_processor_type": None, "size": {"height": 64, "width": 96}}),
        ("beit", "Beit", {"size": {"height": 64, "width": 96}}),
        ("dpt", "DPT", {"size": {"height": 64, "width": 96}}),
        ("eomt", "Eomt", {"size": {"shortest_edge": 64, "longest_edge": 96}}),
        ("mask2former", "Mask2Former", {"size": {"shortest_edge": 64, "longest_edge": 96}}),
        ("mobilenet_v2", "MobileNetV2", {"do_center_crop": False, "size": {"height": 64, "width": 96}}),
        ("mobilevit", "MobileViT", {"do_center_crop": False, "size": {"height": 64, "width": 96}}),
        ("vit", "ViT", {"size": {"height": 64, "width": 96}}),
    ],
)
def test_pictures_are_prepared_as_the_processor_does(
    tmp_path: Path, module: str, kind: str, said: dict[str, object] | None
) -> None:
    """To a step of a byte: it rounds after resizing. Where its file is silent, its kind says it."""
    processors = pytest.importorskip(f"transformers.models.{module}.image_processing_pil_{module}")
    folder = segformer(tmp_path / "model")
    if said is not None:
        named = {"image_processor_type": f"{kind}ImageProcessor", **said}
        (folder / "preprocessor_config.json").write_text(json.dumps(named))
    image = torch.from_numpy(cv2.resize(moving_frames(1)[0], (130, 90))).permute(2, 0, 1)[None]
    processor = getattr(processors, f"{kind}ImageProcessorPil").from_pretrained(folder)
    expected = torch.from_numpy(np.ascontiguousarray(processor(image[0].permute(1, 2, 0).numpy())["pixel_values"][0]))[
        None
    ]
    network = load_model(str(folder))
    assert isinstance(network, ForeignNetwork)
    found = network._input(image, network._input_size((130, 90), 1.0), is_mirrored=False)
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < 3 / 255 / 0.225  # cubic weights add up two roundings


MODULES = {"Beit": "beit", "DPT": "dpt", "MobileNetV2": "mobilenet_v2", "MobileViT": "mobilevit", "ViT": "vit"}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_processors_defaults_are_those_of_transformers(kind: str) -> None:
    module = MODULES.get(kind, kind.lower())
    processors = pytest.importorskip(f"transformers.models.{module}.image_processing_pil_{module}")
    theirs, ours = getattr(processors, f"{kind}ImageProcessorPil"), PROCESSORS[kind]
    assert bool(theirs.do_normalize) == ours.get("do_normalize", True)
    if theirs.do_normalize:
        assert (list(theirs.image_mean), list(theirs.image_std)) == (ours["image_mean"], ours["image_std"])
    assert (theirs.resample, theirs.size) == (ours["resample"], ours["size"])
    assert bool(getattr(theirs, "do_center_crop", False)) == ours.get("do_center_crop", False)
    assert not ours.get("do_center_crop") or theirs.crop_size == ours["crop_size"]
    assert bool(getattr(theirs, "do_flip_channel_order", False)) == ours.get("do_flip_channel_order", False)
    assert getattr(theirs, "size_divisor", None) == ours.get("size_divisor")


def test_what_an_unknown_processor_does_not_say_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = segformer(tmp_path / "model")
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "OwnImageProcessor"}))
    load_model(str(folder))
    (line,) = [message for message in caplog.messages if "OwnImageProcessor" in message or "'Own'" in message]
    assert "does not say image_mean, image_std, size, resample" in line

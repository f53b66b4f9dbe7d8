"""Labels of networks of transformers against those that transformers itself makes of the same picture."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from foreign_networks import dpt, eomt, mask2former, maskformer, oneformer, segformer
from stream_setup import moving_frames
from torch import Tensor

from lowlat_seg_ros import Error, load_model
from lowlat_seg_ros.slow.foreign import ForeignNetwork
from lowlat_seg_ros.slow.hugging_face import TASK, input_size_of, takes_squares

SIDE = 128  # pixels of the picture, twice what the networks take: their logits are no finer than ours may be
WINDOW = {"shortest_edge": 64, "longest_edge": None}  # EoMT's, the whole picture
SPREAD, SPREAD_OF_CLASSES = (
    1.5,
    6.0,
)  # of random weights, 1 keeping the size of what goes through: so that labels differ

Build = Callable[[Path], Path]


def with_lively_weights(folder: Path, loader: Any, seed: int) -> Any:
    """The network with weights under which its answer is not one class everywhere, as new ones are; written back."""
    network = loader.from_pretrained(folder).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, weights in network.named_parameters():
        if weights.dim() > 1:
            spread = SPREAD_OF_CLASSES if "class" in name else SPREAD
            weights.data = spread / weights[0].numel() ** 0.5 * torch.randn(weights.shape, generator=generator)
    network.save_pretrained(folder)
    return network


def loaded(folder: Path) -> ForeignNetwork:
    network = load_model(str(folder))
    assert isinstance(network, ForeignNetwork)
    return network


def picture(width: int = SIDE, height: int = SIDE) -> Tensor:
    return torch.from_numpy(moving_frames(1, size=(width, height))[0]).permute(2, 0, 1)[None]


def labels_of_transformers(network: Any, folder: Path, module: str, kind: str, pixels: Tensor) -> Tensor:
    """By their network and their post-processing, on the grid of the network's answer."""
    inputs = {"pixel_values": pixels}
    if network.config.model_type == "oneformer":
        length = network.config.task_seq_len
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        words = tokenizer([TASK], padding="max_length", max_length=length, return_tensors="pt")
        inputs["task_inputs"] = words.input_ids * words.attention_mask  # as its processor does
    with torch.inference_mode():
        found = network(**inputs)
    if "class_queries_logits" not in found:
        return found.logits.argmax(dim=1)[0]
    processors = importlib.import_module(f"transformers.models.{module}.image_processing_pil_{module}")
    processor = getattr(processors, f"{kind}ImageProcessorPil")
    made = processor.__new__(processor)  # post-processing needs nothing of the files that its making wants
    arguments = {"size": WINDOW} if kind == "Eomt" else {}
    grid = tuple(found.masks_queries_logits.shape[-2:])
    labels: Tensor = made.post_process_semantic_segmentation(found, target_sizes=[grid], **arguments)[0]
    return labels


@pytest.mark.parametrize(
    ("build", "loader", "module", "kind", "seed", "alike"),
    [
        (maskformer, "MaskFormerForInstanceSegmentation", "maskformer", "MaskFormer", 10, 0.99),
        (mask2former, "Mask2FormerForUniversalSegmentation", "mask2former", "Mask2Former", 2, 0.9),
        (oneformer, "OneFormerForUniversalSegmentation", "oneformer", "OneFormer", 5, 0.99),
        (eomt, "EomtForUniversalSegmentation", "eomt", "Eomt", 2, 0.9),
        (segformer, "SegformerForSemanticSegmentation", "segformer", "Segformer", 2, 0.99),
        (dpt, "DPTForSemanticSegmentation", "dpt", "DPT", 2, 0.99),
    ],
)
def test_labels_are_those_of_transformers(
    build: Build, loader: str, module: str, kind: str, seed: int, alike: float, tmp_path: Path
) -> None:
    """Mask2Former's and EoMT's processors enlarge masks before the sigmoid and shrink scores after it."""
    folder = build(tmp_path / "model")
    theirs = with_lively_weights(folder, getattr(transformers, loader), seed)
    network, image = loaded(folder), picture()
    pixels = network._input(image, network._input_size((SIDE, SIDE), 1.0), is_mirrored=False)
    expected = labels_of_transformers(theirs, folder, module, kind, pixels)
    found = network.answer(image, torch.empty(0)).logits.argmax(dim=1)[0]
    labels = torch.unique(expected)
    assert len(labels) > 1, "one class everywhere would compare nothing"
    shares = [float((found[expected == label] == label).float().mean()) for label in labels]
    assert sum(shares) / len(shares) > alike


def test_a_dpt_that_keeps_the_pictures_shape_sees_a_square(tmp_path: Path) -> None:
    """Its processor would make a rectangle, which transformers' head folds into a square: labels all over the place."""
    network = loaded(dpt(tmp_path / "model", keep_aspect_ratio=True))
    assert network._input_size((96, 64), 1.0) == (64, 64)
    network.answer(picture(96, 64), torch.empty(0))


def test_a_rectangle_for_a_network_of_squares_is_one_sentence(tmp_path: Path) -> None:
    """Of 16:9 the patches fill a square, so that nothing else would fail."""
    dpt(tmp_path / "model")
    description = tmp_path / "wide.yaml"
    description.write_text("source: model\ninput_size: [512, 288]\n")
    with pytest.raises(Error, match=r"takes square pictures only, not 512x288; expected an input_size of two equal"):
        load_model(str(description))


@pytest.mark.parametrize(
    ("config", "squares"),
    [
        ({"model_type": "dpt"}, True),
        ({"model_type": "dpt", "backbone_config": {}}, False),
        ({"model_type": "dpt", "backbone_config": {}, "is_hybrid": True}, True),
        ({"model_type": "beit"}, True),
        ({"model_type": "segformer"}, False),
    ],
)
def test_networks_of_squares_are_known(config: dict[str, object], squares: bool) -> None:
    assert takes_squares(config) is squares
    processor = {"size": {"height": 384, "width": 384}, "keep_aspect_ratio": True}
    assert input_size_of(processor, config)((480, 360)) == ((384, 384) if squares else (512, 384))

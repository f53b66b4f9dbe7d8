"""Networks of other libraries' making, of a few thousand random weights, written where a test wants them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper

NAMES = ("road", "car", "sky", "tree")
NORMALISING = {
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
    "rescale_factor": 1 / 255,
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
}


def save(network: Any, folder: Path, **processor: Any) -> Path:
    """A directory as transformers writes it, with a processor's file."""
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({**NORMALISING, **processor}))
    return folder


def named(names: Sequence[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}


def segformer(folder: Path, names: Sequence[str] = NAMES) -> Path:
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[4, 4, 8, 8],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
        **named(names),
    )
    network = transformers.SegformerForSemanticSegmentation(config)
    torch.nn.init.normal_(network.decode_head.classifier.weight)  # so that there are several classes in its answer
    return save(network, folder, size={"height": 64, "width": 96})


def mask2former(folder: Path, names: Sequence[str] = NAMES) -> Path:
    torch.manual_seed(0)
    backbone = transformers.SwinConfig(
        embed_dim=4,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
        image_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=8,
        dim_feedforward=8,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=5,
        **named(names),
    )
    network = transformers.Mask2FormerForUniversalSegmentation(config)
    return save(network, folder, size={"shortest_edge": 64, "longest_edge": 128}, size_divisor=32)


def dpt(folder: Path, names: Sequence[str] = NAMES) -> Path:
    torch.manual_seed(0)
    config = transformers.DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=64,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[4, 4, 8, 8],
        fusion_hidden_size=8,
        use_auxiliary_head=False,
        **named(names),
    )
    network = transformers.DPTForSemanticSegmentation(config)
    return save(network, folder, size={"height": 64, "width": 64}, ensure_multiple_of=32)


def onnx_network(
    path: Path,
    metadata: Mapping[str, Any],
    *,
    shape: Sequence[int | str] = (1, 3, "height", "width"),
    classes: int = len(NAMES),
    dtype: int = TensorProto.FLOAT,
    weights: np.ndarray | None = None,
    ends_in_ids: bool = False,
    layout: str = "nchw",
) -> Path:
    """A file with one convolution of 1x1, random unless given: (classes, 3, 1, 1)."""
    if weights is None:
        weights = np.random.default_rng(0).normal(size=(classes, 3, 1, 1))
    real = TensorProto.FLOAT if dtype == TensorProto.UINT8 else dtype
    constants = [numpy_helper.from_array(weights.astype(helper.tensor_dtype_to_np_dtype(real)), "weights")]
    nodes, last = [], "image"
    if dtype == TensorProto.UINT8:
        nodes.append(helper.make_node("Cast", [last], ["real"], to=real))
        last = "real"
    if layout == "nhwc":
        nodes.append(helper.make_node("Transpose", [last], ["turned"], perm=[0, 3, 1, 2]))
        last = "turned"
    nodes.append(helper.make_node("Conv", [last, "weights"], ["logits"]))
    last, output = "logits", helper.make_tensor_value_info("logits", real, None)
    if layout == "nhwc":
        nodes.append(helper.make_node("Transpose", [last], ["logits_last"], perm=[0, 2, 3, 1]))
        output = helper.make_tensor_value_info("logits_last", real, None)
    if ends_in_ids:
        nodes.append(helper.make_node("ArgMax", [last], ["ids"], axis=1, keepdims=0))
        output = helper.make_tensor_value_info("ids", TensorProto.INT64, None)
    image = helper.make_tensor_value_info("image", dtype, list(shape))
    model = helper.make_model(
        helper.make_graph(nodes, "segmentation", [image], [output], constants),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    helper.set_model_props(model, {name: json.dumps(value) for name, value in metadata.items()})
    onnx.save(model, path)
    return path

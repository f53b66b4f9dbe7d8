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
from tokenizers import pre_tokenizers

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


def swin() -> Any:
    """A backbone for networks of queries."""
    return transformers.SwinConfig(
        embed_dim=4,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
        image_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )


QUERY_DECODER = {
    "hidden_dim": 32,
    "encoder_feedforward_dim": 8,
    "dim_feedforward": 8,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "num_queries": 5,
}


def mask2former(folder: Path, names: Sequence[str] = NAMES) -> Path:
    torch.manual_seed(0)
    config = transformers.Mask2FormerConfig(
        backbone_config=swin(), feature_size=32, mask_feature_size=32, **QUERY_DECODER, **named(names)
    )
    network = transformers.Mask2FormerForUniversalSegmentation(config)
    return save(network, folder, size={"shortest_edge": 64, "longest_edge": 128}, size_divisor=32)


def maskformer(folder: Path, names: Sequence[str] = NAMES) -> Path:
    torch.manual_seed(0)
    decoder = transformers.DetrConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=8,
        decoder_ffn_dim=8,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=5,
    )
    config = transformers.MaskFormerConfig(
        backbone_config=swin(), decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, **named(names)
    )
    network = transformers.MaskFormerForInstanceSegmentation(config)
    return save(network, folder, size={"shortest_edge": 64, "longest_edge": 128}, size_divisor=32)


def oneformer(folder: Path, names: Sequence[str] = NAMES) -> Path:
    torch.manual_seed(0)
    config = transformers.OneFormerConfig(
        backbone_config=swin(),
        conv_dim=32,
        mask_dim=32,
        text_encoder_width=16,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=600,
        query_dec_layers=1,
        **QUERY_DECODER,
        **named(names),
    )
    folder.mkdir(parents=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    network = transformers.OneFormerForUniversalSegmentation(config)
    return save(network, folder, size={"shortest_edge": 64, "longest_edge": 128})


def eomt(folder: Path, names: Sequence[str] = NAMES) -> Path:
    torch.manual_seed(0)
    config = transformers.EomtConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=1,
        image_size=64,
        patch_size=16,
        num_blocks=1,
        num_queries=5,
        num_upscale_blocks=1,
        num_register_tokens=1,
        **named(names),
    )
    network = transformers.EomtForUniversalSegmentation(config)
    return save(network, folder, size={"shortest_edge": 64, "longest_edge": None}, do_split_image=True)


def dpt(folder: Path, names: Sequence[str] = NAMES, **processor: Any) -> Path:
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
    return save(network, folder, size={"height": 64, "width": 64}, ensure_multiple_of=32, **processor)


def onnx_network(
    path: Path,
    metadata: Mapping[str, Any],
    *,
    shape: Sequence[int | str] = (1, 3, "height", "width"),
    classes: int = len(NAMES),
    dtype: int = TensorProto.FLOAT,
    weights: np.ndarray | None = None,
    ends_in_ids: bool = False,
    ends_in_softmax: bool = False,
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
    if ends_in_softmax:
        nodes.append(helper.make_node("Softmax", [last], ["probabilities"], axis=1))
        last, output = "probabilities", helper.make_tensor_value_info("probabilities", real, None)
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

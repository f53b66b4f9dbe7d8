"""``lowlat-seg export``: the slow network of a checkpoint of ours as a file for other runtimes."""

from __future__ import annotations

import argparse
import io
import itertools
import json
import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.clips import STREET, open_clip
from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.fast.pictures import Preprocessor, label_in_torch
from lowlat_seg_ros.models.checkpoint import load_trainable
from lowlat_seg_ros.models.config import ModelConfig
from lowlat_seg_ros.models.inference import fold_batch_norms
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.slow.extras import import_extra

EXTRA = "onnx"
INPUT, OUTPUT = "image", "logits"
OPSET = 18  # what torch's exporter writes without a conversion
FRAMES_COMPARED = 2
# Two orders of summation in float32 are each about as far from float64. More than this many times as far as torch's own
# is another network.
MOST_ROUNDING = 8.0


class ExportError(Error):
    """A network that could not be written, or that is not the same in the file."""


class Comparison(NamedTuple):
    """The file against torch, over all frames."""

    frames: int
    largest_difference: float  # between their logits, both in float32
    agreement: float  # the fraction of pixels with the same label
    file_rounding: float  # the largest distance of the file's logits from those in float64
    torch_rounding: float  # the same of torch's in float32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a checkpoint of ours: a shipped model's name, or a directory")
    parser.add_argument("--format", choices=["onnx"], default="onnx")
    parser.add_argument("--out", type=Path, required=True, metavar="X.onnx", help="the file to write")
    parser.add_argument(
        "--frames", default=STREET, help="folder of pictures or video to check it on, or the word street"
    )
    parser.set_defaults(run_command=export)


def export(options: argparse.Namespace) -> None:
    """Write the file and print how it compares with torch on real frames; a file that differs is not left behind."""
    if options.out.suffix.lower() != ".onnx":
        raise ExportError(f"--out is {options.out}; expected a name that ends in .onnx")
    network = plain_network(options.model)
    frames = list(itertools.islice(open_clip(options.frames).frames(), FRAMES_COMPARED))
    model = onnx_bytes(network)
    compared = compare(model, network, frames)
    print(
        f"{options.out}: {len(model) / 1e6:.1f} MB, checked on {compared.frames} frames of {options.frames}: "
        f"largest difference of logits {compared.largest_difference:.2g}, labels agree on {compared.agreement:.4%}\n"
        f"from float64: {compared.file_rounding:.2g}, torch in float32: {compared.torch_rounding:.2g}"
    )
    if not compared.file_rounding <= MOST_ROUNDING * compared.torch_rounding:
        raise ExportError("the file's logits differ by more than float32 explains; it was not written")
    atomic_write(options.out, model)


def plain_network(model: str) -> SegmentationNetwork:
    """A checkpoint's network in torch's own operators, which exporters know, with BatchNorm folded."""
    network = load_trainable(model).eval().requires_grad_(False)
    fold_batch_norms(network)
    return network


def onnx_bytes(network: SegmentationNetwork) -> bytes:
    """The full network, from a normalised float32 picture (1, 3, H, W) of the model's input size to its logits."""
    onnx = import_extra("onnx", EXTRA, "exporting")
    import_extra("onnxscript", EXTRA, "exporting")
    width, height = network.config.input_size
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "opset_version": OPSET}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # the exporter tells its progress
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, (torch.zeros(1, 3, height, width),), dynamo=True, verbose=False, **names)
    assert program is not None, "the dynamo exporter returns a program"
    model = program.model_proto
    onnx.helper.set_model_props(model, metadata(network.config))
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")  # this machine's paths among them
        if isinstance(part, onnx.NodeProto):
            part.ClearField("doc_string")
    written: bytes = model.SerializeToString()
    return written


def metadata(config: ModelConfig) -> dict[str, str]:
    """What ``slow.description`` reads, in JSON, which is YAML."""
    said = {
        **{name: getattr(config, name) for name in ("input_size", "mean", "std", "classes", "colours")},
        "layout": "nchw",
        "channels": "rgb",
    }
    return {name: json.dumps(value) for name, value in said.items()}


@torch.inference_mode()
def compare(model: bytes, network: SegmentationNetwork, frames: Sequence[NDArray[np.uint8]]) -> Comparison:
    """Both on the frames; ``network`` ends in float64."""
    runtime = import_extra("onnxruntime", EXTRA, "checking the file")
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    pictures = [normalised(frame, network.config) for frame in frames]
    by_torch = [network(picture) for picture in pictures]
    by_file = [torch.from_numpy(session.run([OUTPUT], {INPUT: picture.numpy()})[0]) for picture in pictures]
    network.double()
    exact = [network(picture.double()) for picture in pictures]
    size = network.config.input_size
    same = [
        label_in_torch(one, size) == label_in_torch(other, size) for one, other in zip(by_torch, by_file, strict=True)
    ]
    return Comparison(
        len(frames),
        farthest(by_file, by_torch),
        float(np.mean(same)),
        farthest(by_file, exact),
        farthest(by_torch, exact),
    )


def normalised(frame: NDArray[np.uint8], config: ModelConfig) -> Tensor:
    """A frame of any size as the file takes it: (1, 3, H, W) float32."""
    image = Preprocessor(config.input_size, torch.device("cpu"))(frame).float()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
    return ((image - mean) / std).contiguous()


def farthest(ones: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """The largest difference; nan where there is one."""
    differences = [(one.double() - other).abs().max() for one, other in zip(ones, others, strict=True)]
    return float(torch.stack(differences).max())

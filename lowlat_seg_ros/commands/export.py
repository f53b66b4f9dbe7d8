"""``lowlat-seg export``: the slow network of a checkpoint of ours as a file for other runtimes."""

from __future__ import annotations

import argparse
import copy
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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
from lowlat_seg_ros.runtime.extras import import_extra
from lowlat_seg_ros.runtime.onnx_program import EXTRA, INPUT, OUTPUT, written

FRAMES_COMPARED = 2
# BatchNorm folded or not is the same network, and rounding makes a difference between the two. The file sums in another
# order, too, and may differ from torch by this many times as much; another network differs by thousands of times.
MOST_ROUNDING = 32.0


class ExportError(Error):
    """A network that could not be written, or that is not the same in the file."""


class Comparison(NamedTuple):
    """The file against torch, over all frames."""

    frames: int
    largest_difference: float  # between their logits
    rounding: float  # the largest difference between torch's own, with BatchNorm folded and not
    agreement: float  # the fraction of pixels with the same label


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
    network = load_trainable(options.model).eval().requires_grad_(False)
    folded = copy.deepcopy(network)
    fold_batch_norms(folded)
    model = onnx_bytes(folded)
    frames = list(itertools.islice(open_clip(options.frames).frames(), FRAMES_COMPARED))
    compared = compare(model, folded, network, frames)
    print(
        f"{options.out}: {len(model) / 1e6:.1f} MB, checked on {compared.frames} frames of {options.frames}: "
        f"logits differ from torch's by {compared.largest_difference:.2g} at most (float32 by itself: "
        f"{compared.rounding:.2g}), labels agree on {compared.agreement:.4%} of the pixels"
    )
    if not compared.largest_difference <= MOST_ROUNDING * compared.rounding:
        raise ExportError("the file's logits differ by more than float32 explains; it was not written")
    atomic_write(options.out, model)


def onnx_bytes(network: SegmentationNetwork) -> bytes:
    """The full network, from a normalised float32 picture (1, 3, H, W) of the model's input size to its logits."""
    onnx = import_extra("onnx", EXTRA, "exporting")
    width, height = network.config.input_size
    model = onnx.load_model_from_string(written(network, (1, 3, height, width)))
    onnx.helper.set_model_props(model, metadata(network.config))
    content: bytes = model.SerializeToString()
    return content


def metadata(config: ModelConfig) -> dict[str, str]:
    """What ``slow.description`` reads, in JSON, which is YAML."""
    said = {
        **{name: getattr(config, name) for name in ("input_size", "mean", "std", "classes", "colours")},
        "layout": "nchw",
        "channels": "rgb",
    }
    return {name: json.dumps(value) for name, value in said.items()}


@torch.inference_mode()
def compare(
    model: bytes, folded: SegmentationNetwork, network: SegmentationNetwork, frames: Sequence[NDArray[np.uint8]]
) -> Comparison:
    """The file that was written of ``folded``, and ``network``, which has its BatchNorm, on the frames."""
    runtime = import_extra("onnxruntime", EXTRA, "checking the file")
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    pictures = [normalised(frame, network.config) for frame in frames]
    by_file = [torch.from_numpy(session.run([OUTPUT], {INPUT: picture.numpy()})[0]) for picture in pictures]
    by_folded = [folded(picture) for picture in pictures]
    by_network = [network(picture) for picture in pictures]
    size = network.config.input_size
    pairs = zip(by_file, by_folded, strict=True)
    agreement = np.mean([label_in_torch(one, size) == label_in_torch(other, size) for one, other in pairs])
    return Comparison(len(frames), farthest(by_file, by_folded), farthest(by_folded, by_network), float(agreement))


def normalised(frame: NDArray[np.uint8], config: ModelConfig) -> Tensor:
    """A frame of any size as the file takes it: (1, 3, H, W) float32."""
    image = Preprocessor(config.input_size, torch.device("cpu"))(frame).float()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
    return ((image - mean) / std).contiguous()


def farthest(ones: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """The largest difference; nan where there is one."""
    differences = [(one - other).abs().max() for one, other in zip(ones, others, strict=True)]
    return float(torch.stack(differences).max())

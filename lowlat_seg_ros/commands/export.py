"""``lowlat-seg export``: the full network of a checkpoint of ours as a file for other runtimes, or its calibration."""

from __future__ import annotations

import argparse
import copy
import importlib
import io
import itertools
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.clips import STREET, open_clip
from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.evaluation.per_frame_network import PerFrameNetwork
from lowlat_seg_ros.fast.pictures import Preprocessor, label_in_torch
from lowlat_seg_ros.models.calibration import CALIBRATION_FILE, calibrate, calibration_bytes
from lowlat_seg_ros.models.checkpoint import load_checkpoint, load_trainable, locate
from lowlat_seg_ros.models.config import ModelConfig
from lowlat_seg_ros.models.inference import fold_batch_norms
from lowlat_seg_ros.models.placing import Placer
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime import in_openvino
from lowlat_seg_ros.runtime.choice import Wish
from lowlat_seg_ros.runtime.extras import import_extra
from lowlat_seg_ros.runtime.in_onnxruntime import EXTRA
from lowlat_seg_ros.runtime.onnx_program import INPUT, OUTPUT, written

SUFFIXES: Final = {"onnx": ".onnx", "openvino": ".xml"}
FRAMES_COMPARED: Final = 2
MOST_CALIBRATED: Final = 32  # pictures, spread over all that are given
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
    parser.add_argument("--format", choices=list(SUFFIXES), default="onnx")
    parser.add_argument("--out", type=Path, metavar="X.onnx", help="the file to write; openvino's is X.xml, with X.bin")
    parser.add_argument(
        "--frames", default=STREET, help="folder of pictures or video to check it on, or the word street"
    )
    parser.add_argument(
        "--calibrate",
        metavar="FRAMES",
        help="instead of --out: measure on training pictures the ranges that int8 needs, and write "
        f"{CALIBRATION_FILE} beside the model's weights",
    )
    parser.set_defaults(run_command=export)


def export(options: argparse.Namespace) -> None:
    """Write the file and print how it compares with torch on real frames; a file that differs is not left behind."""
    if (options.out is None) == (options.calibrate is None):
        raise ExportError("expected one of --out, the file to write, and --calibrate, the pictures to see")
    frames = list(itertools.islice(open_clip(options.frames).frames(), FRAMES_COMPARED))
    if options.calibrate is not None:
        write_calibration(options.model, options.calibrate, frames, options.frames)
        return
    if options.out.suffix.lower() != SUFFIXES[options.format]:
        raise ExportError(f"--out is {options.out}; expected a name that ends in {SUFFIXES[options.format]}")
    network = load_trainable(options.model).eval().requires_grad_(False)
    folded = copy.deepcopy(network)
    fold_batch_norms(folded)
    model = onnx_bytes(folded)
    files = {options.out: model} if options.format == "onnx" else openvino_files(model, options.out)
    compared = compare(files, folded, network, frames)
    print(
        f"{options.out}: {sum(map(len, files.values())) / 1e6:.1f} MB, checked on {compared.frames} frames of "
        f"{options.frames}: logits differ from torch's by {compared.largest_difference:.2g} at most (float32 by "
        f"itself: {compared.rounding:.2g}), labels agree on {compared.agreement:.4%} of the pixels"
    )
    if not compared.largest_difference <= MOST_ROUNDING * compared.rounding:
        raise ExportError("the file's logits differ by more than float32 explains; it was not written")
    for file, content in files.items():
        atomic_write(file, content)


def write_calibration(model: str, pictures: str, frames: Sequence[NDArray[np.uint8]], frames_name: str) -> None:
    """Write it and print how int8 then compares with fp32 on the frames."""
    directory, weights_file = locate(model)
    network = load_checkpoint(model)
    clip = open_clip(pictures, is_video=False)
    step = -(-clip.frame_count // MOST_CALIBRATED)
    seen = list(itertools.islice(clip.frames(), 0, None, step))
    network.calibration = calibrate(network, seen)
    labels = []
    for precision in ("fp32", "int8"):
        wishes = (Wish(track, "openvino", precision) for track in ("fast", "slow"))
        placed = Placer(network, torch.device("cpu")).placed(*wishes)[0]
        ways = PerFrameNetwork(placed, placed.forward_fast), PerFrameNetwork(placed, placed)
        labels.append([np.stack([label(frame) for frame in frames]) for label in ways])
    low, high = (float((one == other).mean()) for one, other in zip(*labels, strict=True))
    atomic_write(directory / CALIBRATION_FILE, calibration_bytes(network.calibration, weights_file))
    print(
        f"{directory / CALIBRATION_FILE}: of {len(seen)} pictures of {pictures}; on {len(frames)} frames of "
        f"{frames_name} labels agree with fp32 on {low:.2%} (Sl alone) and {high:.2%} (the full network) of the pixels"
    )


def onnx_bytes(network: SegmentationNetwork) -> bytes:
    """The full network, from a normalised float32 picture (1, 3, H, W) of the model's input size to its logits."""
    onnx = importlib.import_module("onnx")
    width, height = network.config.input_size
    model = onnx.load_model_from_string(written(network, ((1, 3, height, width),)))
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


Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A normalised picture to its logits."""


def run_by_onnxruntime(model: bytes) -> Run:
    runtime = import_extra("onnxruntime", EXTRA, "checking the file")
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return lambda picture: session.run([OUTPUT], {INPUT: picture})[0]


def openvino_files(model: bytes, out: Path) -> dict[Path, bytes]:
    """OpenVINO's own two files of an ONNX model."""
    openvino = in_openvino.library()
    with tempfile.TemporaryDirectory() as folder:
        written_to = Path(folder, out.name)
        openvino.save_model(openvino.Core().read_model(io.BytesIO(model)), written_to, compress_to_fp16=False)
        return {file: Path(folder, file.name).read_bytes() for file in (out.with_suffix(".bin"), out)}


def run_by_openvino(weights: bytes, layers: bytes) -> Run:
    openvino = in_openvino.library()
    core, tensor = openvino.Core(), openvino.Tensor(np.frombuffer(weights, np.uint8))
    compiled = core.compile_model(core.read_model(layers, tensor), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda picture: compiled(picture)[0]


@torch.inference_mode()
def compare(
    files: Mapping[Path, bytes],
    folded: SegmentationNetwork,
    network: SegmentationNetwork,
    frames: Sequence[NDArray[np.uint8]],
) -> Comparison:
    """The files that were written of ``folded``, and ``network``, which has its BatchNorm, on the frames."""
    run = run_by_onnxruntime(*files.values()) if len(files) == 1 else run_by_openvino(*files.values())
    pictures = [normalised(frame, network.config) for frame in frames]
    by_file = [torch.from_numpy(run(picture.numpy())) for picture in pictures]
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

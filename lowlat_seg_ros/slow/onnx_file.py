"""An ONNX file through ONNX Runtime, with what its metadata or the YAML beside it says of its pictures and classes."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.errors import Error, in_one_line
from lowlat_seg_ros.fast.pictures import Size
from lowlat_seg_ros.runtime import in_onnxruntime
from lowlat_seg_ros.runtime.choice import RUNTIMES, TORCH, Choice, Place, Wish, choose, refusal_here
from lowlat_seg_ros.runtime.extras import import_extra
from lowlat_seg_ros.runtime.onnx_program import OnnxFile
from lowlat_seg_ros.runtime.runtime import InThread, Session
from lowlat_seg_ros.slow.description import Description, completed_by_metadata, read_description
from lowlat_seg_ros.slow.foreign import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    SMALLEST_PROBABILITY,
    ForeignNetwork,
    Source,
    checked,
)

logger = logging.getLogger(__name__)

EXTRA = "onnx"
INPUT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
MULTIPLE = 32  # of the sides of an input whose size is left open: what encoders of five halvings want
ENDLESS = ("Loop", "Scan")
LARGEST_INFERRED = 1 << 26  # bytes of a file whose tensors' sizes are looked at: larger ones cost what they hold anyway
LARGEST_TENSOR = 1 << 29  # numbers: the logits of 150 classes for 2048x1024 pixels are 3e8
NOT_IN_TORCH = "an ONNX file does not run in torch"
PROBABILITIES_OFF = 0.02  # that those of a place may sum to more or less than 1, in half precision
CERTAIN = 10.0  # the logit of a class where the network gives ids and no logits


class OnnxError(Error):
    """A file that cannot be used; the message says what was wrong and what was expected."""


def recognises(model: str) -> bool:
    return Path(model).suffix.lower() == ".onnx"


def load(model: str, device: torch.device | str, description: Description | None = None) -> ForeignNetwork:
    """The network of a file. ``description`` is what a YAML says that names it; else the YAML beside it is looked for.

    Raises:
        Error: there is no such file, or it is no network from pictures to classes.
    """
    path = Path(model)
    if not path.is_file():
        raise OnnxError(f"there is no file {model!r}; expected an ONNX network")
    beside = path.with_suffix(".yaml")
    if description is None:
        description = read_description(beside) if beside.is_file() else Description()
    if description.source not in (None, path.name, str(path)) and beside.is_file():
        raise OnnxError(f"{beside} describes {description.source}, not {path.name}; name the YAML itself as the model")
    check_file(path)
    session = open_session(path, device)
    says_colours = description.colours is not None
    description = completed_by_metadata(description, session.get_modelmeta().custom_metadata_map, model)
    classes = description.classes
    if classes is None:
        raise OnnxError(f"{model} names no classes; expected classes in its metadata or in {beside.name} beside it")
    runner = OnnxRunner(session, description, model, device, path)
    mean, std = runner.mean_and_std(description)
    own_colours = None
    if not says_colours and len(description.colours or ()) == len(classes):
        # The file's are of its own classes, which the YAML may merge.
        own_colours, description = description.colours, replace(description, colours=None)
    source = Source(
        classes,
        runner,
        runner.input_size,
        mean,
        std,
        colours=own_colours,
        is_bgr=description.channels == "bgr",
        multiple=1 if runner.size else MULTIPLE,
        has_fixed_size=runner.size is not None,
        placed=runner.placed,
    )
    _log_defaults(description, model)
    return checked(ForeignNetwork(source, description, model), model, device)


def check_file(path: Path) -> None:
    """Raise OnnxError for what ONNX Runtime would not refuse: it ends the process, or reads files from elsewhere."""
    onnx = import_extra("onnx", EXTRA, f"the model {str(path)!r}")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own
        raise OnnxError(f"{path} is no ONNX file: {in_one_line(error)}") from error
    graph = model.graph
    if path.stat().st_size <= LARGEST_INFERRED:
        _check_cost(onnx, model, path)
    for picture in graph.input:
        shape = picture.type.tensor_type.shape.dim
        if picture.type.tensor_type.HasField("shape") and len(shape) != 4:
            raise OnnxError(f"{path} has an input of {len(shape)} dimensions; expected a picture, which has 4")
    for tensor in _tensors(graph):
        for entry in tensor.external_data:
            if entry.key == "location" and (
                entry.value != Path(entry.value).name or not (path.parent / entry.value).is_file()
            ):
                raise OnnxError(f"{path} has weights in {entry.value[:80]!r}; expected that file beside it")


def _check_cost(onnx: Any, model: Any, path: Path) -> None:
    """Raise OnnxError for a graph that need not end, or that asks for more memory than any picture's labels take."""
    for node in model.graph.node:
        if node.op_type in ENDLESS:
            raise OnnxError(f"{path} has a {node.op_type}, which need not end; expected a network without one")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # its session says what is wrong
        return
    for value in (*inferred.value_info, *inferred.output):
        sizes = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        if math.prod(sizes) > LARGEST_TENSOR:
            raise OnnxError(
                f"{path} has a tensor of {'x'.join(map(str, sizes))} numbers; expected {LARGEST_TENSOR} at most"
            )


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor of a graph and of those within it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def open_session(path: Path, device: torch.device | str) -> Any:
    """ONNX Runtime's session, which runs in the thread that asks."""
    import_extra("onnxruntime", EXTRA, f"the model {str(path)!r}")
    providers = in_onnxruntime.providers_on(torch.device(device))
    if torch.device(device).type == "cuda" and providers == [in_onnxruntime.CPU]:
        logger.warning("this onnxruntime has no CUDA: %s runs on the CPU", path)
    try:
        # One thread: others of its own would be neither the slow track's number nor as nice as it.
        return in_onnxruntime.open_session(str(path), 1, providers)
    except Error as error:
        raise OnnxError(f"{path} cannot be loaded: {error}") from error


class OnnxRunner:
    """From normalised pixels to logits by a session."""

    size: Size | None = None  # (width, height), where the file fixes it
    _gives_probabilities: bool | None = None  # None before the first answer, of the picture that it is checked with

    def __init__(
        self, session: Any, description: Description, name: str, device: torch.device | str, path: Path
    ) -> None:
        """Raises OnnxError where its input is no picture, or not laid out as the description says."""
        self._path, self._name, self._device = path, name, device
        self._run: Session = partial(in_onnxruntime.run, session)
        self._class_count = len(description.classes or ())
        inputs = session.get_inputs()
        if len(inputs) != 1:
            raise OnnxError(f"{name} has {len(inputs)} inputs; expected one, a picture")
        if inputs[0].type not in INPUT_TYPES:
            expected = "tensor(float), tensor(float16) or tensor(uint8)"
            raise OnnxError(f"{name} takes a {inputs[0].type}; expected {expected}")
        self._dtype = INPUT_TYPES[inputs[0].type]
        self._set_layout(inputs[0].shape, description)
        if self.size and description.input_size not in (None, self.size):
            raise OnnxError(
                f"{name} takes {self.size[0]}x{self.size[1]} pixels, not input_size {description.input_size}"
            )

    def _set_layout(self, shape: list[Any], description: Description) -> None:
        """From (batch, 3, height, width) or (batch, height, width, 3), where a size left open is a word or None."""
        sizes = [side if isinstance(side, int) and side > 0 else None for side in shape]
        fits_last = len(sizes) == 4 and sizes[3] == 3 and sizes[1] != 3
        layout = description.layout or ("nhwc" if fits_last else "nchw")
        self._is_channels_last = layout == "nhwc"
        channels, height, width = (3, 1, 2) if self._is_channels_last else (1, 2, 3)
        if len(sizes) != 4 or sizes[0] not in (None, 1) or sizes[channels] not in (None, 3):
            expected = "(1, height, width, 3)" if self._is_channels_last else "(1, 3, height, width)"
            raise OnnxError(
                f"{self._name} takes a tensor of shape {shape}; expected {expected} by its layout, {layout}"
            )
        known = sizes[width], sizes[height]
        if (known[0] is None) != (known[1] is None):
            raise OnnxError(f"{self._name} fixes one side of its input {shape} only; expected both or none")
        if known[0] is not None and known[1] is not None:
            self.size = known[0], known[1]

    def input_size(self, picture: Size) -> Size:
        """The file's, or else the picture's own."""
        return self.size or picture

    def mean_and_std(self, description: Description) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of a network that takes bytes: none, it normalises them itself."""
        if self._dtype != np.uint8:
            return description.mean or IMAGENET_MEAN, description.std or IMAGENET_STD
        if description.mean or description.std:
            raise OnnxError(f"{self._name} takes bytes, so that it has no use for mean and std")
        return (0.0,) * 3, (1.0,) * 3

    def __call__(self, pixels: Tensor) -> Tensor:
        """(1, 3, h, w) float32, normalised, to (1, classes or one more, h', w')."""
        laid_out = pixels.permute(0, 2, 3, 1) if self._is_channels_last else pixels
        values = laid_out.round() if self._dtype == np.uint8 else laid_out
        fed = np.ascontiguousarray(values.cpu().numpy().astype(self._dtype))
        return self._as_logits(self._run(fed)[0]).to(self._device)

    def placed(self, wish: Wish, device: torch.device) -> tuple[OnnxRunner, Choice]:
        """Itself, or a runner in another runtime. Raises ParameterError where that cannot be."""
        as_loaded = Place("onnxruntime", "fp32")
        if wish.is_open:
            return self, Choice("slow", as_loaded, ("an ONNX file does, unless told otherwise",))

        def refuse(place: Place) -> str:
            if place.runtime == TORCH:
                return NOT_IN_TORCH
            if place.precision == "int8":
                return "an ONNX file has no calibration of ours; one that its author made int8 stays so in fp32"
            return "" if place == as_loaded else refusal_here(place, device)

        choice = choose(wish, refuse)
        if choice.place == as_loaded:
            return self, choice
        other = copy.copy(self)
        other._run = InThread(OnnxFile(self._path), RUNTIMES[choice.place.runtime], choice.place.precision, device)
        return other, choice

    def _as_logits(self, found: np.ndarray) -> Tensor:
        if np.issubdtype(found.dtype, np.integer):
            return self._of_ids(found)
        if found.ndim == 4 and found.shape[1] != self._class_count and found.shape[3] == self._class_count:
            found = found.transpose(0, 3, 1, 2)
        answer = torch.from_numpy(np.ascontiguousarray(found, np.float32))
        if self._gives_probabilities is None:
            self._gives_probabilities = _are_probabilities(answer)
            if self._gives_probabilities:
                logger.warning("%s ends in a softmax, it seems: the logarithm of what it gives is taken", self._name)
        return answer.clamp_min(SMALLEST_PROBABILITY).log() if self._gives_probabilities else answer

    def _of_ids(self, ids: np.ndarray) -> Tensor:
        """(h, w), with dimensions of one before it or behind, to logits; what names no class is one channel more."""
        shape = ids.shape[:-1] if ids.ndim == 4 and ids.shape[-1] == 1 else ids.shape
        if len(shape) < 2 or ids.size != shape[-1] * shape[-2]:
            raise OnnxError(
                f"{self._name} gives whole numbers of shape {ids.shape}; expected (1, height, width) class ids"
            )
        labels = torch.from_numpy(ids.astype(np.int64).reshape(shape[-2:]))
        is_class = (labels >= 0) & (labels < self._class_count)
        labels = torch.where(is_class, labels, self._class_count)
        return CERTAIN * functional.one_hot(labels, self._class_count + 1).permute(2, 0, 1)[None].float()


def _are_probabilities(answer: Tensor) -> bool:
    """Whether a network ends in a softmax over its classes, (1, classes, h, w), which logits never look like."""
    if answer.dim() != 4 or not bool(answer.min() >= 0):
        return False
    return bool(((answer.sum(dim=1) - 1).abs() <= PROBABILITIES_OFF).all())


def _log_defaults(description: Description, name: str) -> None:
    defaults = {"mean": "ImageNet's", "std": "ImageNet's", "layout": "by its shape", "channels": "rgb"}
    assumed = [f"{key} {value}" for key, value in defaults.items() if getattr(description, key) is None]
    if assumed:
        logger.warning("%s does not say it, so taken for granted: %s", name, ", ".join(assumed))

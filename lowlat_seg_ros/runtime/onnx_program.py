"""Layers of ours written as ONNX, which every other runtime reads.

What the layers do is recorded while they run once. Torch's exporter does the same for every network there is: in ten
seconds of a core, with a thread pool that stays; this takes as long as the layers.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.runtime.ranges import Range, Ranges

Shapes = tuple[tuple[int, ...], ...]
INPUT, OUTPUT = "image", "logits"  # as `lowlat-seg export` names them, the second and later ones with a number
OPSET: Final = 18
IR_VERSION: Final = 9  # of the file format: the oldest that has this opset
LARGEST_BYTE: Final = 255
LARGEST_SIGNED_BYTE: Final = 127
OWN_PACKAGE: Final = f"{__name__.partition('.')[0]}."
CONVERTED_BY: Final = ("torch", "onnx")


@dataclass(frozen=True, eq=False)
class Layers:
    """Layers of ours for one size of their inputs."""

    name: str  # of a file of theirs
    module: nn.Module  # from tensors to tensors, in the operators of ``_RULES``
    shapes: Shapes  # of the inputs
    grid: tuple[int, int]  # (height, width) of the results, which the inputs' shapes alone do not tell
    ranges: Ranges | None = None  # for int8

    @cached_property
    def fingerprint(self) -> str:
        """Of the weights, and of the source files that say what is computed with them and how that is written."""
        hashed = hashlib.sha256()
        for file in sorted({__file__, *_source_files(self.module)}):
            hashed.update(Path(file).read_bytes())
        for name, tensor in self.module.state_dict().items():
            hashed.update(name.encode())
            hashed.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return hashed.hexdigest()

    @property
    def made_from(self) -> tuple[str, ...]:
        """All that decides what is written, but for the versions of ``CONVERTED_BY``."""
        return self.name, self.fingerprint, str(self.shapes), str(self.grid), str(self.ranges)

    def onnx(self) -> bytes:
        """Raises Error where that cannot be written."""
        return written(self.module, self.shapes, self.ranges)


def _source_files(module: nn.Module) -> Iterator[str]:
    """Of the classes of all its parts, and of the functions of ours that these can call."""
    for kind in {type(part) for part in module.modules()}:
        yield inspect.getfile(kind)
        for function in filter(inspect.isfunction, vars(sys.modules[kind.__module__]).values()):
            if function.__module__.startswith(OWN_PACKAGE):
                yield inspect.getfile(function)


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """Somebody's network. Loaded twice it is two: what hangs in the one must not be waited for in the other."""

    path: Path


def written(module: nn.Module, shapes: Shapes, ranges: Ranges | None = None) -> bytes:
    """A module in evaluation mode as an ONNX file.

    Args:
        shapes: of its inputs. It gives a tensor or a tuple of them.
        ranges: of its first convolutions' inputs, where these are to run in int8. The one that sees the picture does
            not: it loses most by it, and takes little time.

    Raises:
        Error: it uses an operator that is not in ``_RULES``, or has fewer convolutions than ranges.
    """
    recorder = _Recorder(ranges)
    # In inference mode torch would not split operators up, whoever has turned that on.
    with torch.inference_mode(False), torch.no_grad():
        examples = [torch.zeros(shape) for shape in shapes]
        for example, name in zip(examples, _numbered(INPUT, len(examples)), strict=True):
            recorder.name(example, name)
        with recorder:
            found = module(*examples)
    return recorder.model(examples, [found] if isinstance(found, Tensor) else list(found))


def _numbered(name: str, count: int) -> list[str]:
    return [name, *(f"{name}{number}" for number in range(1, count))]


class _Recorder(TorchDispatchMode):
    """Writes down every operator that depends on the input; what does not is a constant."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler for it, a second of a core, and nothing is compiled here

    def __init__(self, ranges: Ranges | None) -> None:
        super().__init__()
        self._ranges = None if ranges is None else list(ranges)
        self._in_int8: dict[str, str] = {}  # what has been rounded, by the name of what it is of
        self._permutations: dict[str, tuple[str, list[int]]] = {}  # of what, and in which order
        self._convolutions = 0
        self._onnx = importlib.import_module("onnx")
        self._names = WeakIdKeyDictionary()  # by the tensors themselves, whose memory is not kept
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        result = operator(*arguments, **(keywords or {}))
        flat = [part for value in arguments for part in (value if isinstance(value, (list, tuple)) else [value])]
        if any(isinstance(part, Tensor) and part in self._names for part in flat):
            rule = _RULES.get(operator.overloadpacket)
            if rule is None or (keywords and rule is not _itself):  # however a copy lies in memory
                raise Error(f"{operator} has no counterpart in ONNX here")
            first = result[0] if isinstance(result, tuple) else result
            self.name(first, rule(self, first, *arguments))
        return result

    def name(self, tensor: Tensor, name: str) -> None:
        """What the tensor holds from now on is that value."""
        self._names[tensor] = name

    def of(self, tensor: Tensor) -> str:
        """The value's name; of a constant, once it is written."""
        if tensor not in self._names:
            self.name(tensor, self.constant(tensor.detach().cpu().contiguous().numpy()))
        return str(self._names[tensor])

    def constant(self, values: NDArray[Any]) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def convolved(self, picture: Tensor, weight: Tensor) -> tuple[str, str]:
        """The names of what the next convolution sees and weighs: themselves, or both rounded to eight bits."""
        seen, number = self.of(picture), self._convolutions
        self._convolutions += 1
        if self._ranges is None or number == 0 or number >= len(self._ranges):
            return seen, self.of(weight)
        if seen not in self._in_int8:
            self._in_int8[seen] = self._rounded(seen, self._ranges[number])
        return self._in_int8[seen], self._rounded_weight(weight)

    def _rounded(self, seen: str, ends: Range) -> str:
        low, high = min(ends.low, 0.0), max(ends.high, 0.0)
        step = (high - low) / LARGEST_BYTE
        steps = [self.constant(np.array(step, np.float32)), self.constant(np.array(round(-low / step), np.uint8))]
        return self.add("DequantizeLinear", [self.add("QuantizeLinear", [seen, *steps]), *steps])

    def _rounded_weight(self, weight: Tensor) -> str:
        """Each output channel in steps of its own, zero being one."""
        values = weight.detach().float().contiguous().numpy()
        largest = np.abs(values).reshape(len(values), -1).max(axis=1)
        step = np.where(largest > 0, largest / LARGEST_SIGNED_BYTE, 1).astype(np.float32)
        rounded = np.rint(values / step.reshape(-1, 1, 1, 1)).astype(np.int8)
        constants = (rounded, step, np.zeros(len(step), np.int8))
        return self.add("DequantizeLinear", [self.constant(each) for each in constants], axis=0)

    def add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """One node; returns the name of its output."""
        name = f"value{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def permuted(self, name: str, order: list[int]) -> str:
        """A value with its dimensions in another order; itself, where it was brought out of just that one."""
        source, before = self._permutations.get(name, (name, range(len(order))))
        order = [before[dimension] for dimension in order]
        if order == list(range(len(order))):
            return source
        permuted = self.add("Transpose", [source], perm=order)
        self._permutations[permuted] = source, order
        return permuted

    def model(self, examples: Sequence[Tensor], results: Sequence[Tensor]) -> bytes:
        """The whole file."""
        if not all(result in self._names for result in results):
            raise Error("the layers' result does not depend on their input")
        if self._ranges is not None and len(self._ranges) > self._convolutions:
            raise Error(f"the calibration is of {len(self._ranges)} convolutions; expected {self._convolutions}")
        helper, real = self._onnx.helper, self._onnx.TensorProto.FLOAT
        outputs = _numbered(OUTPUT, len(results))
        for result, name in zip(results, outputs, strict=True):
            self._nodes.append(helper.make_node("Identity", [self._names[result]], [name]))
        ends = [
            [helper.make_tensor_value_info(name, real, list(end.shape)) for name, end in zip(names, given, strict=True)]
            for names, given in ((_numbered(INPUT, len(examples)), examples), (outputs, results))
        ]
        graph = helper.make_graph(self._nodes, "layers", *ends, self._constants)
        opset = [helper.make_opsetid("", OPSET)]
        serialized: bytes = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION).SerializeToString()
        return serialized


# --- operators: each writes its nodes and returns the name of their result --------------------------------------------

Rule = Callable[..., str]


def _convolution(
    to: _Recorder,
    result: Tensor,
    picture: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    is_transposed: bool,
    output_padding: list[int],
    groups: int,
) -> str:
    if is_transposed:
        raise Error("a transposed convolution has no counterpart in ONNX here")
    inputs = [*to.convolved(picture, weight), *([] if bias is None else [to.of(bias)])]
    return to.add("Conv", inputs, strides=stride, pads=[*padding, *padding], dilations=dilation, group=groups)


def _permuted(to: _Recorder, result: Tensor, picture: Tensor, order: list[int]) -> str:
    return to.permuted(to.of(picture), order)


def _exchanged(to: _Recorder, result: Tensor, picture: Tensor, first: int, second: int) -> str:
    order = list(range(picture.dim()))
    order[first], order[second] = order[second], order[first]
    return to.permuted(to.of(picture), order)


def _reshaped(to: _Recorder, result: Tensor, picture: Tensor, size: list[int]) -> str:
    return to.add("Reshape", [to.of(picture), to.constant(np.array(result.shape, np.int64))])


def _sum_with_matrix_product(to: _Recorder, result: Tensor, bias: Tensor, first: Tensor, second: Tensor) -> str:
    return to.add("Add", [to.add("MatMul", [to.of(first), to.of(second)]), to.of(bias)])


def _of_two(kind: str) -> Rule:
    def rule(to: _Recorder, result: Tensor, first: Tensor, second: Tensor) -> str:
        return to.add(kind, [to.of(first), to.of(second)])

    return rule


def _sum_with_product(to: _Recorder, result: Tensor, first: Tensor, second: Tensor, third: Tensor) -> str:
    return to.add("Add", [to.of(first), to.add("Mul", [to.of(second), to.of(third)])])


def _softmax(to: _Recorder, result: Tensor, picture: Tensor, dimension: int, is_half: bool) -> str:
    return to.add("Softmax", [to.of(picture)], axis=dimension)


def _length(
    to: _Recorder, result: Tensor, picture: Tensor, power: float, dimensions: list[int], are_kept: bool = False
) -> str:
    if power != 2:
        raise Error(f"a norm of power {power} has no counterpart in ONNX here")
    return to.add("ReduceL2", [to.of(picture), to.constant(np.array(dimensions, np.int64))], keepdims=int(are_kept))


def _at_least(to: _Recorder, result: Tensor, picture: Tensor, low: float) -> str:
    return to.add("Max", [to.of(picture), to.constant(np.array(low, np.float32))])


def _expanded(to: _Recorder, result: Tensor, picture: Tensor, size: object) -> str:
    return to.add("Expand", [to.of(picture), to.constant(np.array(result.shape, np.int64))])


def _relu(to: _Recorder, result: Tensor, picture: Tensor) -> str:
    return to.add("Relu", [to.of(picture)])


def _clip(to: _Recorder, result: Tensor, picture: Tensor, low: float = -1.0, high: float = 1.0) -> str:
    return to.add("Clip", [to.of(picture), *(to.constant(np.array(limit, np.float32)) for limit in (low, high))])


def _concatenation(to: _Recorder, result: Tensor, parts: list[Tensor], dimension: int = 0) -> str:
    return to.add("Concat", [to.of(part) for part in parts], axis=dimension)


def _enlarged(
    to: _Recorder, result: Tensor, picture: Tensor, size: object, are_corners_aligned: bool, *scales: object
) -> str:
    if are_corners_aligned:
        raise Error("interpolation between aligned corners has no counterpart in ONNX here")
    sizes = to.constant(np.array(result.shape, np.int64))
    where = {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}
    return to.add("Resize", [to.of(picture), "", "", sizes], **where)


def _pooled(to: _Recorder, result: Tensor, picture: Tensor, size: list[int]) -> str:
    """Averages over cells that may overlap, as two products with constant matrices."""
    rows, columns = (
        _averaging(length, cells) for length, cells in zip(picture.shape[-2:], result.shape[-2:], strict=True)
    )
    by_rows = to.add("MatMul", [to.constant(rows), to.of(picture)])
    return to.add("MatMul", [by_rows, to.constant(columns.T)])


def _averaging(length: int, cells: int) -> NDArray[np.float32]:
    """(cells, length): what torch's adaptive pooling takes the mean of."""
    matrix = np.zeros((cells, length), np.float32)
    for cell in range(cells):
        first, end = cell * length // cells, -(-(cell + 1) * length // cells)
        matrix[cell, first:end] = 1 / (end - first)
    return matrix


def _mean(to: _Recorder, result: Tensor, picture: Tensor, dimensions: list[int], are_kept: bool = False) -> str:
    axes = to.constant(np.array(dimensions, np.int64))
    return to.add("ReduceMean", [to.of(picture), axes], keepdims=int(are_kept))


def _padded(to: _Recorder, result: Tensor, picture: Tensor, padding: list[int], value: float = 0.0) -> str:
    left, right, top, bottom = (*padding, 0, 0)[:4]
    pads = to.constant(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    return to.add("Pad", [to.of(picture), pads, to.constant(np.array(value, np.float32))])


def _largest(
    to: _Recorder, result: Tensor, picture: Tensor, size: list[int], stride: list[int], padding: list[int]
) -> str:
    return to.add("MaxPool", [to.of(picture)], kernel_shape=size, strides=stride, pads=[*padding, *padding])


def _itself(to: _Recorder, result: Tensor, picture: Tensor) -> str:
    return to.of(picture)


def _laid_out(to: _Recorder, result: Tensor, picture: Tensor, size: list[int], strides: list[int]) -> str:
    """As pooling lays out a single element in memory; its place is the same."""
    if result.numel() != result.shape[0] * result.shape[1]:
        raise Error("a view has no counterpart in ONNX here")
    return to.of(picture)


_aten: Final = torch.ops.aten
_RULES: Final[dict[Any, Rule]] = {
    _aten.convolution: _convolution,
    _aten.relu: _relu,
    _aten.relu_: _relu,
    _aten.hardtanh: _clip,
    _aten.hardtanh_: _clip,
    _aten.add: _of_two("Add"),
    _aten.add_: _of_two("Add"),
    _aten.div: _of_two("Div"),
    _aten.addcmul: _sum_with_product,
    _aten._softmax: _softmax,
    _aten.linalg_vector_norm: _length,
    _aten.clamp_min: _at_least,
    _aten.expand: _expanded,
    _aten.permute: _permuted,
    _aten.transpose: _exchanged,
    _aten.view: _reshaped,
    _aten._unsafe_view: _reshaped,
    _aten.addmm: _sum_with_matrix_product,
    _aten.mm: _of_two("MatMul"),
    _aten.cat: _concatenation,
    _aten.upsample_bilinear2d: _enlarged,
    _aten._adaptive_avg_pool2d: _pooled,
    _aten.mean: _mean,
    _aten.constant_pad_nd: _padded,
    _aten.max_pool2d_with_indices: _largest,
    _aten.as_strided_: _laid_out,
    _aten.detach: _itself,
    _aten.clone: _itself,
}

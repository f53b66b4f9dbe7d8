"""The steps of a frame's way that are layers and nothing else: what a runtime may compute in torch's place.

Each is a function of tensors, the same for any runtime, and of as much as one call can do: what crosses the border of a
runtime is written and read again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from torch import Tensor, nn

from lowlat_seg_ros.fast.frames import LowFeatures
from lowlat_seg_ros.models.layers import Grid

if TYPE_CHECKING:
    from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork

Tensors = tuple[Tensor, ...]


class Step(NamedTuple):
    """Pictures (B, C, h, w) in and out, all but a track's own input on the grid of the features or finer."""

    name: str  # in the names of files
    track: Literal["fast", "slow"]
    parts: tuple[str, ...]  # of a network, that hold its weights
    compute: Callable[..., Tensors]  # of what has those parts, the grid, and the inputs


Runner = Callable[[Step, Grid, Tensors], Tensors]
"""What computes a step on a grid of (height, width) in the place of torch."""


class Runners(NamedTuple):
    """Where each track's steps run: None for torch."""

    fast: Runner | None = None
    slow: Runner | None = None


class StepLayers(nn.Module):
    """One step alone, for one size: what other runtimes are given.

    Its pictures are (B, h, w, C), as they lie in memory: no other order is ever written.
    """

    def __init__(self, network: SegmentationNetwork, step: Step, grid: Grid) -> None:
        super().__init__()
        for name in step.parts:
            self.add_module(name, getattr(network, name))
        self._compute, self._grid = step.compute, grid

    def forward(self, *inputs: Tensor) -> Tensors:
        found = self._compute(self, self._grid, *(picture.permute(0, 3, 1, 2) for picture in inputs))
        return tuple(picture.permute(0, 2, 3, 1) for picture in found)


def describe(parts: Any, low: Tensor) -> LowFeatures:
    """F_l with both predictors' one-frame parts."""
    return LowFeatures(low, parts.kernel_predictor.guidance(low), parts.deviation_predictor.guidance(low))


def _see(parts: Any, grid: Grid, low_input: Tensor) -> Tensors:
    return describe(parts, parts.tracks.low_of(low_input, grid))


def _see_little(parts: Any, grid: Grid, low_input: Tensor) -> Tensors:
    return (parts.tracks.low_of(low_input, grid),)


def _see_alone(parts: Any, grid: Grid, low_input: Tensor) -> Tensors:
    return (parts.fast_classifier(parts.tracks.low_of(low_input, grid)),)


def _classify_low(parts: Any, grid: Grid, low: Tensor) -> Tensors:
    return (parts.fast_classifier(low),)


def _classify_beside(parts: Any, grid: Grid, high: Tensor, low: Tensor) -> Tensors:
    return (parts.comparisons.clockwork(high, low),)


def _fuse(parts: Any, grid: Grid, propagated: Tensor, low: Tensor, *gate: Tensor) -> Tensors:
    return (parts.fusion(propagated, parts.adapt_net(low), *gate),)


def _look_closer(parts: Any, grid: Grid, high_input: Tensor) -> Tensors:
    return (parts.tracks.high_of(high_input, grid),)


def _classify(parts: Any, grid: Grid, high: Tensor) -> Tensors:
    return (parts.classifier(high),)


SEE: Final = Step("see", "fast", ("tracks", "kernel_predictor", "deviation_predictor"), _see)
SEE_LITTLE: Final = Step("see_little", "fast", ("tracks",), _see_little)
SEE_ALONE: Final = Step("see_alone", "fast", ("tracks", "fast_classifier"), _see_alone)
CLASSIFY_LOW: Final = Step("classify_low", "fast", ("fast_classifier",), _classify_low)
CLASSIFY_BESIDE: Final = Step("classify_beside", "fast", ("comparisons",), _classify_beside)
FUSE: Final = Step("fuse", "fast", ("adapt_net", "fusion"), _fuse)
LOOK_CLOSER: Final = Step("look_closer", "slow", ("tracks",), _look_closer)
CLASSIFY: Final = Step("classify", "slow", ("classifier",), _classify)

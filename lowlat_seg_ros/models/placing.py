"""Our own networks with the layers of each track in a runtime."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import torch
from torch import Tensor

from lowlat_seg_ros.errors import Error, in_one_line
from lowlat_seg_ros.models.calibration import CALIBRATION_FILE
from lowlat_seg_ros.models.layers import Grid, grid_of
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.models.steps import (
    LOOK_CLOSER,
    SEE,
    SEE_ALONE,
    SEE_LITTLE,
    Runner,
    Runners,
    Step,
    StepLayers,
    Tensors,
)
from lowlat_seg_ros.runtime.captured import captured
from lowlat_seg_ros.runtime.choice import (
    AS_LOADED,
    RUNTIMES,
    TORCH,
    Choice,
    Place,
    Track,
    Wish,
    choose,
    refusal_here,
    usable_places,
)
from lowlat_seg_ros.runtime.in_torch import in_precision
from lowlat_seg_ros.runtime.onnx_program import Layers, Shapes
from lowlat_seg_ros.runtime.runtime import LayersInRuntime

logger = logging.getLogger(__name__)

Size = tuple[int, int]  # (width, height)


class Placer:
    """Brings the tracks of one network to where they are wished."""

    def __init__(self, network: SegmentationNetwork, device: torch.device, size: Size | None = None) -> None:
        """``size``: (width, height) of the images that are to come; the network's own unless given."""
        self._network, self._device = network, device
        self._size = size or network.config.input_size

    def placed(self, fast: Wish | None, slow: Wish | None) -> tuple[SegmentationNetwork, Choice | None, Choice | None]:
        """The network, its weights shared, with the tracks where they are wished; itself where both stay.

        Raises:
            ParameterError: a wish cannot be met.
        """
        fast_runner, fast_choice = self._runner("fast", fast)
        slow_runner, slow_choice = self._runner("slow", slow)
        runners = Runners(fast_runner, slow_runner)
        network = self._network if runners == self._network.runners else with_runners(self._network, runners)
        return network, fast_choice, slow_choice

    def everywhere(self) -> dict[Place, SegmentationNetwork]:
        """The network with both tracks in every place that serves here, as it was loaded first."""
        networks = {}
        for place in usable_places(self.refuse):
            try:
                runners = Runners(self.runner_in("fast", place), self.runner_in("slow", place))
            except Error as error:
                logger.warning("%s is left out: %s", " ".join(place), error)
                continue
            networks[place] = with_runners(self._network, runners)
        return networks

    def refuse(self, place: Place) -> str:
        """Why a place cannot serve."""
        return refusal_here(place, self._device) or self._uncalibrated(place)

    def _uncalibrated(self, place: Place) -> str:
        if place.precision != "int8" or self._network.calibration is not None:
            return ""
        return (
            f"{self._network.config.name} has no {CALIBRATION_FILE} (type: lowlat-seg export MODEL --calibrate FRAMES)"
        )

    def _runner(self, track: Track, wish: Wish | None) -> tuple[Runner | None, Choice | None]:
        if wish is None:
            return None, None
        failed: dict[Place, str] = {}
        while True:
            choice = choose(wish, lambda place: failed.get(place) or self.refuse(place))
            try:
                return self.runner_in(track, choice.place), choice
            except Error as error:
                failed[choice.place] = str(error)

    def runner_in(self, track: Track, place: Place) -> Runner | None:
        """Opened for the size that is to come, so that what cannot run there says so now; raises Error."""
        if place == AS_LOADED and self._device.type == "cpu":
            return None
        network = with_runners(self._network, Runners())
        if place.runtime == TORCH:
            return self._opened_in_torch(network, track, place)
        runtime = RUNTIMES[place.runtime]
        runner = LayersInRuntime[Step](_layers(network, place.precision), runtime, place.precision, self._device)
        try:
            runner.open(*self._first_step(track))
        except Exception as error:  # exporters and runtimes have kinds of their own
            raise Error(f"the layers cannot be brought there: {in_one_line(error)}") from error
        return runner

    def _opened_in_torch(self, network: SegmentationNetwork, track: Track, place: Place) -> Runner:
        runner = torch_runner(network, place.precision)
        if place == AS_LOADED:
            torch.backends.cudnn.allow_tf32 = False  # which keeps no more of a number than fp16 does
            return runner
        with torch.inference_mode():
            found = runner(*self._first_step(track))
        if not all(bool(torch.isfinite(picture).all()) for picture in found):
            raise Error(f"the network's numbers are too large for {place.precision}")
        return runner

    def _first_step(self, track: Track) -> tuple[Step, Grid, Tensors]:
        """The track's network itself; the steps after it are small, and of the same kinds of layers."""
        tracks, (width, height) = self._network.tracks, self._size
        noise = torch.randint(256, (1, 3, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        image = noise.to(self._device)
        grid = grid_of(image, tracks.stride)
        if track == "fast":
            return SEE, grid, (tracks.low_input(image),)
        low = torch.zeros(1, tracks.low_channels, *grid, device=self._device)
        return LOOK_CLOSER, grid, (tracks.high_input(image, low),)


def _layers(network: SegmentationNetwork, precision: str) -> Callable[[Step, Grid, Shapes], Layers]:
    name = "".join(letter if letter.isalnum() else "_" for letter in network.config.name)[:40]
    calibration = network.calibration if precision == "int8" else None
    ranges = {}
    if calibration is not None:
        ranges = {**dict.fromkeys((SEE, SEE_LITTLE, SEE_ALONE), calibration.low), LOOK_CLOSER: calibration.high}

    def layers_of(step: Step, grid: Grid, shapes: Shapes) -> Layers:
        layers = StepLayers(network, step, grid).eval()
        return Layers(f"{name}_{step.name}_{precision}", layers, shapes, grid, ranges.get(step))

    return layers_of


def torch_runner(network: SegmentationNetwork, precision: str) -> Runner:
    """Steps in torch in a precision, as they are on a CPU and replayed on a GPU."""
    made: dict[tuple[Step, Grid], torch.nn.Module] = {}

    def run(step: Step, grid: Grid, inputs: Tensors) -> Tensors:
        if (step, grid) not in made:
            made[step, grid] = in_precision(StepLayers(network, step, grid), precision)
        found = _computed(*(picture.permute(0, 2, 3, 1) for picture in inputs), layers=made[step, grid])
        return tuple(picture.permute(0, 3, 1, 2) for picture in found)

    return run


@captured
def _computed(*pictures: Tensor, layers: torch.nn.Module) -> Tensors:
    found: Tensors = layers(*pictures)
    return found


def with_runners(network: SegmentationNetwork, runners: Runners) -> SegmentationNetwork:
    """The same network, its weights shared, with its tracks in other runtimes."""
    other = copy.copy(network)
    other.__dict__["_modules"] = dict(network._modules)  # else what is exchanged in the one is exchanged in both
    other.runners = runners
    return other

"""Our own networks with the layers of each track in a runtime."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Literal, TypeVar

import torch
from torch import Tensor

from lowlat_seg_ros.errors import Error, in_one_line
from lowlat_seg_ros.models.calibration import CALIBRATION_FILE
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.models.tracks import Grid, Runner, Runners, TrackLayers, Tracks
from lowlat_seg_ros.runtime.choice import (
    AS_LOADED,
    RUNTIMES,
    TORCH,
    Choice,
    Place,
    Wish,
    choose,
    refusal_here,
    usable_places,
)
from lowlat_seg_ros.runtime.in_torch import in_precision
from lowlat_seg_ros.runtime.onnx_program import Layers
from lowlat_seg_ros.runtime.runtime import LayersInRuntime

logger = logging.getLogger(__name__)

Half = Literal["low", "high"]
Size = tuple[int, int]  # (width, height)
Module = TypeVar("Module", bound=torch.nn.Module)


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
        low, low_choice = self._runner("low", fast)
        high, high_choice = self._runner("high", slow)
        runners = Runners(low, high)
        network = self._network if runners == self._network.tracks.runners else with_runners(self._network, runners)
        return network, low_choice, high_choice

    def everywhere(self) -> dict[Place, SegmentationNetwork]:
        """The network with both tracks in every place that serves here, as it was loaded first."""
        networks = {}
        for place in usable_places(lambda place: self.refuse("low")(place) or self.refuse("high")(place)):
            try:
                runners = Runners(self.runner_in("low", place), self.runner_in("high", place))
            except Error as error:
                logger.warning("%s is left out: %s", " ".join(place), error)
                continue
            networks[place] = with_runners(self._network, runners)
        return networks

    def refuse(self, half: Half) -> Callable[[Place], str]:
        """Why a place cannot serve one track."""
        return lambda place: refusal_here(place, self._device) or self._uncalibrated(place)

    def _uncalibrated(self, place: Place) -> str:
        if place.precision != "int8" or self._network.calibration is not None:
            return ""
        return (
            f"{self._network.config.name} has no {CALIBRATION_FILE} (type: lowlat-seg export MODEL --calibrate FRAMES)"
        )

    def _runner(self, half: Half, wish: Wish | None) -> tuple[Runner | None, Choice | None]:
        if wish is None:
            return None, None
        if wish.is_open and self._device.type != "cpu":
            return None, Choice(wish.track, AS_LOADED)  # nothing else has been measured on a GPU
        refuse = self.refuse(half)
        failed: dict[Place, str] = {}
        while True:
            choice = choose(wish, lambda place: failed.get(place) or refuse(place))
            try:
                return self.runner_in(half, choice.place), choice
            except Error as error:
                failed[choice.place] = str(error)

    def runner_in(self, half: Half, place: Place) -> Runner | None:
        """Opened for the size that is to come, so that what cannot run there says so now; raises Error."""
        if place == AS_LOADED:
            return None
        if place.runtime == TORCH:
            return _torch_runner(in_torch(self._network.tracks), half, place.precision)
        runner = LayersInRuntime(self._layers(half, place.precision), RUNTIMES[place.runtime], place.precision)
        try:
            runner.open(self._input_shape(half), self._grid())
        except Exception as error:  # exporters and runtimes have kinds of their own
            raise Error(f"the layers cannot be brought there: {in_one_line(error)}") from error
        return runner

    def _layers(self, half: Half, precision: str) -> Callable[[tuple[int, ...], Grid], Layers]:
        tracks, name = in_torch(self._network.tracks), f"{_file_name(self._network.config.name)}_{half}_{precision}"
        calibration = self._network.calibration if precision == "int8" else None
        ranges = None if calibration is None else getattr(calibration, half)

        def layers_of(shape: tuple[int, ...], grid: Grid) -> Layers:
            return Layers(name, TrackLayers(tracks, half, grid).eval(), shape, grid, ranges)

        return layers_of

    def _grid(self) -> Grid:
        return self._network.tracks.grid(self._image())

    def _image(self) -> Tensor:
        width, height = self._size
        return torch.zeros(1, 3, height, width, dtype=torch.uint8, device=self._device)

    def _input_shape(self, half: Half) -> tuple[int, ...]:
        tracks, image = self._network.tracks, self._image()
        if half == "low":
            return tuple(tracks.low_input(image).shape)
        low = torch.zeros(1, tracks.low_channels, *self._grid(), device=self._device)
        return tuple(tracks.high_input(image, low).shape)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)[:40]


def _torch_runner(tracks: Tracks, half: Half, precision: str) -> Runner:
    grids: dict[Grid, torch.nn.Module] = {}

    def run(layers_input: Tensor, grid: Grid) -> Tensor:
        if grid not in grids:
            grids[grid] = in_precision(TrackLayers(tracks, half, grid), precision)
        return grids[grid](layers_input)

    return run


def with_runners(network: SegmentationNetwork, runners: Runners) -> SegmentationNetwork:
    """The same network, its weights shared, with its tracks in other runtimes."""
    other = _sharing(network)
    other.tracks = _sharing(network.tracks)
    other.tracks.runners = runners
    return other


def in_torch(tracks: Tracks) -> Tracks:
    """The same tracks, as they were loaded."""
    other = _sharing(tracks)
    other.runners = Runners()
    return other


def _sharing(module: Module) -> Module:
    other = copy.copy(module)
    other.__dict__["_modules"] = dict(module._modules)  # else what is exchanged in the one is exchanged in both
    return other

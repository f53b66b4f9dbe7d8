"""Both tracks' networks, loaded and brought to where each is to run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

import torch

from lowlat_seg_ros.errors import ParameterError
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.pictures import Size
from lowlat_seg_ros.models.placing import Placer
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.choice import Choice, Place, Wish, choose, refusal_here, torch_alone, usable_places
from lowlat_seg_ros.slow.network import CanBePlaced, SlowNetwork
from lowlat_seg_ros.slow.registry import load_model, load_tracks


class Wishes(NamedTuple):
    """Where the tracks are to run."""

    fast: Wish = Wish("fast")
    slow: Wish = Wish("slow")

    @classmethod
    def named(cls, fast_runtime: str, slow_runtime: str, fast_precision: str, slow_precision: str) -> Wishes:
        """As the parameters of these names say; raises ParameterError for names that there are not."""
        return cls(Wish("fast", fast_runtime, fast_precision), Wish("slow", slow_runtime, slow_precision))

    def to_mapping(self) -> dict[str, str]:
        """By the parameters' names."""
        return {
            "fast_runtime": self.fast.runtime,
            "slow_runtime": self.slow.runtime,
            "fast_precision": self.fast.precision,
            "slow_precision": self.slow.precision,
        }


DEFAULT: Final = Wishes()
"""What suits this computer best."""


class Networks(NamedTuple):
    """Both tracks', ready for inference; where the model is ours both are one."""

    fast: FastNetwork
    slow: SlowNetwork
    fast_choice: Choice
    slow_choice: Choice

    def in_words(self) -> list[str]:
        """Where each track's network runs and why nowhere better, a sentence each."""
        return [choice.in_words() for choice in (self.fast_choice, self.slow_choice)]


def load_networks(
    model: str | SlowNetwork,
    fast_model: str,
    device: torch.device,
    wishes: Wishes = DEFAULT,
    size: Size | None = None,
) -> Networks:
    """The networks that the parameters of these names ask for.

    Args:
        model: as ``slow.registry.load_model`` takes it, or a network that is loaded already.
        fast_model: a checkpoint of ours, for a model that has no fast track of its own.
        size: (width, height) of the images that are to come; the fast network's own unless given.

    Raises:
        Error: a model cannot be loaded, or cannot run where it is wished.
    """
    slow, fast = load_tracks(model, fast_model, device)
    if isinstance(fast, SegmentationNetwork) and fast is slow:
        both, fast_choice, slow_choice = Placer(fast, device, size).placed(wishes.fast, wishes.slow)
        assert fast_choice is not None and slow_choice is not None
        return Networks(both, both, fast_choice, slow_choice)
    slow, slow_choice = place_slow(slow, wishes.slow, device)
    if not isinstance(fast, SegmentationNetwork):
        return Networks(fast, slow, choose(wishes.fast, torch_alone), slow_choice)
    fast, placed_choice, _ = Placer(fast, device, size).placed(wishes.fast, None)
    assert placed_choice is not None
    return Networks(fast, slow, placed_choice, slow_choice)


def load_slow(model: str, wish: Wish, device: torch.device, size: Size | None = None) -> SlowNetwork:
    """The slow track's network alone; raises what ``load_networks`` does."""
    slow = load_model(model, device)
    if isinstance(slow, SegmentationNetwork):
        return Placer(slow, device, size).placed(None, wish)[0]
    return place_slow(slow, wish, device)[0]


def networks_in_every_place(model: str) -> Mapping[Place, SlowNetwork]:
    """A model on the CPU in every runtime and precision that serves here; of ours both halves are there."""
    cpu = torch.device("cpu")
    network = load_model(model, cpu)
    if isinstance(network, SegmentationNetwork):
        return Placer(network, cpu).everywhere()
    found = {}
    for place in usable_places(lambda place: refusal_here(place, cpu)):
        with suppress(ParameterError):  # it is not for every network
            found[place] = place_slow(network, Wish("slow", *place), cpu)[0]
    return found


def place_slow(slow: SlowNetwork, wish: Wish, device: torch.device) -> tuple[SlowNetwork, Choice]:
    """A slow network that is not ours; raises ParameterError where it cannot run there."""
    if isinstance(slow, CanBePlaced):
        return slow.placed(wish, device)
    return slow, choose(wish, torch_alone)

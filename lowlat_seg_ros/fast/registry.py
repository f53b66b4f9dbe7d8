"""The propagations that the parameter ``propagation`` may name, ``auto`` beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lowlat_seg_ros.fast.adaptive import AdaptivePropagation
from lowlat_seg_ros.fast.clockwork import ClockworkPropagation
from lowlat_seg_ros.fast.copying import Copying
from lowlat_seg_ros.fast.just_in_time import JustInTimePropagation
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.optical_flow import OpticalFlowPropagation
from lowlat_seg_ros.fast.propagation import Propagation, PropagationError
from lowlat_seg_ros.slow.network import SlowNetwork

PropagationKind = Callable[[FastNetwork, SlowNetwork], Propagation]

AUTO: Final = "auto"
JUST_IN_TIME: Final = "just_in_time"

PROPAGATIONS: dict[str, PropagationKind] = {
    "adaptive": AdaptivePropagation,
    "clockwork": ClockworkPropagation,
    "copy": Copying,
    JUST_IN_TIME: JustInTimePropagation,
    "optical_flow": OpticalFlowPropagation,
}


def build_propagation(name: str | PropagationKind, fast: FastNetwork, slow: SlowNetwork) -> Propagation:
    """The propagation of that name or kind, for one camera.

    Raises:
        PropagationError: there is none of that name, or it cannot carry what ``slow`` gives.
    """
    if not isinstance(name, str):
        return name(fast, slow)
    name = propagation_in_use(name)
    if name not in PROPAGATIONS:
        expected = ", ".join([AUTO, *sorted(PROPAGATIONS)])
        raise PropagationError(f"propagation is {name!r}; expected one of {expected}")
    return PROPAGATIONS[name](fast, slow)


def propagation_in_use(name: str | PropagationKind) -> str:
    """Its own name; ``auto`` stands for just in time, which carries any network's labels."""
    if not isinstance(name, str):
        return getattr(name, "__name__", type(name).__name__)
    return JUST_IN_TIME if name == AUTO else name

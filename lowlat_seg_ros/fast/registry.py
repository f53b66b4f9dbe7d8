"""The propagations that the parameter ``propagation`` may name, ``auto`` beside them."""

from __future__ import annotations

from collections.abc import Callable

from lowlat_seg_ros.fast.adaptive import AdaptivePropagation
from lowlat_seg_ros.fast.clockwork import ClockworkPropagation
from lowlat_seg_ros.fast.copying import Copying
from lowlat_seg_ros.fast.just_in_time import JustInTimePropagation
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.optical_flow import OpticalFlowPropagation
from lowlat_seg_ros.fast.propagation import Propagation, PropagationError
from lowlat_seg_ros.slow.network import SlowNetwork

PropagationKind = Callable[[FastNetwork, SlowNetwork], Propagation]

PROPAGATIONS: dict[str, PropagationKind] = {
    "adaptive": AdaptivePropagation,
    "clockwork": ClockworkPropagation,
    "copy": Copying,
    "just_in_time": JustInTimePropagation,
    "optical_flow": OpticalFlowPropagation,
}


AUTO = "auto"


def build_propagation(name: str | PropagationKind, fast: FastNetwork, slow: SlowNetwork) -> Propagation:
    """The propagation of that name or kind, for one camera.

    Raises:
        PropagationError: there is none of that name, or it cannot carry what ``slow`` gives.
    """
    if not isinstance(name, str):
        return name(fast, slow)
    name = propagation_in_use(name, slow)
    if name not in PROPAGATIONS:
        expected = ", ".join([AUTO, *sorted(PROPAGATIONS)])
        raise PropagationError(f"propagation is {name!r}; expected one of {expected}")
    return PROPAGATIONS[name](fast, slow)


def propagation_in_use(name: str | PropagationKind, slow: SlowNetwork) -> str:
    """What ``auto`` stands for: the paper's where the slow network gives a feature to carry, else just in time."""
    if not isinstance(name, str):
        return getattr(name, "__name__", type(name).__name__)
    if name != AUTO:
        return name
    return "just_in_time" if slow.head is None else "adaptive"

"""Which runtime and precision each track takes: what was asked for, or what suits this computer best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import torch

from lowlat_seg_ros.errors import ParameterError
from lowlat_seg_ros.runtime import machine
from lowlat_seg_ros.runtime.in_onnxruntime import OnnxRuntime, TensorRt
from lowlat_seg_ros.runtime.in_openvino import OpenVino
from lowlat_seg_ros.runtime.in_torch import Torch
from lowlat_seg_ros.runtime.runtime import INSTRUCTIONS, Runtime

AUTO: Final = "auto"
TORCH: Final = "torch"
RUNTIMES: Final[dict[str, Runtime]] = {runtime.name: runtime for runtime in (OpenVino(), OnnxRuntime(), TensorRt())}
RUNTIME_NAMES: Final = (AUTO, TORCH, *RUNTIMES)
PRECISION_NAMES: Final = (AUTO, "fp32", "bf16", "fp16", "int8")

Track = Literal["fast", "slow"]


class Place(NamedTuple):
    """Where layers run, and in which precision."""

    runtime: str
    precision: str


AS_LOADED: Final = Place(TORCH, "fp32")
"""Where every network of torch's is loaded."""
ON_GPU: Final = Place(TORCH, "fp16")
"""Where our own networks run on a GPU."""


@dataclass(frozen=True)
class Wish:
    """What a track is asked to run in. Raises ParameterError for names that there are not."""

    track: Track
    runtime: str = AUTO
    precision: str = AUTO

    def __post_init__(self) -> None:
        for kind, value, known in (
            ("runtime", self.runtime, RUNTIME_NAMES),
            ("precision", self.precision, PRECISION_NAMES),
        ):
            if value not in known:
                raise ParameterError(f"{self.track}_{kind} is {value!r}; expected one of {', '.join(known)}")

    @property
    def is_open(self) -> bool:
        """Whether the runtime was left to us, and the precision that networks are loaded in will do."""
        return self.runtime == AUTO and self.allows(AS_LOADED)

    def allows(self, place: Place) -> bool:
        return self.runtime in (AUTO, place.runtime) and self.precision in (AUTO, place.precision)

    def in_words(self) -> str:
        """As it was typed."""
        return f"{self.track}_runtime {self.runtime!r} with {self.track}_precision {self.precision!r}"


@dataclass(frozen=True)
class Choice:
    """Where a track's layers run, and why nowhere better."""

    track: Track
    place: Place
    reasons: tuple[str, ...] = ()

    def in_words(self) -> str:
        """For the log: `the slow track runs in openvino bf16 (this CPU has amx_bf16; not in …: …)`."""
        instructions = machine.cpu_features().intersection(INSTRUCTIONS.get(self.place.precision, ()))
        why = [f"this CPU has {', '.join(sorted(instructions))}"] if instructions else []
        runs = f"the {self.track} track runs in {self.place.runtime} {self.place.precision}"
        return f"{runs} ({'; '.join([*why, *self.reasons])})" if why or self.reasons else runs


Refuse = Callable[[Place], str]
"""Why a network cannot run there, in words; empty where it can."""


def preferred(track: Track) -> list[Place]:
    """Every place, the best first, as ``docs/runtimes.md`` lists them; after torch's those that are to be asked for."""
    low = ["int8", "bf16"] if track == "slow" else ["bf16", "int8"]
    on_cpu = [Place("openvino", precision) for precision in (*low, "fp32")]
    best = [*on_cpu, ON_GPU, AS_LOADED]
    return [*best, *(place for place in _all_places() if place not in best)]


def _all_places() -> list[Place]:
    runtimes: list[Runtime | Torch] = [Torch(), *RUNTIMES.values()]
    return [Place(runtime.name, precision) for runtime in runtimes for precision in runtime.precisions]


def refusal_here(place: Place, device: torch.device) -> str:
    """Why nothing runs there on this computer; empty where it does."""
    runtime = Torch() if place.runtime == TORCH else RUNTIMES[place.runtime]
    return runtime.refusal(place.precision, device)


def torch_alone(place: Place) -> str:
    """A ``Refuse`` of networks that are torch's and stay as they are."""
    return "" if place == AS_LOADED else "this network runs in torch fp32 alone"


def choose(wish: Wish, refuse: Refuse) -> Choice:
    """The best place that the wish allows and nothing refuses.

    Raises:
        ParameterError: there is none.
    """
    reasons: dict[str, list[str]] = {}
    for place in preferred(wish.track):
        if not wish.allows(place):
            continue
        why_not = refuse(place)
        if not why_not:
            return Choice(wish.track, place, _told(reasons))
        reasons.setdefault(why_not, []).append(" ".join(place))
    why_nowhere = "; ".join(_told(reasons)) or _has_no(wish)
    raise ParameterError(f"{wish.in_words()} cannot serve: {why_nowhere}")


def _has_no(wish: Wish) -> str:
    return f"{wish.runtime} has no {wish.precision}"


def _told(reasons: dict[str, list[str]]) -> tuple[str, ...]:
    return tuple(f"not in {', '.join(places)}: {why_not}" for why_not, places in reasons.items())


def usable_places(refuse: Refuse) -> list[Place]:
    """Every place that nothing refuses, torch first."""
    return [place for place in _all_places() if not refuse(place)]

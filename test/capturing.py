"""CUDA graphs on a CPU: traces of torch's operators in their place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from lowlat_seg_ros.kernels import cpp
from lowlat_seg_ros.runtime import captured

Results = Tensor | tuple[Tensor, ...]


@dataclass
class Trace:
    """A recording: the traced operators, run again they write to the results of then."""

    run: Callable[[], Results]
    results: Results
    note: Callable[[], None]

    def replay(self) -> None:
        self.note()
        for target, value in zip(_several(self.results), _several(self.run()), strict=True):
            target.copy_(value)


def _several(results: Results) -> tuple[Tensor, ...]:
    return (results,) if isinstance(results, Tensor) else results


@dataclass
class Traces:
    """A recorder of traces, and how many there were."""

    recordings: int = 0
    replays: int = 0

    def record(self, compute: Callable[..., Results], operands: Sequence[Tensor | None]) -> tuple[Trace, Results]:
        tensors = [operand for operand in operands if operand is not None]

        def of_tensors(*given: Tensor) -> Results:
            rest = iter(given)
            return compute(*(None if operand is None else next(rest) for operand in operands))

        with torch.inference_mode(False), torch.no_grad():
            graph = make_fx(of_tensors)(*tensors)
        brought = [node.name for node in graph.graph.nodes if "lift_fresh" in str(node.target)]
        if brought:
            raise RuntimeError(f"a graph would read the host's memory: {brought}")
        self.recordings += 1
        results = graph(*tensors)
        return Trace(lambda: graph(*tensors), results, self._note), results

    def mark(self) -> None:
        return None

    def _note(self) -> None:
        self.replays += 1


def recorded_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Traces:
    """Record on the CPU too, where torch's operators then do what the C++ does otherwise, as on a GPU."""
    traces = Traces()

    monkeypatch.setattr(captured, "recorder_on", lambda device: traces)
    monkeypatch.setattr(captured, "_here", captured._OfThread())
    monkeypatch.setattr(captured, "_failures", {})
    monkeypatch.setattr(cpp, "can_run", lambda *operands, **kinds: False)
    return traces

"""What a GPU replays as one, recorded on the CPU: a trace of torch's operators stands for the CUDA graph.

The trace has what a graph has: the branches of then, the memory of then, and nothing of what the host brought.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest
import torch
from capturing import Traces, recorded_on_the_cpu
from torch import Tensor, nn

from lowlat_seg_ros.runtime import captured as captured_module
from lowlat_seg_ros.runtime.captured import CALLS_TO_RECORD, KEPT, captured, failures, nothing_captured


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Iterator[Traces]:
    with torch.inference_mode():
        yield recorded_on_the_cpu(monkeypatch)


@captured
def scaled_sum(first: Tensor, second: Tensor | None, *, scale: float) -> tuple[Tensor, Tensor]:
    total = first if second is None else first + second
    return scale * total, total.max()


def test_a_replay_gives_what_a_call_gives(traces: Traces) -> None:
    for number in range(CALLS_TO_RECORD + 3):
        first, second = torch.randn(2, 3), torch.randn(2, 3)
        total, largest = scaled_sum(first, second, scale=2.0)
        torch.testing.assert_close(total, 2 * (first + second))
        torch.testing.assert_close(largest, (first + second).max())
        assert traces.replays == max(0, number + 2 - CALLS_TO_RECORD)


def test_results_outlive_the_next_replay(traces: Traces) -> None:
    results = [scaled_sum(torch.full((2,), float(i)), None, scale=1.0)[0] for i in range(6)]
    assert [result[0].item() for result in results] == [0, 1, 2, 3, 4, 5]


def test_other_shapes_constants_and_layouts_have_recordings_of_their_own(traces: Traces) -> None:
    square = torch.arange(9.0).view(3, 3)
    for _ in range(4):
        for operand, scale in ((square, 1.0), (square, 3.0), (square.t(), 1.0), (square[:2], 1.0)):
            torch.testing.assert_close(scaled_sum(operand, None, scale=scale)[0], scale * operand)
    assert traces.recordings == 4 and traces.replays == 12


def test_a_captured_function_within_another_is_part_of_it(traces: Traces) -> None:
    @captured
    def outer(value: Tensor) -> Tensor:
        return scaled_sum(value, value, scale=0.5)[0] + 1

    for i in range(4):
        assert outer(torch.tensor([float(i)])).item() == i + 1
    assert traces.recordings == 1


def test_what_cannot_be_recorded_is_called_and_said_once(traces: Traces, caplog: pytest.LogCaptureFixture) -> None:
    @captured
    def decides(value: Tensor) -> Tensor:
        return value if float(value.sum()) > 0 else -value

    with caplog.at_level(logging.WARNING):
        found = [decides(torch.tensor([sign])).item() for sign in (1.0, -2.0, 3.0, -4.0)]
    assert found == [1, 2, 3, 4]
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "decides cannot be captured in a CUDA graph"
    ]


def test_what_the_host_would_bring_is_not_recorded(traces: Traces, caplog: pytest.LogCaptureFixture) -> None:
    """A graph would read memory that is gone by then."""

    @captured
    def brings(value: Tensor) -> Tensor:
        return value + torch.tensor([1.0, 2.0])

    with caplog.at_level(logging.WARNING):
        found = [brings(torch.full((2,), float(number))).tolist() for number in range(4)]
    assert found == [[number + 1, number + 2] for number in range(4)]
    assert traces.recordings == 0 and "would read the host's memory" in caplog.text


def test_what_cannot_be_recorded_with_some_operands_is_with_others(traces: Traces) -> None:
    @captured
    def decides_of_one(value: Tensor) -> Tensor:
        return -value if len(value) == 1 and float(value) < 0 else value

    for _ in range(4):
        assert decides_of_one(torch.tensor([-3.0])).item() == 3
        assert decides_of_one(torch.tensor([-3.0, 4.0])).tolist() == [-3, 4]
    assert traces.recordings == 1 and list(failures()) == ["decides_of_one"]


def test_what_is_used_stays_recorded_whatever_else_comes(traces: Traces) -> None:
    for size in range(1, 2 * KEPT):
        for length in (size, 1000):
            for _ in range(CALLS_TO_RECORD):
                scaled_sum(torch.ones(length), None, scale=7.0)
    assert traces.recordings == 2 * KEPT


def test_recordings_go_with_the_module_they_are_of(traces: Traces) -> None:
    @captured
    def layer(value: Tensor, *, module: nn.Module) -> Tensor:
        return module(value)

    module = nn.Linear(3, 2)
    for _ in range(3):
        layer(torch.ones(3), module=module)
    assert traces.recordings == 1 and len(captured_module._here.recordings) == 1
    del module
    gc.collect()
    assert not len(captured_module._here.recordings)


def test_while_another_thread_records_a_call_is_made_as_it_is(traces: Traces) -> None:
    with captured_module._one_at_a_time:
        for _ in range(3):
            assert scaled_sum(torch.ones(1), None, scale=5.0)[0].item() == 5
    assert traces.recordings == 0
    scaled_sum(torch.ones(1), None, scale=5.0)
    assert traces.recordings == traces.replays == 1


def test_nothing_is_captured_where_that_is_not_wanted(traces: Traces) -> None:
    with nothing_captured():
        for _ in range(4):
            scaled_sum(torch.ones(1), None, scale=1.0)
    assert traces.recordings == 0


def test_nothing_is_captured_on_a_cpu_or_where_gradients_are_wanted() -> None:
    value = torch.ones(1, requires_grad=True)
    for _ in range(4):
        result, _ = scaled_sum(value, None, scale=2.0)
    assert result.requires_grad
